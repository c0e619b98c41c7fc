"""What waits to be sent to one connection, and what is left out when it reads too slowly."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from streamser.events import (
    EmotionDelta,
    EmotionProvisional,
    Event,
    ListenerEvent,
    Overload,
    TranscriptionDelta,
    TranscriptPartial,
)

__all__ = ["Backlog", "Letter", "can_be_left_out"]

_BYTES_EACH = 4096
"""Room for each event, on average: one with a hundred word times takes twice that."""

_OVERRUN = 4
"""How many times the room may be taken before it is known whether a connection reads."""


def can_be_left_out(event: Event | ListenerEvent) -> bool:
    """Return whether an event only matters until the next of its kind, or the final."""
    kinds = TranscriptPartial | TranscriptionDelta | EmotionDelta | EmotionProvisional
    return isinstance(event, kinds)


class Letter(msgspec.Struct, frozen=True):
    """Hold an event on its way: the messages that word it, and its place in its session.

    ``session_id`` is empty where it belongs to none; ``clock_ms`` is its place in the audio;
    ``stamp`` is what the last of its body was made of, with the closing brace. After a letter
    that ``ends`` its session no other of it comes.
    """

    session_id: str
    seq: int
    clock_ms: int
    droppable: bool
    bodies: tuple[bytes, ...]
    stamp: bytes = b"}"
    ends: bool = False

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return sum(map(len, self.bodies))


class _Loss(msgspec.Struct):
    count: int
    since_ms: int
    last: Letter


class Backlog:
    """Keep at most ``most`` letters in order; pure.

    From half of that on, letters that can be left out are; an ``Overload`` stands for them,
    with the ``seq`` and the stamp of the last, worded by ``word``. When there is no room even
    so, ``put`` says no, and keeps the letter all the same: a connection that then takes nothing
    must be closed, and any at all once the backlog is ``is_overrun``.
    """

    def __init__(self, most: int, word: Callable[[Overload, bytes], tuple[bytes, ...]]) -> None:
        self._most = self._usual = most
        self._word = word
        self._waiting: deque[Letter] = deque()
        self._size = 0
        self._losses: dict[str, _Loss] = {}
        self._totals: dict[str, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._losses)

    def replay(self, letters: Sequence[Letter]) -> None:
        """Take in letters that come all at once; there is more room until nothing waits any more.

        None is left out of those, and it takes no time, though they may be thousands.
        """
        # Of the room only half is for letters that can be left out.
        self._most += 2 * len(letters)
        self._waiting.extend(letters)
        self._size += sum(letter.size for letter in letters)

    @property
    def is_over_full(self) -> bool:
        """Return whether more waits than there is room for."""
        return self._is_full(self._most)

    @property
    def is_overrun(self) -> bool:
        """Return whether so much waits that the connection must be closed, whatever it takes."""
        return self._is_full(_OVERRUN * self._most)

    def put(self, letter: Letter) -> bool:
        """Take a letter in, or leave it out; returns whether there was room for it."""
        if letter.droppable and self._is_full(self._most // 2):
            self._lose(letter)
            return True
        if self._is_full(self._most):
            self._tidy()
        fits = not self._is_full(self._most)
        self._tell_loss(letter.session_id)
        self._append(letter)
        if letter.ends:
            self._totals.pop(letter.session_id, None)
        return fits

    def take(self) -> tuple[bytes, ...]:
        """Remove and return the messages of the first letter; only where there is one."""
        if not self._waiting:
            self._tell_loss(next(iter(self._losses)))
        letter = self._waiting.popleft()
        self._size -= letter.size
        if not self._waiting:
            self._most = self._usual
        return letter.bodies

    def _is_full(self, most: int) -> bool:
        return len(self._waiting) >= most or self._size >= most * _BYTES_EACH

    def _append(self, letter: Letter) -> None:
        self._waiting.append(letter)
        self._size += letter.size

    def _tidy(self) -> None:
        """Leave out everything that waits and can be left out."""
        waiting, self._waiting, self._size = self._waiting, deque(), 0
        # What was lost before came after all that waits.
        later, self._losses = self._losses, {}
        for letter in waiting:
            if letter.droppable:
                self._lose(letter)
            else:
                self._tell_loss(letter.session_id)
                self._append(letter)
        for session_id, loss in later.items():
            earlier = self._losses.setdefault(session_id, _Loss(0, loss.since_ms, loss.last))
            earlier.count += loss.count
            earlier.last = loss.last

    def _lose(self, letter: Letter) -> None:
        self.dropped += 1
        loss = self._losses.setdefault(letter.session_id, _Loss(0, letter.clock_ms, letter))
        loss.count += 1
        loss.last = letter

    def _tell_loss(self, session_id: str) -> None:
        loss = self._losses.pop(session_id, None)
        if loss is None:
            return
        total = self._totals[session_id] = self._totals.get(session_id, 0) + loss.count
        last = loss.last
        overload = Overload(
            event_id=f"event_{session_id}_{last.seq}_slow",
            session_id=session_id,
            seq=last.seq,
            kind="deltas",
            dropped=loss.count,
            total=total,
            since_ms=loss.since_ms,
            reason="slow",
        )
        bodies = self._word(overload, last.stamp)
        # It stands for droppable ones, but must not be dropped: it is what tells of them.
        self._append(Letter(session_id, last.seq, loss.since_ms, False, bodies, last.stamp))
