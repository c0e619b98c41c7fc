"""Streams for training: who speaks, in which mood, how much of them was heard before.

Real streams are mostly neutral, and some are angry throughout. So a stream's mixture of emotions
is drawn first, then what was heard before and what is to be judged from the same mixture: the
network sees what a normaliser does to each, and learns how far to trust it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser.emotion.compact.speaker_stats import Norm, SpeakerStats, Views
from streamser.taxonomy import CATEGORIES
from tools.compact.voices import OTHER, Voices, corpus_means

__all__ = ["StreamBatch", "StreamSettings", "Streams", "heard_before", "judged_against"]

Floats = npt.NDArray[np.float64]

_POOLS: Final = len(CATEGORIES) + 1
# Fear and disgust together are a third of the corpus.
_EVEN: Final = np.array([1, 1, 1, 1, 2]) / 6
_NEUTRAL_SHARES: Final = (0.5, 0.7, 0.9)
_SINGLE_SHARE: Final = 0.92
_LEAST_NEUTRAL: Final = 3  # utterances, for a mean
_HEARD: Final = (0, 1, 2, 4, 8, 16, 32)
_HEARD_CHANCES: Final = (0.2, 0.1, 0.1, 0.15, 0.15, 0.15, 0.15)


class StreamSettings(NamedTuple):
    """Say how often streams are even, mostly neutral, or of any mixture; else of one emotion.

    ``plain`` is how often no channel lies between the corpus and the listener, ``moved`` how
    often a stream of one emotion is moved as if it came over another microphone: by up to
    ``move`` times what lies between the neutral voices of two speakers, and of two others. The
    others are judged by what they are relative to, which no move changes once they are known.
    """

    even: float = 0.65
    neutral: float = 0.15
    any: float = 0.1
    plain: float = 0.2
    moved: float = 0.8
    move: float = 0.5


class StreamBatch(NamedTuple):
    """Hold M utterances to be judged, each in the light of its stream.

    ``views`` [M, WIDTH] and ``known`` float32 [M, 1] are as the live listener makes them;
    ``places`` int64 [M] says which utterances they are, -1 none at all.
    """

    views: Views
    known: npt.NDArray[np.float32]
    places: npt.NDArray[np.int64]

    def select(self, order: npt.NDArray[np.int64]) -> StreamBatch:
        """Return some of the utterances, in the given order."""
        views = Views(*(view[order] for view in self.views))
        return StreamBatch(views, self.known[order], self.places[order])

    def with_silence(self, count: int) -> StreamBatch:
        """Return the same with so many rows more in which nobody speaks."""
        rows = ((0, count), (0, 0))
        views = Views(*(np.pad(view, rows) for view in self.views))
        places = np.pad(self.places, (0, count), constant_values=-1)
        return StreamBatch(views, np.pad(self.known, rows), places)


class Streams:
    """Draw streams from voices, by the given generator alone."""

    def __init__(
        self, voices: Voices, norm: Norm, settings: StreamSettings, rng: np.random.Generator
    ) -> None:
        self._voices = voices
        self._norm = norm
        self._priors = corpus_means(voices)
        self._neutral = _neutral_means(voices)
        self._settings = settings
        self._rng = rng
        speakers = np.array(voices.speakers)
        self._pools = [
            [np.flatnonzero((speakers == name) & (voices.pools == pool)) for pool in range(_POOLS)]
            for name in np.unique(speakers)
        ]

    def draw(self, streams: int, judged: int) -> StreamBatch:
        """Draw so many streams and utterances to be judged in each.

        Half of the judged ones are drawn evenly, unless the stream has one emotion only: no
        category may become rare.
        """
        return _joined([self._stream(judged) for _ in range(streams)])

    def _stream(self, judged: int) -> StreamBatch:
        rng = self._rng
        pools = self._pools[rng.integers(len(self._pools))]
        plain = rng.random() < self._settings.plain
        channel = 0 if plain else int(rng.integers(len(self._voices.values)))
        mixture, single = self._mixture()
        before = self._utterances(pools, mixture, int(rng.choice(_HEARD, p=_HEARD_CHANCES)))
        even = 0 if single else judged // 2
        chosen = np.concatenate(
            [
                self._utterances(pools, mixture, judged - even),
                self._utterances(pools, _EVEN, even),
            ]
        )
        values, move, norm = self._voices.of_channel(channel), self._move(single), self._prior()
        usual = heard_before(values[before] + move, norm)
        return judged_against(values[chosen] + move, usual, norm, chosen)

    def _prior(self) -> Norm:
        """Mix what is usual in the corpora: no prior will be right for a new microphone."""
        shares = self._rng.dirichlet(np.full(len(self._priors), 0.5))
        return replace(self._norm, mean=shares @ self._priors)

    def _move(self, single: bool) -> npt.NDArray[np.float32]:
        rng, settings, means = self._rng, self._settings, self._neutral
        move = np.zeros(means.shape[1])
        if single and rng.random() < settings.moved:
            for _ in range(2):
                one, other = means[rng.integers(len(means), size=2)]
                move += settings.move * rng.random() * (one - other)
        return move.astype(np.float32)

    def _mixture(self) -> tuple[Floats, bool]:
        rng, settings = self._rng, self._settings
        drawn = rng.random()
        if drawn < settings.even:
            return _EVEN, False
        drawn -= settings.even
        if drawn < settings.neutral:
            share = float(rng.choice(_NEUTRAL_SHARES))
            rest = _EVEN[1:] / _EVEN[1:].sum()
            return np.concatenate([[share], (1 - share) * rest]), False
        if drawn < settings.neutral + settings.any:
            return rng.dirichlet(np.full(_POOLS, 0.5)), False
        single = np.full(_POOLS, (1 - _SINGLE_SHARE) / (_POOLS - 1))
        single[rng.integers(OTHER)] = _SINGLE_SHARE
        return single, True

    def _utterances(
        self, pools: list[npt.NDArray[np.int64]], mixture: Floats, count: int
    ) -> npt.NDArray[np.int64]:
        rng = self._rng
        there = mixture * np.array([len(pool) > 0 for pool in pools])
        drawn = rng.choice(_POOLS, count, p=there / there.sum())
        return np.array([pools[pool][rng.integers(len(pools[pool]))] for pool in drawn], np.int64)


def heard_before(values: npt.NDArray[np.float32], norm: Norm) -> SpeakerStats:
    """Return what is usual after utterances [n, WIDTH], n >= 0: what the listener would learn.

    Utterances shorter than a second count fully here, and none fades.
    """
    if not len(values):
        return SpeakerStats()
    known = np.where(np.isnan(values), norm.mean, values).astype(np.float64)
    return SpeakerStats(float(len(known)), known.sum(axis=0), (known**2).sum(axis=0))


def judged_against(
    values: npt.NDArray[np.float32], usual: SpeakerStats, norm: Norm, places: npt.NDArray[np.int64]
) -> StreamBatch:
    """Set utterances [M, WIDTH] against what is usual, as the live listener does."""
    views = usual.views(values, norm)
    known = np.full((len(values), 1), usual.known, np.float32)
    return StreamBatch(views, known, places)


def _neutral_means(voices: Voices) -> Floats:
    """Return the mean of each speaker's neutral utterances through each channel, [n, WIDTH]."""
    speakers, neutral = np.array(voices.speakers), voices.pools == CATEGORIES.index("neutral")
    means = []
    for name in np.unique(speakers):
        mine = (speakers == name) & neutral
        if mine.sum() >= _LEAST_NEUTRAL:
            known = ~np.isnan(voices.values[:, mine])
            sums = np.where(known, voices.values[:, mine], 0.0).sum(axis=1, dtype=np.float64)
            means.append(sums / np.maximum(known.sum(axis=1), 1))
    return np.concatenate(means)


def _joined(batches: list[StreamBatch]) -> StreamBatch:
    return StreamBatch(
        Views(*(np.concatenate(view) for view in zip(*(b.views for b in batches), strict=True))),
        np.concatenate([batch.known for batch in batches]),
        np.concatenate([batch.places for batch in batches]),
    )
