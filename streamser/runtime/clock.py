"""When which sound arrived, so that every event can say how far it lags behind."""

from __future__ import annotations

from bisect import bisect_left

from streamser.audio.clip import SAMPLE_RATE

__all__ = ["ArrivalClock"]

_FINEST = SAMPLE_RATE // 200
"""Closer arrivals than 5 ms are kept as one: a stream of tiny frames would fill the memory."""
_COARSE = SAMPLE_RATE
"""Older than the fine memory, one arrival a second is enough."""
_TIDY_EVERY = 10 * SAMPLE_RATE
"""By sound and not by how much is kept: what is young enough to stay cannot be tidied away."""


class ArrivalClock:
    """Remember the wall time at which each stretch of sound arrived.

    To the piece, or 5 ms of them, for the last ``fine_s`` seconds of sound, to the second for
    ``coarse_s``, not beyond. Noting costs the same however long a stream is and its pieces are.
    """

    def __init__(self, fine_s: float = 60.0, coarse_s: float = 3600.0) -> None:
        self._fine = int(fine_s * SAMPLE_RATE)
        self._coarse = int(coarse_s * SAMPLE_RATE)
        self._ends: list[int] = []
        self._times: list[float] = []
        self._thinned = 0
        self._forgotten = 0
        self._tidied = 0

    def note(self, end: int, time: float) -> None:
        """Note that sound up to an absolute sample had arrived at a time in seconds."""
        ends, times = self._ends, self._times
        if ends and end <= ends[-1]:
            return
        if len(ends) > 1 and end - ends[-2] < _FINEST:
            ends[-1], times[-1] = end, time
        else:
            ends.append(end)
            times.append(time)
        if end - self._tidied >= _TIDY_EVERY:
            self._tidied = end
            self._tidy(end)

    def lag_ms(self, position: int, now: float) -> float | None:
        """Return ms from the arrival of a sample until now; ``None`` where it is not known."""
        if not self._ends or position < self._forgotten:
            return None
        index = min(bisect_left(self._ends, position), len(self._ends) - 1)
        return round((now - self._times[index]) * 1000, 1)

    def _tidy(self, now: int) -> None:
        """Thin out what has left the fine memory since the last time, and drop the oldest."""
        begin, end = self._thinned, bisect_left(self._ends, now - self._fine)
        kept: list[int] = []
        last = self._ends[begin - 1] // _COARSE if begin else -1
        for index in range(begin, end):
            if self._ends[index] // _COARSE != last:
                kept.append(index)
                last = self._ends[index] // _COARSE
        self._times[begin:end] = [self._times[index] for index in kept]
        self._ends[begin:end] = [self._ends[index] for index in kept]
        gone = bisect_left(self._ends, now - self._coarse)
        if gone:
            self._forgotten = self._ends[gone - 1]
        del self._ends[:gone], self._times[:gone]
        self._thinned = max(0, begin + len(kept) - gone)
