"""The order and the numbers of a session's events, and the count of what was dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import to_ms, to_samples
from streamser.events import Event

__all__ = ["DropCounter", "EventEmitter", "Slot"]

_TELL_EVERY = to_samples(1000)


class Slot(msgspec.Struct, eq=False):
    """Keep a place in the order for some content: due once it is ``ready`` and at the head."""

    content: object = None
    ready: bool = False


class EventEmitter:
    """Number events as they leave and keep reserved places in order.

    Reserved places come strictly in order. An event that is ``post``-ed passes them by,
    unless the emitter is ``ordered``: then nothing passes anything, and the sequence does not
    depend on when the reserved places became ready. ``lag_of`` says how late an event about a
    place in the audio (ms) is, in ms, where anybody knows.
    """

    def __init__(self, session_id: str, *, ordered: bool) -> None:
        self.blank: dict[str, Any] = {"event_id": "", "session_id": session_id, "seq": 0}
        """What an event is made with before it has a number."""
        self.ordered = ordered
        self.lag_of: Callable[[int], float | None] | None = None
        self._session_id = session_id
        self._order: deque[Slot] = deque()
        self._seq = 0
        self._ready: list[Event] = []

    def emit(self, event: Event) -> None:
        """Give an event its number and let it go; only for what is due now."""
        self._seq += 1
        event_id = f"event_{self._session_id}_{self._seq}"
        lag_ms = None
        if self.lag_of is not None and (position := event.clock_ms) is not None:
            lag_ms = self.lag_of(position)
        self._ready.append(replace(event, event_id=event_id, seq=self._seq, lag_ms=lag_ms))

    def post(self, event: Event, *, last: bool = False) -> None:
        """Let an event go at once; where ``ordered``, or ``last``, after all reserved before it."""
        if self._order and (self.ordered or last):
            self.reserve(event).ready = True
        else:
            self.emit(event)

    def reserve(self, content: object = None) -> Slot:
        """Reserve the next place for some content, which may be set later."""
        slot = Slot(content)
        self._order.append(slot)
        return slot

    def due(self) -> Iterator[object]:
        """Yield the contents that stand ready at the head of the order; events leave by themselves.

        What is emitted for one of them stands before whatever is due after it.
        """
        while self._order and self._order[0].ready:
            slot = self._order.popleft()
            # What is due may hold its slot: without this, each keeps the other.
            content, slot.content = slot.content, None
            if isinstance(content, Event):
                self.emit(content)
            elif content is not None:
                yield content

    def collect(self) -> list[Event]:
        """Return the events that have left since the last call."""
        events, self._ready = self._ready, []
        return events


class DropCounter:
    """Count what was dropped of one kind: partial readings, or samples of sound.

    At most one report a second of audio; what came in between is added up in the next, or in
    the one that ``rest`` gives at the end. A report holds the fields of ``streamser.overload``.
    """

    def __init__(self, kind: Literal["partials", "audio"]) -> None:
        self.total = 0
        self._kind = kind
        self._amount = 0
        self._since: int | None = None
        self._reported: int | None = None
        self._reason = ""

    @property
    def total_ms(self) -> int:
        """Return the total as ms of sound."""
        return to_ms(self.total)

    def ignore(self, amount: int) -> None:
        """Count what was dropped to nobody's trouble."""
        self.total += amount

    def drop(self, amount: int, reason: str, position: int) -> dict[str, Any] | None:
        """Count what was dropped at an absolute sample; returns a report if one is due."""
        self.total += amount
        self._amount += amount
        self._reason = reason
        if self._since is None:
            self._since = position
        if self._reported is None or position - self._reported >= _TELL_EVERY:
            return self.rest(position)
        return None

    def rest(self, position: int) -> dict[str, Any] | None:
        """Return a report of what has not been reported yet, if there is any."""
        if self._since is None:
            return None
        audio = self._kind == "audio"
        report = {
            "kind": self._kind,
            "dropped": to_ms(self._amount) if audio else self._amount,
            "total": self.total_ms if audio else self.total,
            "since_ms": to_ms(self._since),
            "reason": self._reason,
        }
        self._amount, self._since, self._reported = 0, None, position
        return report
