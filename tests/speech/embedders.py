"""Embedders of voices for tests: crude, but enough for three synthetic speakers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.speech.speakers import Voice

__all__ = ["SpectralEmbedder", "fail", "make_nothing", "no_factory"]

no_factory = "an embedder"

_FRAME = 512
_BANDS = np.searchsorted(np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE), np.geomspace(700, 7_500, 25))


class SpectralEmbedder:
    """Describe a voice by its mean decibels in bands above its pitch, less a parabola."""

    name = "spectral"

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        """Describe each sound by itself."""
        return [_describe(sound) for sound in batch]


def make_nothing() -> object:
    """Make something that is no embedder."""
    return object()


def fail() -> SpectralEmbedder:
    """Find that the weights are not there."""
    raise OSError("no weights\nat all")


def _describe(sound: Samples) -> Voice:
    frames = sound[: len(sound) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME))) ** 2
    loudness = power.sum(axis=1)
    power = power[loudness >= 1e-3 * loudness.max()]
    bands = [power[:, low:high].mean(axis=1) for low, high in pairwise(_BANDS)]
    shape = 10 * np.log10(np.array(bands) + 1e-12).mean(axis=1)
    steps = np.arange(len(shape))
    # Effort and anger tilt a spectrum, and bow it; whose it is stands in what is left.
    shape -= np.polyval(np.polyfit(steps, shape, 2), steps)
    voice: Voice = (shape / np.linalg.norm(shape)).astype(np.float32)
    return voice
