"""What is measured of a whole utterance: statistics of its log-mel frames.

Statistics relative to what is usual for the same stream carry from one microphone to another
where spectrograms do not (see docs/compact.md). All of them leave the gain out, and look at
speech frames alone. Before anything is measured, each band is given a floor some way below its
own level during speech, so that a quiet room and a noisy one differ little.

Means and percentiles are worked out by hand: on so little, numpy's own methods take longer to
begin than to add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.frames import VOICED, PitchTrack, follow_pitch
from streamser.emotion.frontend import BANDS, HOP, Frames, band_weights

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

Ranked = npt.NDArray[np.floating[Any]]


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
_NEPERS: Final = math.log(10) / 10  # of power, in a decibel
_PIECE: Final = 128  # frames


class Measured(NamedTuple):
    """Hold what was measured of an utterance, float32 [width], and how long there was speech.

    ``nan`` stands where nothing could be measured: pitch without voice. Nothing at all could be
    where ``speech_seconds`` is 0.
    """

    values: npt.NDArray[np.float32]
    speech_seconds: float


class _Speech(NamedTuple):
    """Hold an utterance, floors raised, and which of its frames are what.

    ``levels`` [S, 64] are those of the speech frames alone, in order; ``ordered`` [64, S] are
    the same before floors were raised, each band sorted, and ``floors`` the power below which
    a band is not let fall. ``total``, ``speech`` and ``voiced`` are of all frames, [T].
    """

    levels: Floats
    ordered: Frames
    floors: Floats
    total: Floats
    speech: Mask
    voiced: Mask
    pitch: PitchTrack
    loudest: float


def measure(decibels: Frames, pitch: PitchTrack | None = None) -> Measured:
    """Measure an utterance of any length, log-mel frames [T, 64] in dB of any reference.

    ``pitch`` is what ``follow_pitch`` finds in these frames, where that is known already.
    """
    if len(decibels) < 2 or not np.ptp(decibels):
        return Measured(np.full(WIDTH, np.nan, np.float32), 0.0)
    heard = _listen(decibels, follow_pitch(decibels) if pitch is None else pitch)
    groups = {**_spectrum(heard), **_melody(heard), **_rhythm(heard)}
    groups["shape"] = _shape(groups["mean"], groups["loud"])
    values = np.concatenate([groups[name] for name in _SIZES])
    return Measured(values.astype(np.float32), float(heard.speech.sum()) * _SECONDS)


def _listen(decibels: Frames, pitch: PitchTrack) -> _Speech:
    power = _power(decibels.astype(np.float64))
    weights = band_weights() / band_weights().sum()
    powers = np.einsum("tb,b->t", power[:, _LOWEST:], weights[_LOWEST:]) + _TINY
    total = _decibels(powers)
    loudest, floor = map(float, percentiles(total, [_LOUDEST_PERCENTILE, 5]))
    speech = total > loudest - _SPEECH_DB
    if loudest - floor > _LEAST_CONTRAST_DB:
        speech &= total > floor + _SPEECH_SHARE * (loudest - floor)
    if speech.sum() < _LEAST_FRAMES:
        speech = np.zeros(len(total), np.bool_)
        speech[np.argsort(-total, kind="stable")[:_LEAST_FRAMES]] = True
    ordered = ranked(decibels[speech])
    (usual,) = picked(ordered, [90])
    floors = _power(usual - _BAND_FLOOR_DB)
    return _Speech(
        levels=_decibels(power[speech] + floors),
        ordered=ordered,
        floors=floors,
        total=_decibels(powers + _power(loudest - _TOTAL_FLOOR_DB)),
        speech=speech,
        voiced=speech & (pitch.periodicity > VOICED),
        pitch=pitch,
        loudest=loudest,
    )


def _spectrum(heard: _Speech) -> dict[str, Floats]:
    levels, total = heard.levels, heard.total[heard.speech]
    usual = mean_of(total)
    relative = _below(levels, usual)
    mean = means(relative)
    # Floors and limits keep the order of levels: what was sorted once need not be again.
    low, high = picked(
        heard.ordered,
        [15, 85],
        lambda raw: _below(_decibels(_power(raw) + heard.floors[:, None]), usual),
    )
    loud = total >= percentiles(total, [60])[0]
    frames = np.flatnonzero(heard.speech)
    steps = (levels[1:] - levels[:-1])[frames[1:] - frames[:-1] == 1]
    if len(steps) < 2:
        steps = np.zeros((2, BANDS))
    effort = total - usual
    apart = relative - mean
    changes = _cepstra(steps)
    voiced = heard.voiced[heard.speech]
    voiced_mean = mean
    if voiced.sum() >= _LEAST_VOICED:
        voiced_mean = means(_below(levels[voiced], mean_of(total[voiced])))
    return {
        "mean": mean,
        "p15": low,
        "p85": high,
        "loud": means(relative[loud]) - mean_of(total[loud]) + usual,
        "sd": lengths(apart),
        "delta": means(np.abs(steps)),
        # The 4 dB² keep a monotonous utterance from dividing by nothing.
        "tilt": np.einsum("t,tb->b", effort, apart) / len(apart) / (deviation(total) ** 2 + 4.0),
        "cepstra_mean": _cosines() @ mean,
        "cepstra_sd": lengths(_cepstra(apart)),
        "cepstra_delta": lengths(changes - means(changes)),
        "voiced_mean": voiced_mean,
    }


def _melody(heard: _Speech) -> dict[str, Floats]:
    speech, voiced = heard.speech, heard.voiced
    periodicity = heard.pitch.periodicity[speech]
    voicing = np.array(
        [
            voiced.sum() / speech.sum(),
            mean_of(periodicity),
            deviation(periodicity),
            percentiles(periodicity, [85])[0],
        ]
    )
    if voiced.sum() < _LEAST_VOICED:
        return {"pitch": np.full(6, np.nan), "pitch_move": np.zeros(10), "voicing": voicing}
    f0 = heard.pitch.log2_f0[voiced]
    frames = np.flatnonzero(voiced)
    steps = (f0[1:] - f0[:-1])[frames[1:] - frames[:-1] == 1]
    steps = steps[np.abs(steps) < _LARGEST_STEP]
    if not len(steps):
        steps = np.zeros(1)
    p5, p25, p50, p75, p95 = percentiles(f0, [5, 25, 50, 75, 95])
    half = len(f0) // 2
    mean = mean_of(f0)
    move = [
        deviation(f0),
        p75 - p25,
        p95 - p5,
        mean_of(np.abs(steps)),
        deviation(steps),
        mean_of(steps),
        min(max(slope(frames.astype(np.float64) * _SECONDS, f0), -2.0), 2.0),
        mean_of(f0[half:]) - mean_of(f0[:half]),
        mean_of(f0[-max(3, len(f0) // 6) :]) - mean,
        10.0 * slope(heard.total[voiced], f0),
    ]
    return {
        "pitch": np.array([p50, mean, p5, p25, p75, p95]),
        "pitch_move": np.array(move),
        "voicing": voicing,
    }


def _rhythm(heard: _Speech) -> dict[str, Floats]:
    first, last = np.flatnonzero(heard.speech)[[0, -1]]
    within = slice(first, last + 1)
    spoken = heard.total[heard.speech]
    p10, p50, p90 = percentiles(spoken, [10, 50, 90])
    contour = np.maximum(heard.total[within] - heard.loudest, -45.0)
    changes = np.abs(contour[1:] - contour[:-1]) if len(contour) > 1 else np.zeros(1)
    half = len(spoken) // 2
    energy = [
        deviation(spoken),
        p90 - p10,
        p90 - p50,
        p50 - p10,
        mean_of(changes),
        percentiles(changes, [90])[0],
        slope(np.arange(len(spoken), dtype=np.float64), spoken) / _SECONDS,
        mean_of(spoken[half:]) - mean_of(spoken[:half]),
    ]
    length = len(contour) * _SECONDS
    edges = np.flatnonzero(np.diff(np.concatenate([[0], heard.voiced[within], [0]])))
    runs = edges[1::2] - edges[::2] if len(edges) else np.zeros(1)
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
            slope(bands[4:60].astype(np.float64), mean[4:60]),
            mean_of(mean[2:10]) - mean_of(mean[22:44]),
            mean_of(mean[22:40]) - mean_of(mean[44:]),
            mean_of(loud[22:44]) - mean_of(loud[2:10]),
        ]
    )


def _peaks(contour: Floats) -> float:
    """Count the maxima of a smoothed level contour: about the syllables."""
    smooth = np.convolve(contour, np.ones(3) / 3, "same")
    inner = smooth[1:-1]
    return float(((inner > smooth[:-2]) & (inner >= smooth[2:]) & (inner > -20.0)).sum())


def _modulation(contour: Floats) -> Floats:
    tapered = (contour - mean_of(contour)) * np.hanning(len(contour))
    size = max(512, len(contour))
    spectrum = np.fft.rfft(tapered, size)
    power = (spectrum.real**2 + spectrum.imag**2) / len(contour)
    edges = np.searchsorted(np.fft.rfftfreq(size, _SECONDS), _MODULATION_HZ)
    found = np.add.reduceat(power[: edges[-1]], edges[:-1]) / (edges[1:] - edges[:-1])
    return np.asarray(10 * np.log10(found + 1e-3))


def _power(decibels: Floats | float) -> Floats:
    return np.asarray(np.exp(decibels * _NEPERS))


def _decibels(power: Floats) -> Floats:
    return np.asarray(np.log(power) / _NEPERS)


def _below(levels: Floats, reference: float) -> Floats:
    relative = levels - reference
    return np.maximum(relative, -60.0, out=relative)


def _cepstra(rows: Floats) -> Floats:
    """Return cepstra [T, 20] of levels [T, 64].

    In pieces so small that no BLAS spreads them over threads: these would wait for each other
    for longer than all of it takes.
    """
    found = np.empty((len(rows), _CEPSTRA))
    for first in range(0, len(rows), _PIECE):
        piece = slice(first, first + _PIECE)
        np.matmul(rows[piece], _cosines().T, out=found[piece])
    return found


@cache
def _cosines() -> Floats:
    """Return rows 1 to 20 of the orthonormal DCT-II of 64 bands."""
    rows, bands = np.arange(1, _CEPSTRA + 1)[:, None], np.arange(BANDS)[None]
    return np.asarray(np.sqrt(2 / BANDS) * np.cos(np.pi * rows * (2 * bands + 1) / (2 * BANDS)))


def mean_of(values: Floats) -> float:
    """Return the mean of values [n], n > 0."""
    return float(np.add.reduce(values)) / len(values)


def deviation(values: Floats) -> float:
    """Return the standard deviation of values [n], n > 0."""
    apart = values - mean_of(values)
    return math.sqrt(float(apart @ apart) / len(values))


def slope(x: Floats, y: Floats) -> float:
    """Return the slope of the least-squares line through points [n]; 0 where ``x`` stands still."""
    apart = x - mean_of(x)
    spread = float(apart @ apart)
    return float(apart @ (y - mean_of(y))) / spread if spread > 1e-9 else 0.0


def means(rows: Floats) -> Floats:
    """Return the mean of each column of rows [n, m], n > 0."""
    return np.asarray(np.einsum("tb->b", rows) / len(rows))


def lengths(rows: Floats) -> Floats:
    """Return the root mean square of each column of rows [n, m], n > 0."""
    return np.asarray(np.sqrt(np.einsum("tb,tb->b", rows, rows) / len(rows)))


def percentiles(values: Floats, wanted: Sequence[float]) -> list[Floats]:
    """Return percentiles over the first axis, to the last bit those of ``np.percentile``.

    ``values`` [n, …] with n > 0 and without NaN. By linear interpolation between closest ranks
    (Hyndman & Fan 1996, type 7). numpy's own takes several times as long on so little.
    """
    return picked(ranked(values), wanted)


def ranked(values: Ranked) -> Ranked:
    """Sort values [n, …] over the first axis, for ``picked``; that axis comes out last."""
    # Each column in a row of its own: sorting then runs along memory.
    ordered = np.array(values.T, order="C")
    ordered.sort(axis=-1)
    return ordered


def picked(
    ordered: Ranked,
    wanted: Sequence[float],
    change: Callable[[Floats], Floats] | None = None,
) -> list[Floats]:
    """Return percentiles of what was ``ranked``, or of what a rising function makes of it.

    ``change`` takes values at some ranks, float64 [..., ranks]: a function that keeps the order
    need not be applied to all values.
    """
    last = ordered.shape[-1] - 1
    places = [last * (percent / 100) for percent in wanted]
    below = [int(place) for place in places]
    above = [min(rank + 1, last) for rank in below]
    share = np.array(places) - below
    ends = ordered[..., below + above].astype(np.float64)
    if change is not None:
        ends = change(ends)
    low, high = ends[..., : len(below)], ends[..., len(below) :]
    step = high - low
    # From the nearer end, as numpy does.
    found = np.where(share < 0.5, low + step * share, high - step * (1 - share))
    return [found[..., number].T for number in range(len(below))]
