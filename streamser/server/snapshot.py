"""A snapshot of no more bytes than any client takes, however much goes on; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from streamser.events import Snapshot, encode_event

__all__ = ["SNAPSHOT_BYTES", "encode_snapshot"]

SNAPSHOT_BYTES: Final = 2 * 2**20
"""Half of what our own client takes in one message."""

_Part = TypeVar("_Part")


def encode_snapshot(snapshot: Snapshot, most: int = SNAPSHOT_BYTES) -> bytes:
    """Encode a snapshot in at most ``most`` bytes; raises ``ValueError`` where none can be.

    Of what is too much there stay, in this order: the sessions that go on, their meetings, the
    last finals, and of the meetings that are over those that began last.
    """
    whole = encode_event(snapshot)
    if len(whole) <= most:
        return whole
    frame = len(encode_event(replace(snapshot, sessions=(), meetings=(), finals=())))
    if frame > most:
        raise ValueError(f"no snapshot has {most} bytes")
    room = _Room(most - frame)
    sessions = room.take(snapshot.sessions[::-1])[::-1]
    going_on = {state.session.meeting for state in sessions}
    live = room.take([each for each in snapshot.meetings if each.meeting in going_on])
    finals = room.take(snapshot.finals[::-1])[::-1]
    over = room.take([each for each in snapshot.meetings[::-1] if each.meeting not in going_on])
    told = {each.meeting for each in (*live, *over)}
    meetings = tuple(each for each in snapshot.meetings if each.meeting in told)
    return encode_event(replace(snapshot, sessions=sessions, meetings=meetings, finals=finals))


class _Room:
    """Count the bytes that are left."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, parts: Sequence[_Part]) -> tuple[_Part, ...]:
        """Return as many of the first parts as there is room for."""
        taken = []
        for part in parts:
            size = len(msgspec.json.encode(part)) + 1
            if size > self._left:
                break
            self._left -= size
            taken.append(part)
        return tuple(taken)
