"""The last seconds of a session's sound, addressed by absolute sample index."""

from __future__ import annotations

import numpy as np

from streamser.audio.clip import Samples

__all__ = ["Ring"]


class Ring:
    """Keep the last ``capacity`` samples; sample ``i`` of the session stays sample ``i``.

    Memory is taken once, at construction. Raises ``ValueError`` for a capacity below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring needs room for at least one sample, not {capacity}")
        self._buffer: Samples = np.zeros(capacity, dtype=np.float32)
        self._first = 0
        self._end = 0

    @property
    def capacity(self) -> int:
        """Return how many samples are kept at most."""
        return len(self._buffer)

    @property
    def start(self) -> int:
        """Return the absolute index of the oldest sample still held."""
        return max(self._first, self._end - len(self._buffer))

    @property
    def end(self) -> int:
        """Return the absolute index just past the newest sample: all that was ever appended."""
        return self._end

    def resized(self, capacity: int) -> Ring:
        """Return a ring of another capacity that holds the newest of the same samples."""
        ring = Ring(capacity)
        ring._first = ring._end = max(self.start, self._end - capacity)
        ring.append(self.read(ring._end, self._end))
        return ring

    def append(self, samples: Samples) -> None:
        """Add samples, mono float32 of shape (n,); the oldest make room."""
        kept = samples[-len(self._buffer) :]
        at = (self._end + len(samples) - len(kept)) % len(self._buffer)
        head = min(len(kept), len(self._buffer) - at)
        self._buffer[at : at + head] = kept[:head]
        self._buffer[: len(kept) - head] = kept[head:]
        self._end += len(samples)

    def read(self, start: int, end: int) -> Samples:
        """Return a copy of samples ``start`` (included) to ``end`` (excluded).

        Raises ``IndexError`` where any of them is no longer, or not yet, held.
        """
        if not self.start <= start <= end <= self._end:
            raise IndexError(f"samples {start}..{end} asked, {self.start}..{self._end} held")
        at = start % len(self._buffer)
        head = min(end - start, len(self._buffer) - at)
        out: Samples = np.empty(end - start, dtype=np.float32)
        out[:head] = self._buffer[at : at + head]
        out[head:] = self._buffer[: end - start - head]
        return out
