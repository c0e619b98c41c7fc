"""What is measured of a whole utterance: statistics of its log-mel frames.

Statistics relative to what is usual for the same stream carry from one microphone to another
where spectrograms do not (see docs/compact.md). All of them leave the gain out, and look at
speech frames alone. Before anything is measured, each band is given a floor some way below its
own level during speech, so that a quiet room and a noisy one differ little.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.percentiles import percentiles
from streamser.emotion.compact.pitch import VOICED, PitchTrack, follow_pitch
from streamser.emotion.frontend import BANDS, HOP, Frames, band_weights

__all__ = ["GROUPS", "WIDTH", "Measured", "measure"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_SECONDS: Final = HOP / SAMPLE_RATE
_CEPSTRA: Final = 20
_MODULATION_HZ: Final = (0.7, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0)

_SIZES: Final = {
    "mean": BANDS,  # level of each band against the mean level
    "p15": BANDS,
    "p85": BANDS,
    "loud": BANDS,  # the same of the loudest 40 % of frames
    "sd": BANDS,
    "delta": BANDS,  # mean change of a band from frame to frame
    "tilt": BANDS,  # how a band moves with the total level: vocal effort
    "cepstra_mean": _CEPSTRA,
    "cepstra_sd": _CEPSTRA,
    "cepstra_delta": _CEPSTRA,
    "pitch": 6,  # log2 F0: median, mean, percentiles 5, 25, 75, 95
    "pitch_move": 10,
    "voiced_mean": BANDS,  # level of each band in voiced frames
    "voicing": 4,
    "energy": 8,
    "modulation": len(_MODULATION_HZ) - 1,  # of the total level, in dB
    "time": 5,
    "shape": 5,
}


def _slices() -> dict[str, slice]:
    ends = np.cumsum([0, *_SIZES.values()]).tolist()
    return {name: slice(low, high) for name, low, high in zip(_SIZES, ends, ends[1:], strict=False)}


GROUPS: Final = _slices()
"""Which part of the vector holds which group."""
WIDTH: Final = sum(_SIZES.values())

_LOWEST: Final = 2  # bands below 94 Hz carry room noise: they do not say where speech is
_LOUDEST_PERCENTILE: Final = 98.0
_SPEECH_DB: Final = 35.0  # below the loudest frames: not speech
_SPEECH_SHARE: Final = 0.25  # of the way up from the noise floor
_LEAST_CONTRAST_DB: Final = 6.0  # loud and soft frames closer than that cannot be told apart
_LEAST_FRAMES: Final = 8
_BAND_FLOOR_DB: Final = 20.0  # below a band's own 90th percentile during speech
_TOTAL_FLOOR_DB: Final = 28.0
_LEAST_VOICED: Final = 4
_LARGEST_STEP: Final = 0.3  # octaves from frame to frame: beyond, another candidate was taken
_TINY: Final = 1e-20


class Measured(NamedTuple):
    """Hold the statistics of an utterance, float32 [WIDTH], and how long there was speech.

    ``nan`` stands where nothing could be measured: pitch without voice. Nothing at all could be
    where ``speech_seconds`` is 0.
    """

    values: npt.NDArray[np.float32]
    speech_seconds: float


class _Heard(NamedTuple):
    """Hold the frames of an utterance, floors raised, and which of them are what."""

    levels: Floats
    total: Floats
    speech: Mask
    voiced: Mask
    pitch: PitchTrack
    loudest: float


def measure(decibels: Frames) -> Measured:
    """Measure an utterance of any length, log-mel frames [T, 64] in dB of any reference."""
    if len(decibels) < 2 or not np.ptp(decibels):
        return Measured(np.full(WIDTH, np.nan, np.float32), 0.0)
    heard = _listen(np.asarray(decibels, np.float64))
    groups = {**_spectrum(heard), **_melody(heard), **_rhythm(heard)}
    groups["shape"] = _shape(groups["mean"], groups["loud"])
    values = np.concatenate([groups[name] for name in _SIZES])
    return Measured(values.astype(np.float32), float(heard.speech.sum()) * _SECONDS)


def _listen(raw: Floats) -> _Heard:
    weights = band_weights() / band_weights().sum()
    total = 10 * np.log10(10 ** (raw[:, _LOWEST:] / 10) @ weights[_LOWEST:] + _TINY)
    loudest, floor = map(float, percentiles(total, [_LOUDEST_PERCENTILE, 5]))
    speech = total > loudest - _SPEECH_DB
    if loudest - floor > _LEAST_CONTRAST_DB:
        speech &= total > floor + _SPEECH_SHARE * (loudest - floor)
    if speech.sum() < _LEAST_FRAMES:
        speech = np.zeros(len(total), np.bool_)
        speech[np.argsort(-total, kind="stable")[:_LEAST_FRAMES]] = True
    (usual,) = percentiles(raw[speech], [90])
    levels = 10 * np.log10(10 ** (raw / 10) + 10 ** ((usual - _BAND_FLOOR_DB) / 10))
    total = 10 * np.log10(10 ** (total / 10) + 10 ** ((loudest - _TOTAL_FLOOR_DB) / 10))
    pitch = follow_pitch(raw)
    return _Heard(levels, total, speech, speech & (pitch.periodicity > VOICED), pitch, loudest)


def _spectrum(heard: _Heard) -> dict[str, Floats]:
    levels, total = heard.levels[heard.speech], heard.total[heard.speech]
    relative = np.maximum(levels - total.mean(), -60.0)
    mean = relative.mean(axis=0)
    low, high = percentiles(relative, [15, 85])
    loud = total >= percentiles(total, [60])[0]
    steps = np.diff(heard.levels, axis=0)[heard.speech[1:] & heard.speech[:-1]]
    if len(steps) < 2:
        steps = np.zeros((2, BANDS))
    effort = total - total.mean()
    cepstra = relative @ _cosines().T
    voiced = heard.voiced
    voiced_mean = mean
    if voiced.sum() >= _LEAST_VOICED:
        voiced_mean = np.maximum(heard.levels[voiced] - heard.total[voiced].mean(), -60.0).mean(0)
    return {
        "mean": mean,
        "p15": low,
        "p85": high,
        "loud": relative[loud].mean(axis=0) - total[loud].mean() + total.mean(),
        "sd": relative.std(axis=0),
        "delta": np.abs(steps).mean(axis=0),
        # The 4 dB² keep a monotonous utterance from dividing by nothing.
        "tilt": ((relative - mean) * effort[:, None]).mean(axis=0) / (total.var() + 4.0),
        "cepstra_mean": cepstra.mean(axis=0),
        "cepstra_sd": cepstra.std(axis=0),
        "cepstra_delta": (steps @ _cosines().T).std(axis=0),
        "voiced_mean": voiced_mean,
    }


def _melody(heard: _Heard) -> dict[str, Floats]:
    speech, voiced = heard.speech, heard.voiced
    periodicity = heard.pitch.periodicity[speech]
    voicing = np.array(
        [
            voiced.sum() / speech.sum(),
            periodicity.mean(),
            periodicity.std(),
            percentiles(periodicity, [85])[0],
        ]
    )
    if voiced.sum() < _LEAST_VOICED:
        return {"pitch": np.full(6, np.nan), "pitch_move": np.zeros(10), "voicing": voicing}
    f0 = heard.pitch.log2_f0[voiced]
    seconds: Floats = np.flatnonzero(voiced).astype(np.float64) * _SECONDS
    steps = np.diff(heard.pitch.log2_f0)[voiced[1:] & voiced[:-1]]
    steps = steps[np.abs(steps) < _LARGEST_STEP]
    if not len(steps):
        steps = np.zeros(1)
    p5, p25, p50, p75, p95 = percentiles(f0, [5, 25, 50, 75, 95])
    half = len(f0) // 2
    move = [
        f0.std(),
        p75 - p25,
        p95 - p5,
        np.abs(steps).mean(),
        steps.std(),
        steps.mean(),
        float(np.clip(_slope(seconds, f0), -2.0, 2.0)),
        f0[half:].mean() - f0[:half].mean(),
        f0[-max(3, len(f0) // 6) :].mean() - f0.mean(),
        10.0 * _slope(heard.total[voiced], f0),
    ]
    return {
        "pitch": np.array([p50, f0.mean(), p5, p25, p75, p95]),
        "pitch_move": np.array(move),
        "voicing": voicing,
    }


def _rhythm(heard: _Heard) -> dict[str, Floats]:
    first, last = np.flatnonzero(heard.speech)[[0, -1]]
    within = slice(first, last + 1)
    spoken = heard.total[heard.speech]
    p10, p50, p90 = percentiles(spoken, [10, 50, 90])
    contour = np.maximum(heard.total[within] - heard.loudest, -45.0)
    changes = np.abs(np.diff(contour)) if len(contour) > 1 else np.zeros(1)
    half = len(spoken) // 2
    energy = [
        spoken.std(),
        p90 - p10,
        p90 - p50,
        p50 - p10,
        changes.mean(),
        percentiles(changes, [90])[0],
        _slope(np.arange(len(spoken)).astype(np.float64), spoken) / _SECONDS,
        spoken[half:].mean() - spoken[:half].mean(),
    ]
    length = len(contour) * _SECONDS
    edges = np.flatnonzero(np.diff(np.concatenate([[0], heard.voiced[within], [0]])))
    runs = np.diff(edges.reshape(-1, 2), axis=1) if len(edges) else np.zeros((1, 1))
    time = [
        np.log(length),
        heard.speech[within].mean(),
        _peaks(contour) / length,
        np.log(runs.mean() + 1.0),
        len(runs) / length,
    ]
    return {
        "energy": np.array(energy),
        "modulation": _modulation(contour),
        "time": np.array(time),
    }


def _shape(mean: Floats, loud: Floats) -> Floats:
    power = 10 ** (mean / 10)
    bands = np.arange(BANDS)
    return np.array(
        [
            power @ bands / power.sum(),
            _slope(bands[4:60].astype(np.float64), mean[4:60]),
            mean[2:10].mean() - mean[22:44].mean(),
            mean[22:40].mean() - mean[44:].mean(),
            loud[22:44].mean() - loud[2:10].mean(),
        ]
    )


def _peaks(contour: Floats) -> float:
    """Count the maxima of a smoothed level contour: about the syllables."""
    smooth = np.convolve(contour, np.ones(3) / 3, "same")
    inner = smooth[1:-1]
    return float(((inner > smooth[:-2]) & (inner >= smooth[2:]) & (inner > -20.0)).sum())


def _modulation(contour: Floats) -> Floats:
    tapered = (contour - contour.mean()) * np.hanning(len(contour))
    size = max(512, len(contour))
    power = np.abs(np.fft.rfft(tapered, size)) ** 2 / len(contour)
    hertz = np.fft.rfftfreq(size, _SECONDS)
    bands = pairwise(_MODULATION_HZ)
    means = [power[(hertz >= low) & (hertz < high)].mean() for low, high in bands]
    return np.asarray(10 * np.log10(np.array(means) + 1e-3))


def _slope(x: Floats, y: Floats) -> float:
    apart = x - x.mean()
    spread = float(apart @ apart)
    return float(apart @ (y - y.mean())) / spread if spread > 1e-9 else 0.0


@cache
def _cosines() -> Floats:
    """Return rows 1 to 20 of the orthonormal DCT-II of 64 bands."""
    rows, bands = np.arange(1, _CEPSTRA + 1)[:, None], np.arange(BANDS)[None]
    return np.asarray(np.sqrt(2 / BANDS) * np.cos(np.pi * rows * (2 * bands + 1) / (2 * BANDS)))
