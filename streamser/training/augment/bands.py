"""Mel bands as matrices, and what a microphone or a line does to each frequency and band.

The same filters as in the front ends (Slaney, Auditory Toolbox, 1998), dense and in float32: a
noise need not be bit for bit the same in a live stream, but must be quick to make.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.compact import encoders
from streamser.emotion.frontend import BANDS, HOP, WINDOW, mel_edges

Array = npt.NDArray[np.float64]


class MelGrid(NamedTuple):
    """Say which bands a front end has: sums of so many adjacent triangles, and its frames."""

    bands: int
    triangles: int
    hop: int
    window: int

    @property
    def rate(self) -> float:
        """Return the frames in a second."""
        return SAMPLE_RATE / self.hop


MEL: Final = MelGrid(BANDS, 2, HOP, WINDOW)
"""That of the 64 bands whose statistics are measured."""
WHISPER: Final = MelGrid(encoders.BANDS, 1, encoders.HOP, encoders.WINDOW)
"""That of Whisper's 80 bands."""

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


def bin_hertz(grid: MelGrid = MEL) -> Array:
    """Return the frequencies of the bins of a window: 513 for one of 1024 samples."""
    return np.linspace(0, SAMPLE_RATE / 2, grid.window // 2 + 1)


@cache
def _filters(grid: MelGrid) -> Array:
    """Return the filters, [bands, bins]."""
    edges = mel_edges(grid.bands * grid.triangles)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hz = bin_hertz(grid)[None]
    rising, falling = (hz - low) / (centre - low), (high - hz) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    unit_area = triangles * (2 / (high - low))
    summed: Array = unit_area.reshape(grid.bands, grid.triangles, -1).sum(axis=1)
    return summed


@cache
def band_centres(grid: MelGrid = MEL) -> Array:
    """Return the middle of each band in Hz, between the peaks of its triangles."""
    peaks = mel_edges(grid.bands * grid.triangles)[1:-1]
    middle: Array = peaks.reshape(grid.bands, grid.triangles).mean(axis=1)
    return middle


@cache
def band_widths(grid: MelGrid = MEL) -> Array:
    """Return what bands are weighted with so that their sum follows the power of a sound."""
    edges = mel_edges(grid.bands * grid.triangles)
    widths: Array = (edges[2:] - edges[:-2]).reshape(grid.bands, grid.triangles).mean(axis=1)
    return widths


def band_gain(power_gain: npt.NDArray[np.floating], grid: MelGrid = MEL) -> Array:
    """Average power gains of the bins, [..., bins], over each band: [..., bands]."""
    filters = _filters(grid)
    gain: Array = (power_gain @ filters.T) / filters.sum(axis=1)
    return gain


def band_power(samples: Samples, frames: int, grid: MelGrid = MEL) -> npt.NDArray[np.float32]:
    """Return the power in each band of each frame, [frames, bands]; frame t begins at hop · t.

    ``samples`` must hold at least ``hop (frames - 1) + window``.
    """
    from scipy import fft

    windows = np.lib.stride_tricks.sliding_window_view(samples, grid.window)[:: grid.hop][:frames]
    hann = np.hanning(grid.window + 1)[:-1].astype(np.float32)
    spectrum = fft.rfft(windows * hann, axis=1)
    filters = _filters(grid).T.astype(np.float32)
    power: npt.NDArray[np.float32] = (spectrum.real**2 + spectrum.imag**2) @ filters
    return power


_KNOTS = 7
_EQUALISER_DB = 10.0
_TELEPHONE_HZ = (300.0, 3400.0)
_TELEPHONE_ORDERS = (4, 20)


class Response(Protocol):
    """Give the gain of each frequency; no response shifts anything in time."""

    def power_gain(self, hertz: Array) -> Array:
        """Return the factor of the power at each frequency, 0 and more."""
        ...


class Equaliser(NamedTuple):
    """Hold gains in dB at knots that are evenly spaced in mel from 0 to 8 kHz."""

    decibels: tuple[float, ...]

    def power_gain(self, hertz: Array) -> Array:
        """Return the gains: half cosines from knot to knot, never outside of their range."""
        top = float(hertz_to_mel(SAMPLE_RATE / 2))
        place = np.clip(hertz_to_mel(hertz) / top, 0, 1) * (len(self.decibels) - 1)
        before = np.floor(place)
        eased = before + (1 - np.cos(np.pi * (place - before))) / 2
        curve = np.interp(eased, np.arange(len(self.decibels)), self.decibels)
        gain: Array = 10 ** (curve / 10)
        return gain


class Telephone(NamedTuple):
    """Pass 300 to 3400 Hz, 3 dB less at both ends and steeply less outside.

    ``narrow`` leaves nothing above 4 kHz, as a line of 8000 samples a second does.
    """

    narrow: bool

    def power_gain(self, hertz: Array) -> Array:
        """Return the gains of a Butterworth high-pass and low-pass of orders 4 and 20."""
        low, high = _TELEPHONE_HZ
        rising, falling = _TELEPHONE_ORDERS
        gain: Array = 1 / (1 + (low / np.maximum(hertz, 1)) ** (2 * rising))
        gain /= 1 + (hertz / high) ** (2 * falling)
        return np.where(hertz > 4000, 0.0, gain) if self.narrow else gain


def draw_equaliser(rng: np.random.Generator) -> Equaliser:
    """Draw a smooth curve within ±10 dB."""
    return Equaliser(tuple(rng.uniform(-_EQUALISER_DB, _EQUALISER_DB, _KNOTS)))


def filter_sound(samples: Samples, response: Response) -> Samples:
    """Apply a response by a symmetric filter of 1023 taps: same length, no delay."""
    from scipy import signal

    amplitude = np.sqrt(response.power_gain(bin_hertz()))
    taps = np.fft.fftshift(np.fft.irfft(amplitude))[1:]
    windowed = (taps * signal.windows.hann(len(taps))).astype(np.float32)
    filtered: Samples = signal.fftconvolve(samples, windowed, mode="same")
    return filtered
