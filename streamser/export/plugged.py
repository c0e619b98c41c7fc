"""Sinks that others bring, each on a thread of its own: nobody waits for them, or falls with them.

A sink gets every event, decoded anew for itself. What it raises is told once and closes it;
one that is too slow for a live stream gets what there is room for, and the rest is counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from streamser.events import AnyEvent, decode_event

__all__ = ["EventSink", "SinkThread"]

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


class SinkThread:
    """Feed a sink, in order.

    ``put`` never waits, unless ``patient``: then it waits for room, up to ``patience_s`` for
    an event, and a sink that has not taken any by then is given up. ``close`` waits as long
    for the rest. ``tell`` gets a line for each kind of fault; ``complete`` turns false with it.
    """

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
        self.complete = True
        self.dropped = 0
        self._name = name
        self._sink = sink
        self._tell = tell
        self._patient = patient
        self._most = most
        self._patience_s = patience_s
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def put(self, body: bytes) -> None:
        """Let the sink have an event, encoded as JSON."""
        with self._changed:
            if self._patient:
                self._changed.wait_for(self._has_room, self._patience_s)
            if self._over or self._closing:
                return
            full = not self._has_room()
            if full:
                self.dropped += 1
            else:
                self._waiting.append(body)
                self._changed.notify_all()
        if full and self._patient:
            self._give_up(f"it has taken no event for {self._patience_s:g} s")
        elif full and self.dropped == 1:
            self._fault("it is too slow: events are left out")

    def close(self) -> None:
        """Wait until the sink has taken what is left, and is closed; a second time do nothing."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
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
            fault = self._doing(self._sink.close)
        else:
            self._doing(self._sink.close)
        if fault is not None:
            self._give_up(fault)

    def _feed(self) -> None:
        while (body := self._next()) is not None:
            self._sink.take(decode_event(body))

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._over)
            if self._over or not self._waiting:
                return None
            body = self._waiting.popleft()
            self._changed.notify_all()
            return body

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
        self._tell(f"sink {self._name}: {why}.")
