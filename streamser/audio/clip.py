"""Sound inside the program: mono float32 in [-1, 1] at 16 kHz, addressed by absolute sample."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["SAMPLE_RATE", "Clip", "Samples", "to_ms", "to_samples"]

SAMPLE_RATE = 16_000

Samples: TypeAlias = npt.NDArray[np.float32]


def to_ms(samples: int) -> int:
    """Convert samples at 16 kHz to whole milliseconds, rounding down."""
    return samples * 1000 // SAMPLE_RATE


def to_samples(ms: float) -> int:
    """Convert milliseconds to whole samples at 16 kHz."""
    return round(ms * SAMPLE_RATE / 1000)


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
