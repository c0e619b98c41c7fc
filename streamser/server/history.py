"""What one stream has told, for its client who may come back."""

from __future__ import annotations

from collections import deque

import msgspec

from streamser.events import (
    EmotionCompleted,
    Event,
    SessionCreated,
    SessionResumed,
    TranscriptionCompleted,
    TranscriptionFailed,
)
from streamser.server.backlog import Letter
from streamser.settings import ServerSettings

__all__ = ["History", "Missed", "short_of_history"]

_EVENTS = 4_000
_BYTES = 2 * 2**20
_NOTED = 4_000
"""Finals let go of whose numbers are remembered."""


def short_of_history(own: ServerSettings) -> str | None:
    """Return a line for people where more may wait for a client than is kept; ``None``: enough.

    What waits for a connection is gone with it: who comes back needs all of it again.
    """
    waiting, kept = own.backlog_events, own.replay_events
    if waiting > kept:
        return (
            f"server.backlog_events {waiting}: so many may wait for a listener, and"
            f" server.replay_events keeps only {kept} for all who come back: raise it to {waiting}"
            " or more."
        )
    if own.resume_s and waiting > _EVENTS:
        return (
            f"server.backlog_events {waiting}: so many may wait for a client, and only {_EVENTS}"
            f" are kept for one who comes back: set it to {_EVENTS} or less, or server.resume_s"
            " to 0."
        )
    return None


class Missed(msgspec.Struct, frozen=True):
    """Hold what is sent again, and how many events cannot be; ``lost_finals`` are among them."""

    letters: tuple[Letter, ...]
    lost_events: int
    lost_finals: int


class History:
    """Keep at most so many events and bytes of one stream, whatever others tell; pure.

    Where there are more, readings on the way are let go of first, finals last; the oldest of
    each kind goes first. The session's first event stays.
    """

    def __init__(self, most: int = _EVENTS, most_bytes: int = _BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._first: Letter | None = None
        self._ranks: tuple[deque[Letter], ...] = (deque(), deque(), deque())
        self._size = 0
        self._seq = 0
        self._resumed: deque[int] = deque(maxlen=_NOTED)
        self._lost_finals: deque[int] = deque(maxlen=_NOTED)

    def __len__(self) -> int:
        return sum(map(len, self._ranks)) + (self._first is not None)

    def add(self, event: Event, letter: Letter) -> None:
        """Keep an event as it was told."""
        self._seq = event.seq
        match event:
            case SessionCreated():
                self._first = letter
                return
            case SessionResumed():
                # It would tell its client to send on where that is true no more.
                self._resumed.append(event.seq)
                return
            case EmotionCompleted() | TranscriptionCompleted() | TranscriptionFailed():
                rank = 2
            case _:
                rank = 0 if letter.droppable else 1
        self._ranks[rank].append(letter)
        self._size += letter.size
        while len(self) > self._most or self._size > self._most_bytes:
            self._let_go()

    def since(self, seq: int) -> Missed:
        """Return what came after a ``seq``, in order."""
        kept = [letter for rank in self._ranks for letter in rank if letter.seq > seq]
        if self._first is not None and self._first.seq > seq:
            kept.append(self._first)
        kept.sort(key=lambda letter: letter.seq)
        resumed = sum(each > seq for each in self._resumed)
        return Missed(
            letters=tuple(kept),
            lost_events=max(0, self._seq - max(0, seq) - len(kept) - resumed),
            lost_finals=sum(each > seq for each in self._lost_finals),
        )

    def _let_go(self) -> None:
        rank = next(rank for rank in self._ranks if rank)
        gone = rank.popleft()
        self._size -= gone.size
        if rank is self._ranks[2]:
            self._lost_finals.append(gone.seq)
