"""Sound inside the program: mono float32 in [-1, 1] at 16 kHz, addressed by absolute sample."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
_FULL = 0.99

Samples: TypeAlias = npt.NDArray[np.float32]


def to_ms(samples: int) -> int:
    """Convert samples at 16 kHz to whole milliseconds, rounding down."""
    return samples * 1000 // SAMPLE_RATE


def to_samples(ms: float) -> int:
    """Convert milliseconds to whole samples at 16 kHz."""
    return round(ms * SAMPLE_RATE / 1000)


def is_pinned(samples: Samples) -> bool:
    """Return whether sound in [-1, 1] is at full scale throughout: most samples are."""
    return len(samples) > 0 and float(np.mean(np.abs(samples) >= _FULL)) > 0.5


class Clip(msgspec.Struct, frozen=True, eq=False):
    """Hold the sound of one utterance, or of as much of it as has been heard.

    ``samples`` always begins at the utterance's first sample, whose absolute index in the
    session is ``start``; two clips of one (``session_id``, ``utterance``) therefore share
    their beginning, which is what an incremental recogniser needs. ``final`` says that the
    utterance is over (or expected to be: a speculative final may still be followed by a
    longer clip of the same utterance). ``language`` is what the client says is spoken, a code
    such as ``"de"``; ``None``: whichever the recogniser was set up for, or hears.
    """

    session_id: str
    utterance: int
    start: int
    samples: Samples
    final: bool
    language: str | None = None

    @property
    def end(self) -> int:
        """Return the absolute index just past the last sample."""
        return self.start + len(self.samples)


class Ring:
    """Keep the last ``capacity`` samples; sample ``i`` of the session stays sample ``i``.

    Memory is taken once, at construction; the first sample is number ``start``. Raises
    ``ValueError`` for a capacity below 1.
    """

    def __init__(self, capacity: int, start: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"a ring needs room for at least one sample, not {capacity}")
        self._buffer: Samples = np.zeros(capacity, dtype=np.float32)
        self._first = self._end = start

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
        ring = Ring(capacity, max(self.start, self._end - capacity))
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
