"""Read what a server says: events we know, and the rest as far as it counts."""

from __future__ import annotations

import msgspec

from streamser.events import AnyEvent, decode_event

__all__ = ["Envelope", "read"]


class Envelope(msgspec.Struct, frozen=True):
    """Hold what every event has, of one whose type nobody here knows."""

    session_id: str = ""
    seq: int = 0
    cursor: int = 0


def read(message: bytes | str) -> AnyEvent | Envelope | None:
    """Read a message; an unknown type, or known fields in an unknown form, give the envelope.

    ``None``: it is no event at all. Newer servers may say what they like.
    """
    try:
        return decode_event(message)
    except msgspec.DecodeError:
        pass
    try:
        return msgspec.json.decode(message, type=Envelope)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
