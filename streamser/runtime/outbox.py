"""The order in which a session's events leave it, and their numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from streamser.events import Event

__all__ = ["Draft", "Outbox", "Slot", "draft"]

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


class Outbox:
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
