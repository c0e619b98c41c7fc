"""The front end's 64 mel bands as a matrix: what a frequency response does to each of them.

The same filters as in ``frontend`` (Slaney, Auditory Toolbox, 1998), dense and in float32: a
noise need not be bit for bit the same in a live stream, but must be quick to make.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.frontend import BANDS, HOP

__all__ = [
    "BINS",
    "band_centres",
    "band_gain",
    "band_power",
    "bin_hertz",
    "hertz_to_mel",
    "mel_to_hertz",
]

Array = npt.NDArray[np.float64]

_WINDOW: Final = 1024
BINS: Final = _WINDOW // 2 + 1

_LINEAR_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hertz_to_mel(hertz: npt.ArrayLike) -> Array:
    """Convert to Slaney's scale: linear up to 1 kHz, logarithmic above."""
    hz = np.asarray(hertz, dtype=np.float64)
    above = _LOG_FROM_MEL + np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP
    mel: Array = np.where(hz < _LOG_FROM_HZ, hz / _LINEAR_HZ_PER_MEL, above)
    return mel


def mel_to_hertz(mel: npt.ArrayLike) -> Array:
    """Invert ``hertz_to_mel``."""
    values = np.asarray(mel, dtype=np.float64)
    above = _LOG_FROM_HZ * np.exp(_LOG_STEP * (np.maximum(values, _LOG_FROM_MEL) - _LOG_FROM_MEL))
    hertz: Array = np.where(values < _LOG_FROM_MEL, values * _LINEAR_HZ_PER_MEL, above)
    return hertz


def bin_hertz() -> Array:
    """Return the frequencies of the 513 bins of a 1024-sample window."""
    return np.linspace(0, SAMPLE_RATE / 2, BINS)


@cache
def _filters() -> tuple[Array, Array]:
    """Return the filters [64, 513] (sums of pairs of 128) and the 128 + 2 edges in Hz."""
    edges = mel_to_hertz(np.linspace(0, hertz_to_mel(SAMPLE_RATE / 2), 2 * BANDS + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hz = bin_hertz()[None]
    rising, falling = (hz - low) / (centre - low), (high - hz) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    unit_area = triangles * (2 / (high - low))
    return unit_area.reshape(BANDS, 2, BINS).sum(axis=1), edges


@cache
def band_centres() -> Array:
    """Return the middle of each band in Hz, between the peaks of its two triangles."""
    edges = _filters()[1]
    middle: Array = (edges[1:-1:2] + edges[2:-1:2]) / 2
    return middle


def band_gain(power_gain: npt.NDArray[np.floating]) -> Array:
    """Average power gains of the 513 bins, [..., 513], over each band: [..., 64]."""
    filters, _ = _filters()
    gain: Array = (power_gain @ filters.T) / filters.sum(axis=1)
    return gain


def band_power(samples: Samples, frames: int) -> npt.NDArray[np.float32]:
    """Return the power in each band of each frame, [frames, 64]; frame t begins at 256 t.

    ``samples`` must hold at least ``256 (frames - 1) + 1024``.
    """
    from scipy import fft

    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::HOP][:frames]
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    spectrum = fft.rfft(windows * hann, axis=1)
    filters = _filters()[0].T.astype(np.float32)
    power: npt.NDArray[np.float32] = (spectrum.real**2 + spectrum.imag**2) @ filters
    return power
