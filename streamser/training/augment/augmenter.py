"""One object that varies whatever a training reads: sound, features and words.

Words are varied as a recogniser gets them: some missing, some taken for others that sound alike.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Mel, Sound
from streamser.errors import ConfigError
from streamser.training.augment.mel import mask_features, vary_both
from streamser.training.augment.sound import (
    SoundFile,
    Variation,
    draw_variation,
    list_noises,
    list_rooms,
    vary_sound,
)
from streamser.training.settings import AugmentSettings

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Letters and digits, with apostrophes inside of words, which recognisers write too.
_SPOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

_ALIKE = 8
_LENGTH_APART = 2

# Letters of nearly one sound become one letter, somewhat as in Soundex; for English.
_SPELLINGS = (
    ("ght", "t"), ("gh", "g"), ("ph", "f"), ("kn", "n"), ("wr", "r"), ("wh", "w"), ("ck", "k"),
    ("ce", "se"), ("ci", "si"), ("cy", "si"),
)  # fmt: skip
_SOUNDS = str.maketrans("bvcqgxzdyw", "pfkkksstiu")


class Augmenter:
    """Vary clips and texts at random, by the given generator alone.

    Nothing that is given is changed in place; what needs no change is returned as it is.
    ``vocabulary`` are the words that others may be taken for (see ``vocabulary_of``). Raises
    ``ConfigError`` where noise or rooms are asked for and their folder holds none, or the
    signal-to-noise ratios are no range. Can be pickled for worker processes.
    """

    def __init__(self, settings: AugmentSettings, vocabulary: Sequence[str] = ()) -> None:
        self.settings = settings
        self._noises: tuple[SoundFile, ...] = ()
        self._rooms: tuple[SoundFile, ...] = ()
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

    def __init__(self, noises: tuple[SoundFile, ...], snr_db: float) -> None:
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
    sound: Sound, variation: Variation, noises: tuple[SoundFile, ...], rng: np.random.Generator
) -> Sound:
    if isinstance(sound, Mel):
        return vary_both(sound, variation, noises, rng)
    return vary_sound(sound, variation, noises, rng)


def _folder(name: str) -> Path | None:
    return Path(name).expanduser() if name else None


def vocabulary_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the words of some texts in lower case, each once, sorted; numbers are left out."""
    words = {word.lower() for text in texts for word in _WORD.findall(text)}
    return tuple(sorted({word.replace("’", "'") for word in words}))


def plain(text: str) -> str:
    """Return a text in lower case without punctuation, as a simple recogniser writes it.

    A text without letters and digits stays as it is.
    """
    return " ".join(word.lower().replace("’", "'") for word in _SPOKEN.findall(text)) or text


class SoundAlikes:
    """Find words of a vocabulary that a word may be taken for.

    Alike are words whose first letters sound the same, that differ by two letters at most in
    length and share pairs of letters, as written and as sounded. What was found for a word is
    kept, so that each is searched once.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._words = tuple(vocabulary)
        self._by_start: dict[str, list[tuple[str, frozenset[str]]]] | None = None
        self._known: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {}

    def draw(self, word: str, rng: np.random.Generator) -> str:
        """Draw one of the eight words most alike, by their likeness; else any; else the same.

        ``word`` is in lower case, and so is what is returned.
        """
        if word not in self._known:
            self._known[word] = self._search(word)
        words, bounds = self._known[word]
        if words:
            return words[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]
        if self._words:
            return self._words[rng.integers(len(self._words))]
        return word

    def _search(self, word: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        if self._by_start is None:
            by_start = defaultdict(list)
            for other in self._words:
                by_start[_sounded(other)[:1]].append((other, _pairs(other)))
            self._by_start = dict(by_start)
        pairs = _pairs(word)
        scored = sorted(
            (-2 * len(pairs & others) / (len(pairs) + len(others)), other)
            for other, others in self._by_start.get(_sounded(word)[:1], ())
            if other != word and abs(len(other) - len(word)) <= _LENGTH_APART
        )[:_ALIKE]
        weights = np.cumsum([score**2 + 1e-3 for score, _ in scored])
        return tuple(other for _, other in scored), tuple(weights.tolist())


def _sounded(word: str) -> str:
    """Return a word with one letter for each sound, none doubled and no final e."""
    for spelling, sound in _SPELLINGS:
        word = word.replace(spelling, sound)
    return re.sub(r"(.)\1+|(?<=..)e$", r"\1", word.translate(_SOUNDS))


def _pairs(word: str) -> frozenset[str]:
    """Return the pairs of neighbouring letters as written, and of sounds marked by a stroke."""
    written, sounded = f"^{word}$", f"^{_sounded(word)}$"
    return frozenset(
        [a + b for a, b in pairwise(written)] + [f"|{a}{b}" for a, b in pairwise(sounded)]
    )


def disturb_words(
    text: str, drop: float, swap: float, alikes: SoundAlikes, rng: np.random.Generator
) -> str:
    """Leave out a share of the words and replace a share by others that sound alike.

    Each word is drawn for on its own. Capitals at a word's beginning and punctuation around it
    stay. One word at least is left of a text that has one; runs of spaces become one.
    """
    words = text.split()
    if not words or not (drop or swap):
        return text
    kept = rng.random(len(words)) >= drop
    spoken = [i for i, word in enumerate(words) if _SPOKEN.search(word)] or [0]
    if not kept[spoken].any():
        kept[rng.choice(spoken)] = True
    swapped = rng.random(len(words)) < swap
    return " ".join(
        _replaced(word, alikes, rng) if other else word
        for word, stays, other in zip(words, kept, swapped, strict=True)
        if stays
    )


def _replaced(word: str, alikes: SoundAlikes, rng: np.random.Generator) -> str:
    found = _WORD.search(word)
    if found is None:
        return word
    other = alikes.draw(found[0].lower().replace("’", "'"), rng)
    if found[0][0].isupper():
        other = other[:1].upper() + other[1:]
    return word[: found.start()] + other + word[found.end() :]
