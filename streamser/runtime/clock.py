"""When which sound arrived, so that every event can say how far it lags behind."""

from __future__ import annotations

from bisect import bisect_left

from streamser.audio.clip import SAMPLE_RATE

__all__ = ["ArrivalClock"]


class ArrivalClock:
    """Remember the wall time at which each stretch of sound arrived, for a bounded while."""

    def __init__(self, memory_s: float = 120.0) -> None:
        self._memory = int(memory_s * SAMPLE_RATE)
        self._ends: list[int] = []
        self._times: list[float] = []

    def note(self, end: int, time: float) -> None:
        """Note that sound up to an absolute sample had arrived at a time in seconds."""
        self._ends.append(end)
        self._times.append(time)
        # Pruned in bulk: a list is cheap to append to and dear to shorten from the left.
        if len(self._ends) >= 1024 and self._ends[len(self._ends) // 2] < end - self._memory:
            half = len(self._ends) // 2
            del self._ends[:half], self._times[:half]

    def lag_ms(self, position: int, now: float) -> float | None:
        """Return ms from the arrival of a sample until now; ``None`` before any sound came."""
        if not self._ends:
            return None
        index = min(bisect_left(self._ends, position), len(self._ends) - 1)
        return round((now - self._times[index]) * 1000, 1)
