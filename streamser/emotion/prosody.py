"""Measure how an utterance is voiced: pitch, loudness, and brightness of its voiced frames.

Pitch is the lag of the highest peak of the normalised autocorrelation, after P. Boersma,
"Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of
a sampled sound", IFA Proceedings 17 (1993): a Hann-windowed frame of three of the longest
periods, its autocorrelation divided by that of the window, parabolic interpolation, a voicing
threshold and an octave cost. Three things differ. One transform serves both the spectrum
(brightness) and the autocorrelation, which is taken from its first 4 kHz only: a decimation
that costs nothing and leaves hiss out. Instead of a Viterbi search each frame is decided
twice, the second time near the median of its neighbours. And a voiced stretch must last, since
single frames of noise can look periodic.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from streamser.audio.clip import SAMPLE_RATE, Samples

__all__ = ["MAX_F0_HZ", "MIN_F0_HZ", "Pitch", "Prosody", "measure", "track_pitch"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MIN_F0_HZ: Final = 75.0
MAX_F0_HZ: Final = 600.0
HOP: Final = 160  # 10 ms
_FRAME: Final = 640  # 40 ms: three periods of the lowest pitch
_FFT: Final = 1024  # frame + longest lag (213) fit, so that the autocorrelation does not wrap
_BLOCK: Final = 128  # frames a transform; more would leave the cache

_LAG_RATE: Final = SAMPLE_RATE // 2
_LAG_BINS: Final = _FFT // 4 + 1  # 0-4 kHz
_SHORTEST: Final = int(_LAG_RATE / MAX_F0_HZ)
_LONGEST: Final = math.ceil(_LAG_RATE / MIN_F0_HZ)
_HUM_BINS: Final = 3  # below 47 Hz: rumble, never a voice

_VOICING: Final = 0.5  # the least normalised autocorrelation of a voiced frame
_OCTAVE_COST: Final = 0.02  # an octave up is worth that much correlation
_JUMP_COST: Final = 0.2  # an octave away from the neighbours costs that much
_NEIGHBOURS: Final = 8  # frames to either side
_STEP: Final = 0.25  # octaves that pitch can move in one hop
_SHORTEST_RUN: Final = 5  # frames
_SILENCE_DB: Final = 30.0  # below the loudest frames: a pause
_FLOOR_DB: Final = -90.0  # re full scale: digital silence, whatever the peak

_LOW_BAND: Final = slice(round(80 * _FFT / SAMPLE_RATE), round(500 * _FFT / SAMPLE_RATE))
_HIGH_BAND: Final = slice(round(500 * _FFT / SAMPLE_RATE), _FFT // 2 + 1)


class Pitch(msgspec.Struct, frozen=True, eq=False):
    """Hold frames of 40 ms every 10 ms.

    ``f0`` [n] is in Hz and 0 where unvoiced, ``level`` [n] in dB re full scale,
    ``low`` and ``high`` [n] are the energies of 80-500 Hz and above 500 Hz.
    """

    f0: Floats
    level: Floats
    low: Floats
    high: Floats


class Prosody(msgspec.Struct, frozen=True):
    """Hold the three features of Bone, Lee & Narayanan (2012) and how much they rest upon.

    ``median_log_f0`` is the median natural logarithm of F0 in Hz, ``median_intensity_db`` the
    median level in dB re full scale, ``hf500_db`` ten times the decimal logarithm of energy
    above 500 Hz over energy from 80 to 500 Hz: all of voiced frames, all ``None`` together
    where no frame was voiced. ``speech_seconds`` is the time within 30 dB of the loudest.
    """

    median_log_f0: float | None
    median_intensity_db: float | None
    hf500_db: float | None
    voiced_seconds: float
    speech_seconds: float
    duration: float


def measure(samples: Samples) -> Prosody:
    """Measure a clip at 16 kHz, float32 [n] of any length.

    NaN and infinite samples count as silence. Ten seconds cost about 10 ms of one core.
    """
    pitch = track_pitch(samples)
    duration = len(samples) / SAMPLE_RATE
    seconds = HOP / SAMPLE_RATE
    speech = min(duration, float(np.count_nonzero(_sounding(pitch.level))) * seconds)
    voiced = pitch.f0 > 0
    count = int(np.count_nonzero(voiced))
    if count == 0:
        return Prosody(None, None, None, 0.0, speech, duration)
    low = float(pitch.low[voiced].sum(dtype=np.float64))
    high = float(pitch.high[voiced].sum(dtype=np.float64))
    return Prosody(
        median_log_f0=float(np.median(np.log(pitch.f0[voiced].astype(np.float64)))),
        median_intensity_db=float(np.median(pitch.level[voiced])),
        hf500_db=10.0 * math.log10((high + 1e-20) / (low + 1e-20)),
        voiced_seconds=min(duration, count * seconds),
        speech_seconds=speech,
        duration=duration,
    )


def track_pitch(samples: Samples) -> Pitch:
    """Follow F0, level and the two bands' energies through a clip at 16 kHz, float32 [n].

    Frame ``i`` covers samples ``160 i`` to ``160 i + 640``; a clip shorter than one frame has
    no frames.
    """
    sound = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    sound = np.clip(sound, -1.0, 1.0)
    if len(sound) < _FRAME:
        nothing = np.zeros(0, np.float32)
        return Pitch(nothing, nothing, nothing, nothing)
    views = sliding_window_view(sound, _FRAME)[::HOP]
    count = len(views)
    level, low, high = (np.empty(count, np.float32) for _ in range(3))
    correlation = np.empty((count, _LONGEST + 2), np.float32)
    window = _hann()
    shape = 1.0 / _window_correlation(window)
    for begin in range(0, count, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        frames = views[block] - views[block].mean(axis=1, keepdims=True)
        frames *= window
        spectrum = np.fft.rfft(frames, _FFT)
        power = spectrum.real**2 + spectrum.imag**2
        energy = np.einsum("ij,ij->i", frames, frames) / float(np.sum(window**2))
        level[block] = 10.0 * np.log10(energy + 1e-12)
        low[block] = power[:, _LOW_BAND].sum(axis=1)
        high[block] = power[:, _HIGH_BAND].sum(axis=1)
        power[:, :_HUM_BINS] = 0.0
        lags = np.fft.irfft(power[:, :_LAG_BINS], 2 * (_LAG_BINS - 1))[:, : _LONGEST + 2]
        lags /= np.maximum(lags[:, :1], 1e-12)
        correlation[block] = lags * shape
    f0 = _choose(correlation, _sounding(level))
    return Pitch(f0, level, low, high)


def _hann() -> Floats:
    # Half-sample offset: no zero at either end, so the window's autocorrelation stays positive.
    phase = (np.arange(_FRAME) + 0.5) / _FRAME
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * phase), np.float32)


def _window_correlation(window: Floats) -> Floats:
    power = np.abs(np.fft.rfft(window.astype(np.float64), 2 * _FRAME)) ** 2
    correlation = np.fft.irfft(power)[: 2 * (_LONGEST + 2) : SAMPLE_RATE // _LAG_RATE]
    return np.asarray(correlation / correlation[0], np.float32)


def _sounding(level: Floats) -> Mask:
    if len(level) == 0:
        return np.zeros(0, np.bool_)
    # The 95th percentile and not the maximum: one click must not turn speech into silence.
    threshold = max(float(np.percentile(level, 95)) - _SILENCE_DB, _FLOOR_DB)
    return np.asarray(level > threshold)


def _choose(correlation: Floats, sounding: Mask) -> Floats:
    """Pick a lag for every frame from correlation [n, lags]; return F0 [n], 0 where unvoiced."""
    grid = np.arange(_SHORTEST, _LONGEST + 1)
    left, centre, right = (correlation[:, _SHORTEST + by : _LONGEST + 1 + by] for by in (-1, 0, 1))
    peak = (centre > left) & (centre >= right)
    octaves = np.log2(grid / _LAG_RATE * MIN_F0_HZ).astype(np.float32)
    score = np.where(peak, centre - _OCTAVE_COST * octaves, np.float32(-9.0))
    rows = np.arange(len(score))
    first = score.argmax(axis=1)
    height = centre[rows, first]
    confident = sounding & peak[rows, first] & (height >= _VOICING)
    if not confident.any():
        return np.zeros(len(score), np.float32)
    expected = _local_median(octaves[first], confident)
    score -= _JUMP_COST * np.abs(octaves[None, :] - expected[:, None])
    chosen = score.argmax(axis=1)
    before, here, after = left[rows, chosen], centre[rows, chosen], right[rows, chosen]
    bend = before - 2.0 * here + after
    shift = np.where(bend < -1e-9, 0.5 * (before - after) / np.minimum(bend, -1e-9), 0.0)
    f0 = (_LAG_RATE / (grid[chosen] + np.clip(shift, -0.5, 0.5))).astype(np.float32)
    voiced = sounding & peak[rows, chosen] & (here >= _VOICING)
    voiced &= (f0 >= MIN_F0_HZ) & (f0 <= MAX_F0_HZ)
    return np.where(_lasting(f0, voiced), f0, np.float32(0.0))


def _local_median(values: Floats, valid: Mask) -> Floats:
    """Return the median of the valid values within ``_NEIGHBOURS`` frames, else of them all."""
    everywhere = float(np.median(values[valid]))
    holes = np.where(valid, values, np.float32(np.inf))
    padded = np.pad(holes, _NEIGHBOURS, constant_values=np.inf)
    around = np.sort(sliding_window_view(padded, 2 * _NEIGHBOURS + 1), axis=1)
    count = np.isfinite(around).sum(axis=1)
    middle = around[np.arange(len(values)), np.maximum(count - 1, 0) // 2]
    return np.where(count > 0, middle, np.float32(everywhere))


def _lasting(f0: Floats, voiced: Mask) -> Mask:
    """Keep voiced frames of stretches in which pitch glides on for ``_SHORTEST_RUN`` frames."""
    moved = np.abs(np.diff(np.log2(f0)))
    joined = voiced[1:] & voiced[:-1] & (moved < _STEP)
    stretch = np.concatenate(([0], np.cumsum(~joined)))
    length = np.bincount(stretch)
    return np.asarray(voiced & (length[stretch] >= _SHORTEST_RUN))
