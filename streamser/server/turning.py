"""Whether the event loop turns, and since when bytes may have waited that are read late; pure."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["LATE_S", "PERIOD_S", "Arrivals", "LoopWatch"]

PERIOD_S: Final = 0.05
"""How often it is looked whether the loop turns."""
LATE_S: Final = 0.25
"""A loop that stands still for so long is told of."""
_WINDOW_S: Final = 15.0
_SHORT_S: Final = 0.005
"""A pause that no lag shows."""


class LoopWatch:
    """Tell how late a loop is; somebody calls ``tick`` every 50 ms, or as soon as the loop lets it.

    Times are those of one monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._late: deque[tuple[float, float]] = deque()

    def tick(self, now: float) -> float:
        """Note that the loop turns; return how much later that is than it was due, in s."""
        late = self._overdue(now)
        self._due = now + PERIOD_S
        # Only what is not outdone by something later can still be the worst.
        while self._late and self._late[-1][1] <= late:
            self._late.pop()
        self._late.append((now, late))
        return late

    def stop(self) -> None:
        """Expect no turn any more."""
        self._due = None

    def turned(self, now: float) -> float:
        """Return since when the loop may have stood still, to 50 ms; ``now`` where it does not."""
        return now - self._overdue(now)

    def late_s(self, now: float) -> float:
        """Return how late it was at the worst in the last 15 s, and is now."""
        while self._late and self._late[0][0] <= now - _WINDOW_S:
            self._late.popleft()
        worst = self._late[0][1] if self._late else 0.0
        return max(worst, self._overdue(now))

    def _overdue(self, now: float) -> float:
        return 0.0 if self._due is None else max(0.0, now - self._due)


class Arrivals:
    """Say when the bytes of one socket have come, also where they have waited in it.

    What is read after the loop stood still, or after the socket was not read for a while, may have
    come at any moment of that: the first is taken, so that a lag is told too long, never too short.
    To 50 ms; and of more than one read takes at once (256 KiB) the rest counts from that read on.
    """

    def __init__(self, watch: LoopWatch) -> None:
        self._watch = watch
        self._unread_since: float | None = None
        self._last = 0.0

    def pause(self, now: float) -> None:
        """Note that the socket is read no more."""
        if self._unread_since is None:
            self._unread_since = now

    def resume(self, now: float) -> bool:
        """Note that it is read again; return whether ``settle`` is to tell that nothing waited."""
        if self._unread_since is not None and now - self._unread_since < _SHORT_S:
            self._unread_since = None
        return self._unread_since is not None

    def settle(self) -> None:
        """Note that the socket has been asked again, and nothing had come."""
        self._unread_since = None

    def note(self, now: float) -> float:
        """Return since when what is read now may have been there; never before what came before."""
        came = self._watch.turned(now)
        if self._unread_since is not None:
            came, self._unread_since = min(came, self._unread_since), None
        self._last = max(self._last, came)
        return self._last
