"""The order and the numbers of a session's events, and what was lost on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from streamser.audio.clip import to_ms, to_samples
from streamser.events import Event, Overload

__all__ = ["Draft", "DropCounter", "EventEmitter", "Slot", "draft"]

Draft: TypeAlias = Callable[..., Event]
"""An event's content, waiting for its ``event_id``, ``session_id`` and ``seq``."""


def draft(kind: type[Event], /, **fields: Any) -> Draft:
    """Hold an event's content until its place in the sequence is known."""

    def number(**envelope: Any) -> Event:
        return kind(**envelope, **fields)

    return number


def _told() -> None:
    return


class Slot(msgspec.Struct, eq=False):
    """Keep a place in the order: ``tell`` is called once it is ``ready`` and at the head."""

    tell: Callable[[], None]
    ready: bool = False


class EventEmitter:
    """Number events as they leave and keep reserved places in order.

    Reserved places are told strictly in order. An event that is ``say``-ed passes them by,
    unless the outbox is ``ordered``: then nothing passes anything, and the sequence does not
    depend on when the reserved places became ready.
    """

    def __init__(self, session_id: str, *, ordered: bool) -> None:
        self._session_id = session_id
        self.ordered = ordered
        self._queue: deque[Slot] = deque()
        self._seq = 0
        self._ready: list[Event] = []

    def say(self, content: Draft) -> None:
        """Tell an event at once, or, ``ordered``, after everything reserved before it."""
        if self.ordered and self._queue:
            self.reserve(lambda: self.emit(content)).ready = True
        else:
            self.emit(content)

    def reserve(self, tell: Callable[[], None]) -> Slot:
        """Reserve the next place for what ``tell`` will ``emit``."""
        slot = Slot(tell)
        self._queue.append(slot)
        return slot

    def settle(self) -> None:
        """Tell what stands ready at the head of the order."""
        while self._queue and self._queue[0].ready:
            slot = self._queue.popleft()
            slot.tell()
            # What has been told about holds its place: without this, each keeps the other.
            slot.tell = _told

    def emit(self, content: Draft) -> None:
        """Give an event its number and let it go; only for what is due now."""
        self._seq += 1
        event_id = f"event_{self._session_id}_{self._seq}"
        self._ready.append(content(event_id=event_id, session_id=self._session_id, seq=self._seq))

    def collect(self) -> list[Event]:
        """Return the events that have left since the last call."""
        events, self._ready = self._ready, []
        return events


_TELL_EVERY = to_samples(1000)


class DropCounter:
    """Count losses of one kind: partial readings, or samples of sound.

    At most one ``streamser.overload`` a second of audio; what came in between is added up in
    the next, or in the one that ``tell`` gives at the end.
    """

    def __init__(self, kind: Literal["partials", "audio"]) -> None:
        self.total = 0
        self._kind = kind
        self._amount = 0
        self._since: int | None = None
        self._told: int | None = None
        self._reason = ""

    @property
    def total_ms(self) -> int:
        """Return the total as ms of sound."""
        return to_ms(self.total)

    def count(self, amount: int) -> None:
        """Count a loss that is nobody's trouble."""
        self.total += amount

    def note(self, amount: int, reason: str, position: int) -> Draft | None:
        """Count a loss at an absolute sample; returns the event if one is due."""
        self.total += amount
        self._amount += amount
        self._reason = reason
        if self._since is None:
            self._since = position
        if self._told is None or position - self._told >= _TELL_EVERY:
            return self.tell(position)
        return None

    def tell(self, position: int) -> Draft | None:
        """Return an event for what has not been told yet, if there is any."""
        if self._since is None:
            return None
        audio = self._kind == "audio"
        event = draft(
            Overload,
            kind=self._kind,
            dropped=to_ms(self._amount) if audio else self._amount,
            total=self.total_ms if audio else self.total,
            since_ms=to_ms(self._since),
            reason=self._reason,
        )
        self._amount, self._since, self._told = 0, None, position
        return event
