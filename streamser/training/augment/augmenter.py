"""One object that varies whatever a training reads: sound, features and words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Mel, Sound
from streamser.errors import ConfigError
from streamser.training.augment.mel import mask_features, vary_both
from streamser.training.augment.sound import (
    Recording,
    Variation,
    draw_variation,
    list_noises,
    list_rooms,
    vary_sound,
)
from streamser.training.augment.words import SoundAlikes, disturb_words, plain
from streamser.training.settings import AugmentSettings


class Augmenter:
    """Vary clips and texts at random, by the given generator alone.

    Nothing that is given is changed in place; what needs no change is returned as it is.
    ``vocabulary`` are the words that others may be taken for (see ``vocabulary_of``). Raises
    ``ConfigError`` where noise or rooms are asked for and their folder holds none, or the
    signal-to-noise ratios are no range. Can be pickled for worker processes.
    """

    def __init__(self, settings: AugmentSettings, vocabulary: Sequence[str] = ()) -> None:
        self.settings = settings
        self._noises: tuple[Recording, ...] = ()
        self._rooms: tuple[Recording, ...] = ()
        if settings.noise:
            low, high = settings.snr_db
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ConfigError(f"snr_db = [{low}, {high}]: give the lowest, then the highest")
            self._noises = list_noises(_folder(settings.noise_folder))
        if settings.room:
            self._rooms = list_rooms(_folder(settings.room_folder))
        self._alikes = SoundAlikes(vocabulary)

    def sound(self, sound: Sound, rng: np.random.Generator) -> Sound:
        """Vary a recording (mono float32 at 16 kHz) or its log-mel frames.

        Length changes with the speed alone. A recording that would leave [-1, 1] is made
        quieter as a whole, never clipped. Raises ``AudioError`` where a noise or a room
        response has become unreadable.
        """
        variation = draw_variation(self.settings, self._rooms, rng)
        return _apply(sound, variation, self._noises, rng)

    def text(self, text: str, rng: np.random.Generator) -> str:
        """Vary a text as a recogniser would; never empty where the given one is not."""
        settings = self.settings
        varied = disturb_words(text, settings.word_drop, settings.word_swap, self._alikes, rng)
        if settings.plain_text and rng.random() < settings.plain_text:
            return plain(varied)
        return varied

    def features(
        self, values: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Hide parts of one clip's features [T, F] behind their mean (``mask_features``)."""
        settings = self.settings
        return mask_features(values, settings.spec_time, settings.spec_bands, rng)


class NoiseAtSnr:
    """Add noise to clips at one signal-to-noise ratio; see ``degrade_at_snr``."""

    def __init__(self, noises: tuple[Recording, ...], snr_db: float) -> None:
        self.snr_db = snr_db
        self._noises = noises

    @overload
    def __call__(self, sound: Samples, rng: np.random.Generator) -> Samples: ...

    @overload
    def __call__(self, sound: Mel, rng: np.random.Generator) -> Mel: ...

    @overload
    def __call__(self, sound: Sound, rng: np.random.Generator) -> Sound: ...

    def __call__(self, sound: Sound, rng: np.random.Generator) -> Sound:
        """Return the noisy clip; the very same at an infinite ratio and where it is silent."""
        if self.snr_db == math.inf:
            return sound
        return _apply(sound, Variation(snr_db=self.snr_db), self._noises, rng)


def degrade_at_snr(noise_folder: Path | None, snr_db: float) -> NoiseAtSnr:
    """Return what adds noise to a clip at a ratio in dB that holds where there is speech.

    ``noise_folder`` holds WAV or FLAC files; none means white, pink and brown noise. Call the
    result with a recording or its log-mel frames and a generator. Raises ``ConfigError`` where
    the folder holds no noise or the ratio is no number.
    """
    if math.isnan(snr_db) or snr_db == -math.inf:
        raise ConfigError(f"a signal-to-noise ratio of {snr_db} dB: give a number")
    return NoiseAtSnr(list_noises(noise_folder), snr_db)


def _apply(
    sound: Sound, variation: Variation, noises: tuple[Recording, ...], rng: np.random.Generator
) -> Sound:
    if isinstance(sound, Mel):
        return vary_both(sound, variation, noises, rng)
    return vary_sound(sound, variation, noises, rng)


def _folder(name: str) -> Path | None:
    return Path(name).expanduser() if name else None
