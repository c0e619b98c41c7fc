"""The texts that the fusion learns from, encoded once by the finished word encoder.

The encoder stays as it is, rounded as it ships: what the words mean is known by then, and the
fusion learns what to make of it. Texts without ratings get what a ridge regression on the rated
ones tells of them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from streamser.emotion.compact.encoders import Words
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.augment.augmenter import plain
from tools.compact.voices import keep
from tools.compact.word_texts import WordText

__all__ = ["NO_TEXTS", "EncodedTexts", "WordVectors", "choose_texts", "encode_texts"]

_BATCH: Final = 64
_MOST_PIECES: Final = 32  # one in ten texts is longer; padding to the longest costs as much again
_RIDGE: Final = 0.1  # of the mean variance: chosen on nothing, a usual value
_PLAIN: Final = 0.65  # as many come lower-cased and unpunctuated, as recognisers write


class EncodedTexts(NamedTuple):
    """Hold N texts: vectors float16 [sum of lengths, width], where each begins (int64 [N + 1]).

    ``votes`` is float32 [N, 4] with rows of zeros without a category, ``dimensions`` [N, 3] in
    [0, 1]: rated, or estimated where nobody rated; ``rated`` says which, bool [N].
    """

    vectors: npt.NDArray[np.float16]
    starts: npt.NDArray[np.int64]
    votes: npt.NDArray[np.float32]
    dimensions: npt.NDArray[np.float32]
    rated: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.votes)

    def batch(self, places: npt.NDArray[np.int64]) -> WordVectors:
        """Return the vectors of some texts, padded; a place of -1 is no text at all."""
        lengths = [
            0 if p < 0 else min(_MOST_PIECES, int(self.starts[p + 1] - self.starts[p]))
            for p in places
        ]
        longest = max(1, *lengths)
        hidden = np.zeros((len(places), longest, self.vectors.shape[1]), np.float32)
        mask = np.zeros((len(places), longest), np.bool_)
        for row, (place, length) in enumerate(zip(places, lengths, strict=True)):
            if length:
                start = self.starts[place]
                hidden[row, :length] = self.vectors[start : start + length]
                mask[row, :length] = True
        return WordVectors(torch.from_numpy(hidden), torch.from_numpy(mask))


NO_TEXTS: Final = EncodedTexts(
    vectors=np.zeros((0, 384), np.float16),
    starts=np.zeros(1, np.int64),
    votes=np.zeros((0, len(CATEGORIES)), np.float32),
    dimensions=np.zeros((0, len(DIMENSIONS)), np.float32),
    rated=np.zeros(0, np.bool_),
)
"""None at all, for a training of the voice alone."""


class WordVectors(NamedTuple):
    """Hold padded vectors of word pieces, float [B, L, width], and which are real, bool [B, L]."""

    hidden: torch.Tensor
    mask: torch.Tensor


def choose_texts(texts: Sequence[WordText], most: int, rng: np.random.Generator) -> list[WordText]:
    """Choose at most so many texts of each single category, and as many with ratings.

    A text with several categories is left out: it would fit no voice.
    """
    order = rng.permutation(len(texts))
    kinds: dict[int, list[WordText]] = {}
    for place in order:
        text = texts[place]
        kind = _kind(text)
        if kind is not None and len(kinds.setdefault(kind, [])) < most:
            kinds[kind].append(text)
    return [text for kind in sorted(kinds) for text in kinds[kind]]


def encode_texts(
    texts: Sequence[WordText],
    words: Words,
    rng: np.random.Generator,
    *,
    cache: Path | None = None,
) -> EncodedTexts:
    """Encode texts, most of them as a recogniser writes; ``cache`` keeps the vectors."""
    spoken = [plain(text.text) if rng.random() < _PLAIN else text.text for text in texts]
    found = _kept(cache, spoken)
    if found is None:
        found = _encoded(spoken, words)
        if cache is not None:
            keep(cache, **found._asdict(), texts=np.array(spoken))
    ratings = np.array(
        [text.dimensions or (np.nan,) * len(DIMENSIONS) for text in texts], np.float32
    )
    rated = np.asarray(~np.isnan(ratings).any(axis=1), np.bool_)
    return EncodedTexts(
        vectors=found.vectors,
        starts=found.starts,
        votes=np.array([text.votes for text in texts], np.float32).reshape(-1, len(CATEGORIES)),
        dimensions=np.where(rated[:, None], ratings, _estimated(found, ratings, rated)),
        rated=rated,
    )


class _Found(NamedTuple):
    vectors: npt.NDArray[np.float16]
    starts: npt.NDArray[np.int64]


def _kind(text: WordText) -> int | None:
    if text.dimensions is not None:
        return len(CATEGORIES)
    return int(np.argmax(text.votes)) if text.weight == 1.0 and max(text.votes) == 1.0 else None


def _encoded(texts: Sequence[str], words: Words) -> _Found:
    vectors: list[npt.NDArray[np.float16]] = [np.zeros((0, 0), np.float16)] * len(texts)
    # Texts of like length together: less padding.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for first in range(0, len(order), _BATCH):
        places = order[first : first + _BATCH]
        for place, rows in zip(places, words.encode([texts[p] for p in places]), strict=True):
            vectors[place] = rows.astype(np.float16)
    lengths = np.array([len(each) for each in vectors], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return _Found(np.concatenate(vectors), starts)


def _estimated(
    found: _Found, ratings: npt.NDArray[np.float32], rated: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Estimate the ratings of all texts from the mean of their vectors, in [0, 1]."""
    if not rated.any():
        return np.full(ratings.shape, 0.5, np.float32)
    sums = np.add.reduceat(found.vectors.astype(np.float32), found.starts[:-1], axis=0)
    means = (sums / np.diff(found.starts)[:, None]).astype(np.float64)
    known, centre = means[rated], means[rated].mean(axis=0)
    usual = ratings[rated].mean(axis=0, dtype=np.float64)
    apart = known - centre
    strength = _RIDGE * np.square(apart).sum() / apart.shape[1]
    weights = np.linalg.solve(
        apart.T @ apart + strength * np.eye(apart.shape[1]), apart.T @ (ratings[rated] - usual)
    )
    estimated: npt.NDArray[np.float32] = np.clip((means - centre) @ weights + usual, 0.0, 1.0)
    return estimated.astype(np.float32)


def _kept(cache: Path | None, key: Sequence[str]) -> _Found | None:
    if cache is None or not cache.is_file():
        return None
    try:
        with np.load(cache, allow_pickle=False) as arrays:
            if arrays["texts"].tolist() == list(key):
                return _Found(*(arrays[name] for name in _Found._fields))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        pass
    return None
