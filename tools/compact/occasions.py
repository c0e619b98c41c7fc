"""What the fusion is taught with: voices, words, and made pairs of both.

No free corpus pairs emotional words with an emotional voice. So pairs are made by label, in
four kinds, and each kind's target is a decision of ours: whoever reads a figure on pairs should
know that words and voice were never said together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.taxonomy import CATEGORIES
from tools.compact.streams import StreamBatch, Streams
from tools.compact.texts import EncodedTexts
from tools.compact.voices import OTHER, Voices

__all__ = ["OccasionBatch", "OccasionSettings", "Occasions"]

Floats32 = npt.NDArray[np.float32]

_NEUTRAL: Final = CATEGORIES.index("neutral")
# How much of each dimension the voice decides, and how much the words (valence, arousal,
# dominance): voices tell arousal, words tell valence (Srinivasan et al. 2022, arXiv 2112.00158).
_VOICE_SHARE: Final = np.array([0.5, 0.8, 0.7], np.float32)
# Emotional words in a neutral voice: the words count, though less than if the voice agreed.
_WORDS_ALONE: Final = 0.7
_STREAM: Final = 6


class OccasionSettings(NamedTuple):
    """Say what shares of a batch are what: voice alone, words alone, the rest pairs.

    Of the pairs, ``agree`` say the same, ``plain_words`` are an emotional voice with neutral
    words, ``plain_voice`` the reverse, the rest conflict. ``intended`` is the share of the
    intended label in a voice's target, against the votes of those who heard it.
    """

    voices: int = 168
    words: int = 36
    pairs: int = 60
    agree: float = 0.4
    plain_words: float = 0.25
    plain_voice: float = 0.2
    intended: float = 1.0


class OccasionBatch(NamedTuple):
    """Hold M occasions to learn from.

    ``voice`` has a row for each, looked at where ``has_audio``; ``texts`` int64 [M] are places
    among the texts or -1. ``categories`` float32 [M, 4] sums to 1 in a row or is zero (no
    category), ``dimensions`` float32 [M, 3] is in [0, 1] or ``nan``. ``source`` int64 [M] is 0
    for voices, 1 for words, 2 for pairs: CCC is taken within one, for their scales differ.
    """

    voice: StreamBatch
    has_audio: npt.NDArray[np.bool_]
    texts: npt.NDArray[np.int64]
    categories: Floats32
    dimensions: Floats32
    source: npt.NDArray[np.int64]


class Occasions:
    """Draw batches, by the given generator alone."""

    def __init__(
        self,
        voices: Voices,
        streams: Streams,
        texts: EncodedTexts,
        settings: OccasionSettings,
        rng: np.random.Generator,
    ) -> None:
        self._voices = voices
        self._streams = streams
        self._texts = texts
        self._settings = settings
        self._rng = rng
        named = texts.votes.sum(axis=1) > 0
        self._of_category = [
            np.flatnonzero(named & (texts.votes.argmax(axis=1) == k))
            for k in range(len(CATEGORIES))
        ]
        self._rated = np.flatnonzero(texts.rated)
        self._targets = _voice_targets(voices, settings.intended)

    def draw(self) -> OccasionBatch:
        """Draw the next batch."""
        settings, rng = self._settings, self._rng
        heard = settings.voices + settings.pairs
        voice = self._streams.draw(-(-heard // _STREAM), _STREAM)
        # Streams come one after the other: mixed, so that pairs are of all of them.
        order = rng.permutation(len(voice.places))[:heard]
        voice = voice.select(order)
        categories = self._targets[voice.places]
        dimensions = self._voices.dimensions[voice.places].copy()
        texts = np.full(heard, -1, np.int64)
        for row in range(settings.voices, heard):
            self._pair(row, texts, categories, dimensions, voice.places)
        alone = self._words_alone(settings.words)
        source = np.repeat([0, 2, 1], [settings.voices, settings.pairs, settings.words])
        return OccasionBatch(
            voice=voice.with_silence(settings.words),
            has_audio=np.arange(heard + settings.words) < heard,
            texts=np.concatenate([texts, alone]),
            categories=np.concatenate([categories, self._texts.votes[alone]]),
            dimensions=np.concatenate([dimensions, self._texts.dimensions[alone]]),
            source=source.astype(np.int64),
        )

    def _pair(
        self,
        row: int,
        texts: npt.NDArray[np.int64],
        categories: Floats32,
        dimensions: Floats32,
        places: npt.NDArray[np.int64],
    ) -> None:
        """Give the voice of a row words, and both a target."""
        pool = int(self._voices.pools[places[row]])
        if pool == OTHER:
            # Of another emotion: words teach nothing here that they would not teach alone.
            return
        said = self._words_for(pool)
        text = int(self._rng.choice(self._of_category[said]))
        texts[row] = text
        voiced, worded = categories[row].copy(), self._texts.votes[text]
        if said in (pool, _NEUTRAL):
            categories[row] = voiced
        elif pool == _NEUTRAL:
            categories[row] = _WORDS_ALONE * worded + (1 - _WORDS_ALONE) * voiced
        else:
            categories[row] = 0.5 * voiced + 0.5 * worded
        dimensions[row] = (
            _VOICE_SHARE * dimensions[row] + (1 - _VOICE_SHARE) * self._texts.dimensions[text]
        )

    def _words_for(self, pool: int) -> int:
        """Draw the category of the words that go with a voice."""
        settings, rng = self._settings, self._rng
        others = [k for k in range(len(CATEGORIES)) if k not in (pool, _NEUTRAL)]
        if pool == _NEUTRAL:
            agrees = rng.random() * (settings.agree + settings.plain_voice) < settings.agree
            return pool if agrees else int(rng.choice(others))
        drawn = rng.random() * (1 - settings.plain_voice)
        if drawn < settings.agree:
            return pool
        return (
            _NEUTRAL if drawn < settings.agree + settings.plain_words else int(rng.choice(others))
        )

    def _words_alone(self, count: int) -> npt.NDArray[np.int64]:
        """Draw half of the texts evenly from the categories, half from those with ratings."""
        rng = self._rng
        pools = [*self._of_category, *[self._rated] * len(CATEGORIES)]
        drawn = rng.integers(len(pools), size=count)
        return np.array([rng.choice(pools[k]) for k in drawn], np.int64)


def _voice_targets(voices: Voices, intended: float) -> Floats32:
    """Mix intended labels and votes to targets [N, 4]; zero for those of other emotions."""
    labels = np.eye(OTHER + 1, dtype=np.float32)[voices.pools][:, :OTHER]
    votes = np.where(np.isnan(voices.votes), labels, voices.votes)
    mixed = intended * labels + (1 - intended) * votes
    return np.where(voices.pools[:, None] == OTHER, np.float32(0), mixed).astype(np.float32)
