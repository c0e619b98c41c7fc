"""What may happen to a sound on its way: noise, gain, a telephone, an early end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.frontend import HOP, Mel, Sound, band_weights
from streamser.errors import ConfigError
from streamser.training.augment.augmenter import NoiseAtSnr
from streamser.training.augment.bands import Telephone
from streamser.training.augment.mel import vary_both
from streamser.training.augment.sound import Variation, active, list_recordings, vary_sound
from tools.compact_report.bench import Condition

__all__ = ["GAINS_DB", "changes", "first_seconds", "gain"]

GAINS_DB: Final = (-12.0, 12.0)

_SNRS_DB: Final = (20.0, 10.0, 5.0)
_SECONDS: Final = (1.0, 2.0, 3.0)
_NOISES: Final = ("noise", "office")
_FINER: Final = 1.6  # frames of 10 ms in one of 16 ms
_PRE_ROLL_SECONDS: Final = 0.2  # the runtime keeps as much before the first speech


def changes(noise_folder: Path) -> list[Condition]:
    """List the changes that are tried on recordings and on log-mel frames alike.

    Raises ``ConfigError`` where the folder holds no noise.
    """
    found = tuple(
        recording
        for recording in list_recordings(noise_folder, "noises")
        if recording.path.stem.startswith(_NOISES)
    )
    if not found:
        raise ConfigError(f"no noise*.flac or office*.flac below {noise_folder}.")
    return [
        *(Condition(f"noise, {snr:g} dB", NoiseAtSnr(found, snr)) for snr in _SNRS_DB),
        Condition("telephone band", _varied(Variation(responses=(Telephone(narrow=True),)))),
        *(Condition(f"first {seconds:g} s of speech", _cut(seconds)) for seconds in _SECONDS),
    ]


def gain(decibels: float) -> Condition:
    """Return the change that makes recordings louder, never beyond full scale, or softer."""
    return Condition(f"gain {decibels:+g} dB", _varied(Variation(gain_db=decibels)))


def first_seconds(sound: Sound, seconds: float) -> Sound:
    """Return the beginning of the speech in a sound, and 0.2 s before it.

    Speech begins with the first frame of 16 ms that is active by ITU-T P.56.
    """
    if isinstance(sound, Mel):
        heard = active(10 ** (sound.decibels.astype(np.float64) / 10) @ band_weights())
        begin, end = _span(heard, seconds)
        whisper = sound.whisper
        if whisper is not None:
            whisper = whisper[slice(*(round(frame * _FINER) for frame in (begin, end)))]
        return Mel(sound.decibels[begin:end], whisper)
    blocks = np.pad(sound, (0, -len(sound) % HOP)).reshape(-1, HOP)
    begin, end = _span(active(np.square(blocks, dtype=np.float64).mean(axis=1)), seconds)
    return sound[begin * HOP : end * HOP]


def _span(heard: np.ndarray[tuple[int], np.dtype[np.bool_]], seconds: float) -> tuple[int, int]:
    onset = int(heard.argmax()) if heard.any() else 0
    per_second = SAMPLE_RATE / HOP
    begin = onset - round(_PRE_ROLL_SECONDS * per_second)
    return max(0, begin), onset + round(seconds * per_second)


def _cut(seconds: float) -> Callable[[Sound, np.random.Generator], Sound]:
    return lambda sound, _: first_seconds(sound, seconds)


def _varied(variation: Variation) -> Callable[[Sound, np.random.Generator], Sound]:
    def change(sound: Sound, rng: np.random.Generator) -> Sound:
        if isinstance(sound, Mel):
            return vary_both(sound, variation, (), rng)
        return vary_sound(sound, variation, (), rng)

    return change
