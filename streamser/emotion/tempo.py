"""How fast an utterance is spoken, and how much of it is pause: by its sound, in any language.

Syllables are counted by their nuclei: peaks of level between dips, after N. H. de Jong & T. Wempe,
"Praat script to detect syllable nuclei and measure speech rate automatically", Behavior Research
Methods 41(2) (2009). Two things differ: level is that of the band in which vowels are louder than
what stands between them, smoothed over 70 ms, and stands in for their test of voicing. The speech
rate is theirs: syllables over the time from the first sound to the last, pauses included.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from streamser.audio.clip import SAMPLE_RATE, Samples

Levels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LEAST_S: Final = 0.5
"""Less speech has no rate: a syllable more or less would be everything."""
LEAST_PAUSE_S: Final = 0.2
"""Less is no pause: a stop consonant may be as silent for so long."""

_HOP: Final = SAMPLE_RATE // 100
_FRAME: Final = 512  # 32 ms: shorter than a vowel, longer than two periods of a low voice
_VOWELS: Final = slice(round(300 * _FRAME / SAMPLE_RATE), round(3300 * _FRAME / SAMPLE_RATE))
_SMOOTH: Final = 7  # frames
_DIP_DB: Final = 3.0  # between two syllables; de Jong & Wempe: 2 dB, of all bands together
_QUIET_DB: Final = 30.0  # below the loudest: no nucleus, and no sound of speech
_ABOVE_NOISE_DB: Final = 6.0
_LOUD_DB: Final = 10.0  # below the loudest: never a pause, however steady the sound is
_FLOOR_DB: Final = -80.0  # re full scale


class Tempo(msgspec.Struct, frozen=True):
    """Hold how fast an utterance is spoken.

    ``speech_rate`` is in syllables a second, from the first sound to the last, ``pause_share`` the
    share of that time, [0, 1], in pauses of ``LEAST_PAUSE_S`` or more, of which the longest lasts
    ``longest_pause_s``, 0 where there is none.
    """

    speech_rate: float
    pause_share: float
    longest_pause_s: float


def measure_tempo(samples: Samples) -> Tempo | None:
    """Measure a clip at 16 kHz, float32 [n]; ``None`` where less than ``LEAST_S`` sounds.

    NaN and infinite samples count as silence. Ten seconds cost about 6 ms of one core.
    """
    everything, vowels = _levels(samples)
    sounding = np.flatnonzero(_sounding(everything))
    if len(sounding) * _HOP < LEAST_S * SAMPLE_RATE:
        return None
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    seconds = (last - first) * _HOP / SAMPLE_RATE
    gaps = (np.diff(sounding) - 1) * _HOP / SAMPLE_RATE
    pauses = gaps[gaps >= LEAST_PAUSE_S]
    return Tempo(
        speech_rate=count_syllables(vowels[first:last]) / seconds,
        pause_share=float(pauses.sum()) / seconds,
        longest_pause_s=float(pauses.max(initial=0.0)),
    )


def count_syllables(levels: Levels) -> int:
    """Count the peaks of levels [n], dB every 10 ms, with a dip before and behind each.

    A rise that the sound begins with, or a fall that it ends with, is as good as a dip.
    """
    smooth = _smoothed(levels)
    least = float(np.percentile(smooth, 98)) - _QUIET_DB
    count, rising, extreme = 0, True, -np.inf
    for level in (*smooth.tolist(), -np.inf):
        if rising == (level > extreme):
            extreme = level
        elif abs(level - extreme) >= _DIP_DB:
            count += rising and extreme > least
            rising, extreme = not rising, level
    return count


def _levels(samples: Samples) -> tuple[Levels, Levels]:
    """Return the level of all of the sound, and that of the band of vowels, in dB, [frames]."""
    sound = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    padded = np.pad(np.clip(sound, -1.0, 1.0), _FRAME // 2)
    spectrum = np.fft.rfft(sliding_window_view(padded, _FRAME)[::_HOP] * window)
    power = spectrum.real**2 + spectrum.imag**2
    scale = 2.0 / (_FRAME * float(window @ window))
    everything, vowels = power.sum(axis=1), power[:, _VOWELS].sum(axis=1)
    silence = 10 ** (_FLOOR_DB / 10)
    return (
        np.asarray(10 * np.log10(scale * everything + silence), np.float32),
        np.asarray(10 * np.log10(scale * vowels + silence), np.float32),
    )


def _sounding(levels: Levels) -> Mask:
    """Tell where speech sounds: near the loudest, above what there is between words."""
    # Neither the maximum nor the minimum: one click, or one gap, must not decide.
    quiet, loud = (float(level) for level in np.percentile(levels, (5, 95)))
    least = max(loud - _QUIET_DB, quiet + _ABOVE_NOISE_DB, _FLOOR_DB + _ABOVE_NOISE_DB)
    return np.asarray(levels > max(min(least, loud - _LOUD_DB), _FLOOR_DB + _ABOVE_NOISE_DB))


def _smoothed(levels: Levels) -> Levels:
    weights = np.hanning(_SMOOTH + 2)[1:-1]
    padded = np.pad(levels, _SMOOTH // 2, mode="edge")
    return np.asarray(np.convolve(padded, weights / weights.sum(), "valid"), np.float32)
