"""What servers of a cluster tell each other, by way of Redis."""

from __future__ import annotations

import hashlib

import msgspec

from streamser.pipeline.session_config import SessionSnapshot

__all__ = ["MeetingPast", "NodeState", "StreamState", "ToldEvent", "name_of_stream"]


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """Say of a server how it is reached, how full it is, and which meetings go on at it.

    ``name`` is another at each start. ``meetings`` are (name, streams, length in ms).
    """

    name: str
    address: str
    streams: int = 0
    most_streams: int = 0
    listeners: int = 0
    draining: bool = False
    meetings: tuple[tuple[str, int, int], ...] = ()


class ToldEvent(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Hold an event of a meeting as its server told it.

    ``cursor`` is its place among all events of the meeting, whichever servers it was at: about
    the milliseconds of this century. ``at_ms`` is on the meeting's clock; ``line`` is the event
    alone, as JSON. What ``stays`` is kept for who comes later; partials are told once.
    """

    cursor: int
    meeting: str
    at_ms: int
    line: bytes
    stays: bool


class StreamState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Hold what another server needs to go on with a stream whose server is gone.

    Up to ``told_ms`` of the stream's own sound all finals were told to listeners. ``voice`` is
    what was learnt of the speaker up to there.
    """

    told_ms: int
    voice: SessionSnapshot | None = None


class MeetingPast(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what Redis has of a meeting: the oldest event first.

    ``lost_up_to`` is the last cursor of which nothing is kept any more, where that is known.
    ``sessions`` are the events that introduce those that go on.
    """

    sessions: tuple[bytes, ...] = ()
    told: tuple[ToldEvent, ...] = ()
    voices: dict[str, SessionSnapshot] = {}
    lost_up_to: int = 0


def name_of_stream(secret: str) -> str:
    """Return a name for a stream from which nobody finds its secret."""
    return hashlib.blake2b(secret.encode(), digest_size=16, person=b"streamser").hexdigest()
