"""How late finals are, and whether that is too late to let newcomers in; pure."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Lateness"]

_WINDOW_S: Final = 15.0
"""Long enough for some finals, short enough to be over soon after the load is."""
_FEWEST: Final = 3
"""One long utterance that takes its time is no load."""
_QUARTILE: Final = 0.75


class Lateness:
    """Remember the lags of finals for a while, and judge them together with what waits.

    Late from ``late_s`` on, until it has fallen to half of that; never where that is 0.
    """

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self._lags: deque[tuple[float, float]] = deque()
        self._late = False

    def note(self, lag_s: float, now: float) -> bool:
        """Take the lag of a final; returns whether it is late."""
        self._lags.append((now, lag_s))
        self._forget(now)
        return 0 < self._late_s <= lag_s

    def seconds(self, waiting_s: float, now: float) -> float:
        """Return how late finals are: three of four are told sooner, and none waits longer.

        ``waiting_s`` is how long the oldest final has waited by now. What was told more than
        15 s ago is forgotten, and so it recovers by itself.
        """
        self._forget(now)
        if len(self._lags) < _FEWEST:
            return waiting_s
        lags = sorted(lag for _, lag in self._lags)
        return max(waiting_s, lags[int(_QUARTILE * (len(lags) - 1))])

    def is_late(self, waiting_s: float, now: float) -> bool:
        """Return whether newcomers would make those who are there suffer."""
        if self._late_s > 0:
            limit = self._late_s / 2 if self._late else self._late_s
            self._late = self.seconds(waiting_s, now) >= limit
        return self._late

    def _forget(self, now: float) -> None:
        while self._lags and self._lags[0][0] <= now - _WINDOW_S:
            self._lags.popleft()
