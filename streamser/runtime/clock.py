"""When which sound arrived, so that every event can say how far it lags behind."""

from __future__ import annotations

from bisect import bisect_left

from streamser.audio.clip import SAMPLE_RATE

__all__ = ["ArrivalClock"]

_TIDY_AT = 8192
_COARSE = SAMPLE_RATE
"""Older than the fine memory, one arrival a second is enough."""


class ArrivalClock:
    """Remember the wall time at which each stretch of sound arrived.

    Exactly for the last ``fine_s`` seconds of sound, to the second for ``coarse_s``, not beyond.
    """

    def __init__(self, fine_s: float = 60.0, coarse_s: float = 3600.0) -> None:
        self._fine = int(fine_s * SAMPLE_RATE)
        self._coarse = int(coarse_s * SAMPLE_RATE)
        self._ends: list[int] = []
        self._times: list[float] = []
        self._forgotten = 0

    def note(self, end: int, time: float) -> None:
        """Note that sound up to an absolute sample had arrived at a time in seconds."""
        self._ends.append(end)
        self._times.append(time)
        if len(self._ends) >= _TIDY_AT:
            self._tidy(end)

    def lag_ms(self, position: int, now: float) -> float | None:
        """Return ms from the arrival of a sample until now; ``None`` where it is not known."""
        if not self._ends or position < self._forgotten:
            return None
        index = min(bisect_left(self._ends, position), len(self._ends) - 1)
        return round((now - self._times[index]) * 1000, 1)

    def _tidy(self, now: int) -> None:
        kept: list[int] = []
        last = -1
        for index, end in enumerate(self._ends):
            if end < now - self._coarse:
                self._forgotten = end
            elif end >= now - self._fine or end // _COARSE != last:
                kept.append(index)
                last = end // _COARSE
        self._ends = [self._ends[index] for index in kept]
        self._times = [self._times[index] for index in kept]
