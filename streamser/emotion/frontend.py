"""What the compact acoustic encoder hears: a causal log-mel front end whose level is relative.

Two steps, both streamable, each giving the same bits however the sound was chopped. ``LogMel``
turns samples into band levels in decibels; ``RunningLevel`` measures them from the loudest
level so far, so that the gain of a microphone does not matter. Numpy alone: a live stream and
a training see the same numbers.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples

Frames = npt.NDArray[np.float32]
"""Float32 [frames, 64]."""

BANDS: Final = 64
HOP: Final = 256
WINDOW: Final = 1024
"""Samples that a frame is made of, half of them before its centre."""
RANGE_DB: Final = 80.0
"""How far below the reference a level still counts; what is quieter is silence."""
LOOK_AHEAD: Final = 32
"""Frames (0.5 s) that must be heard before the first reference is set."""

_HALF: Final = WINDOW // 2
_FILTERS: Final = 128
_BLOCK: Final = 32  # frames computed together: as many as a cache holds; changes no bit
_LOWEST_REFERENCE_DB: Final = -120.0  # far below the noise of any recording
_FLOOR_DB: Final = _LOWEST_REFERENCE_DB - RANGE_DB
_SCALE_DB: Final = 40.0


class Mel(msgspec.Struct, frozen=True, eq=False):
    """Hold ready-made log-mel frames where the recording itself cannot be had.

    ``decibels`` is float32 [frames, 64] on the front end's grid (16 ms a frame), relative to
    any fixed reference: only differences mean something. ``whisper`` is float32 [frames, 80],
    the same sound in Whisper's bands (10 ms a frame, log10 of power), or ``None`` where the
    source is too coarse for them.
    """

    decibels: Frames
    whisper: Frames | None = None


Sound: TypeAlias = Samples | Mel
"""Mono float32 at 16 kHz, or the features of such a recording."""


class LogMel:
    """Turn mono sound at 16 kHz into log-mel frames as it comes in.

    Frame t is centred on sample 256·t of the clip, which is taken to be zero outside; it needs
    512 samples (32 ms) beyond its centre. Periodic Hann window of 1024, power spectrum, 128
    Slaney bands from 0 to 8 kHz, power sum of adjacent pairs, 10·log10 with a floor at
    -200 dB. A clip of n samples has 1 + n // 256 frames.

    Each frame is computed for itself, in float64, by operations whose order does not depend on
    how many there are: no BLAS, whose kernels do.
    """

    def __init__(self) -> None:
        self._pending: Samples = np.zeros(_HALF, np.float32)

    def push(self, samples: Samples) -> Frames:
        """Take the next samples, float32 [n]; return the frames now complete, [m, 64] in dB."""
        heard = np.concatenate([self._pending, samples])
        found = whole_frames(heard)
        self._pending = heard[len(found) * HOP :].copy()
        return found

    def flush(self) -> Frames:
        """End the clip: return its last frames; the next ``push`` begins another clip."""
        last = self.push(np.zeros(_HALF, np.float32))
        self._pending = np.zeros(_HALF, np.float32)
        return last


class RunningLevel:
    """Measure levels from the loudest band so far, and bring them to [0, 2].

    The reference of frame t is the highest level of any band in the frames up to t, and
    at first in those of the first half second (``LOOK_AHEAD``): else the room before the first
    word would pass for loud. So the first frames come 0.5 s late and the others at once.
    Adding a constant to all levels changes nothing, as long as the reference is above -120 dB.

    2 is the reference, 0 is 80 dB below it or less: silence.
    """

    def __init__(self) -> None:
        self._held: list[Frames] = []
        self._seen = 0
        self._reference = np.float32(_LOWEST_REFERENCE_DB)

    def push(self, decibels: Frames) -> Frames:
        """Take the next levels, float32 [n, 64] in dB; return the features now known, [m, 64]."""
        if self._seen >= LOOK_AHEAD:
            return self._measure(decibels)
        self._held.append(decibels)
        self._seen += len(decibels)
        return self._release() if self._seen >= LOOK_AHEAD else _no_frames()

    def flush(self) -> Frames:
        """End the clip: return what was held back; the next ``push`` begins another clip."""
        last = self._release() if self._held else _no_frames()
        self._seen = 0
        self._reference = np.float32(_LOWEST_REFERENCE_DB)
        return last

    def _release(self) -> Frames:
        held = np.concatenate(self._held)
        self._held = []
        self._reference = max(
            self._reference, held[:LOOK_AHEAD].max(initial=np.float32(_LOWEST_REFERENCE_DB))
        )
        return self._measure(held)

    def _measure(self, decibels: Frames) -> Frames:
        if not len(decibels):
            return _no_frames()
        peaks = np.maximum(decibels.max(axis=1), self._reference)
        reference = np.maximum.accumulate(peaks)
        self._reference = reference[-1]
        below = np.maximum(decibels - reference[:, None], np.float32(-RANGE_DB))
        return (below + np.float32(RANGE_DB)) / np.float32(_SCALE_DB)


class StreamingFeatures:
    """Give the features of a clip while it is being heard: the same bits as ``features``."""

    def __init__(self) -> None:
        self._mel = LogMel()
        self._level = RunningLevel()

    def push(self, samples: Samples) -> Frames:
        """Take the next samples, float32 [n]; return the features now known, [m, 64]."""
        return self._level.push(self._mel.push(samples))

    def flush(self) -> Frames:
        """End the clip: return its last features; the next ``push`` begins another clip."""
        last = self._level.push(self._mel.flush())
        return np.concatenate([last, self._level.flush()])


def log_mel(samples: Samples) -> Frames:
    """Return the log-mel frames of a whole clip, float32 [1 + n // 256, 64] in dB."""
    mel = LogMel()
    return np.concatenate([mel.push(samples), mel.flush()])


def whole_frames(heard: Samples) -> Frames:
    """Return the levels of the frames that lie wholly in a stretch of sound, [m, 64] in dB.

    The first begins with the first sample: it is centred 512 samples later.
    """
    count = max(0, (len(heard) - WINDOW) // HOP + 1)
    levels = np.empty((count, BANDS), np.float32)
    if not count:
        return levels
    frames = np.lib.stride_tricks.sliding_window_view(heard, WINDOW)[::HOP]
    for first in range(0, count, _BLOCK):
        block = slice(first, first + _BLOCK)
        spectrum = np.fft.rfft(frames[block] * _hann())
        levels[block] = band_levels(spectrum.real**2 + spectrum.imag**2)
    return levels


def relative_level(decibels: Frames) -> Frames:
    """Return levels of a whole clip relative to their running peak, float32 [T, 64] in [0, 2]."""
    level = RunningLevel()
    return np.concatenate([level.push(decibels), level.flush()])


def features(sound: Sound) -> Frames:
    """Return what the compact encoder reads of a clip, float32 [T, 64] in [0, 2]; T is never 0.

    A recording of n samples has 1 + n // 256 frames. Ready-made log-mel frames (``Mel``) pass
    the second step alone; where there are none, the result is one frame of silence.
    """
    decibels = log_mel(sound) if isinstance(sound, np.ndarray) else sound.decibels
    if not len(decibels):
        return np.zeros((1, BANDS), np.float32)
    return relative_level(decibels.astype(np.float32, copy=False))


def band_levels(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn power spectra [..., 513] into levels of the 64 bands in dB, -200 at least."""
    bank = _bank()
    bands = np.add.reduceat(power[..., bank.bins] * bank.weights, bank.starts, axis=-1)
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(bands, 10 ** (_FLOOR_DB / 10)))
    return levels


@cache
def band_weights() -> npt.NDArray[np.float64]:
    """Return what each band must be weighted with so that their sum follows the sound's power.

    The filters have equal areas, so that a band tells a density; its width makes it a power.
    """
    edges = mel_edges(_FILTERS)
    widths: npt.NDArray[np.float64] = (edges[2:] - edges[:-2]).reshape(BANDS, 2).mean(axis=1)
    return widths


class Bank(NamedTuple):
    """Hold a sparse filter bank: bins and weights of all filters, one filter after the other."""

    bins: npt.NDArray[np.intp]
    weights: npt.NDArray[np.float64]
    starts: npt.NDArray[np.intp]


@cache
def _hann() -> npt.NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def _bank() -> Bank:
    """Return the 64 filters: sums of two adjacent triangles of Slaney's 128, from 0 to 8 kHz."""
    triangles = mel_triangles(_FILTERS, WINDOW)
    return sparse_bank(triangles[0::2] + triangles[1::2])


def mel_triangles(filters: int, window: int) -> npt.NDArray[np.float64]:
    """Return triangles on an evenly spaced mel grid, each of area 1 in Hz, [filters, bins].

    Bins are those of a window of so many samples at 16 kHz. Source: M. Slaney, Auditory
    Toolbox, Technical Report 1998-010, Interval Research, 1998 (``mfcc``).
    """
    edges = mel_edges(filters)
    low, centre, high = (edges[i : i + filters, None] for i in range(3))
    hertz = np.arange(window // 2 + 1) * (SAMPLE_RATE / window)
    rising = (hertz - low) / (centre - low)
    falling = (high - hertz) / (high - centre)
    triangles: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return triangles * 2 / (high - low)


def sparse_bank(filters: npt.NDArray[np.float64]) -> Bank:
    """Return filters [n, bins] without their zeros."""
    numbers, bins = np.nonzero(filters)
    return Bank(bins, filters[numbers, bins], np.searchsorted(numbers, np.arange(len(filters))))


def mel_edges(filters: int) -> npt.NDArray[np.float64]:
    """Return the ends and peaks in Hz of so many triangles from 0 to 8 kHz, [filters + 2]."""
    return _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), filters + 2))


# Slaney's mel scale: linear up to 1 kHz (15 mel), then 27 mel for a factor of 6.4.
_LINEAR_HERTZ: Final = 200 / 3
_KNEE_HERTZ: Final = 1000.0
_KNEE_MEL: Final = _KNEE_HERTZ / _LINEAR_HERTZ
_LOG_STEP: Final = np.log(6.4) / 27


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _KNEE_HERTZ:
        return hertz / _LINEAR_HERTZ
    return float(_KNEE_MEL + np.log(hertz / _KNEE_HERTZ) / _LOG_STEP)


def _mel_to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    curved = _KNEE_HERTZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HERTZ, curved)


def _no_frames() -> Frames:
    return np.empty((0, BANDS), np.float32)
