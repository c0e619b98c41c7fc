"""Sound made on the spot for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from streamser.audio.clip import Samples
from tests.cli.running import DEMO

__all__ = ["spoken", "write"]


def spoken(seconds: float, start: float = 4.8) -> Samples:
    """Return a stretch of the demonstration, mono at 16 kHz; it begins in a pause."""
    samples: Samples = soundfile.read(
        DEMO, start=round(start * 16_000), frames=round(seconds * 16_000), dtype="float32"
    )[0]
    return samples


def write(
    path: Path, samples: Samples, *, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16"
) -> Path:
    """Write 16 kHz mono sound as a file of another rate, the same in every channel."""
    resampled = soxr.resample(samples, 16_000, rate) if rate != 16_000 else samples
    soundfile.write(path, np.tile(resampled[:, None], channels), rate, subtype=subtype)
    return path
