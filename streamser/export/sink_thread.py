"""Sinks that others bring, a thread for each: nobody waits for them, or falls with them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from streamser.events import AnyEvent, decode_event

T = TypeVar("T")

_MOST: Final = 10_000
"""Events that may wait: an hour of one stream, or a minute of sixty."""
_PATIENCE_S: Final = 10.0


class EventSink(Protocol):
    """Take events; both methods are called on one thread, which may wait as long as it likes."""

    def take(self, event: AnyEvent) -> None:
        """Take the next event."""
        ...

    def close(self) -> None:
        """Let go of whatever is held; called once, also after a fault."""
        ...


class BoundedThread(Generic[T]):
    """Give items to ``take`` on a thread of its own, in order, and call ``close`` at the end.

    ``put`` never waits, unless ``patient``: then it waits for room, up to ``patience_s`` for
    an item, and a taker that has not taken any by then is given up. ``close`` waits for the rest
    until ``patience_s`` have passed in which nothing was taken, and no progress noted.
    ``tell`` gets a line for each kind of fault; ``complete`` turns false with it.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[T], None],
        finish: Callable[[], None],
        tell: Callable[[str], None],
        *,
        patient: bool,
        most: int = _MOST,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.complete = True
        self.dropped = 0
        self._taken = 0
        self._name = name
        self._take = take
        self._finish = finish
        self._tell = tell
        self._patient = patient
        self._most = most
        self._patience_s = patience_s
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    @property
    def over(self) -> bool:
        """Return whether nothing is taken any more."""
        return self._over or self._closing

    def put(self, item: T, *, in_any_case: bool = False) -> bool:
        """Hand over an item, also where there is no room if ``in_any_case``; return if it was."""
        with self._changed:
            if self._patient:
                self._changed.wait_for(self._has_room, self._patience_s)
            if self._over or self._closing:
                return False
            full = not in_any_case and not self._has_room()
            if full:
                self.dropped += 1
            else:
                self._waiting.append(item)
                self._changed.notify_all()
        if full and self._patient:
            self._give_up(f"it has taken no event for {self._patience_s:g} s")
        elif full and self.dropped == 1:
            self._fault("it is too slow: events are left out")
        return not full

    def note_progress(self) -> None:
        """Note, on its thread, that something has been done: who waits for the end waits on."""
        self._taken += 1

    def close(self) -> None:
        """Wait until what is left has been taken, and all is closed; a second time do nothing."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        taken = -1
        while self._thread.is_alive() and taken != self._taken:
            taken = self._taken
            self._thread.join(self._patience_s)
        if self._thread.is_alive():
            self._give_up(f"it is not done within {self._patience_s:g} s")
        elif self.dropped and not self._patient:
            self._fault(f"{self.dropped} events were left out, as it was too slow")

    def _has_room(self) -> bool:
        return self._over or len(self._waiting) < self._most

    def _run(self) -> None:
        fault = self._doing(self._feed)
        if fault is None:
            fault = self._doing(self._finish)
        else:
            self._doing(self._finish)
        if fault is not None:
            self._give_up(fault)

    def _feed(self) -> None:
        while (item := self._next()) is not None:
            self._take(item)
            self.note_progress()

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._over)
            if self._over or not self._waiting:
                return None
            item = self._waiting.popleft()
            self._changed.notify_all()
            return item

    def _doing(self, step: Callable[[], None]) -> str | None:
        try:
            step()
        # Another's code: it may even ask for the program's end, which is not for it to say.
        except BaseException as error:
            line = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {line}" if line else type(error).__name__
        return None

    def _give_up(self, why: str) -> None:
        with self._changed:
            if self._over:
                return
            self._over = True
            self._waiting.clear()
            self._changed.notify_all()
        self._fault(f"{why}; it gets no more events")

    def _fault(self, why: str) -> None:
        self.complete = False
        self._tell(f"{self._name}: {why}.")


class SinkThread(BoundedThread[bytes]):
    """Feed a sink with events, encoded as JSON, each decoded anew."""

    def __init__(
        self,
        name: str,
        sink: EventSink,
        tell: Callable[[str], None],
        *,
        patient: bool,
        most: int = _MOST,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.sink_name = name
        super().__init__(
            f"sink {name}",
            lambda body: sink.take(decode_event(body)),
            sink.close,
            tell,
            patient=patient,
            most=most,
            patience_s=patience_s,
        )
