"""Voices and texts in small: random statistics in which the category can be heard."""

from __future__ import annotations

import numpy as np

from streamser.emotion.compact.speaker_stats import WIDTH
from streamser.taxonomy import CATEGORIES
from tools.compact.texts import EncodedTexts
from tools.compact.voices import OTHER, Voices

__all__ = ["tiny_texts", "tiny_voices"]


def tiny_voices(speakers: int = 3, channels: int = 1, seed: int = 0, width: int = WIDTH) -> Voices:
    """Return four utterances of each pool for each speaker; pools differ in 20 statistics.

    ``width`` is ``WIDTH`` for voices that are placed along directions, else ``MEASURED``.
    """
    rng = np.random.default_rng(seed)
    pools = np.tile(np.repeat(np.arange(OTHER + 1), 4), speakers)
    names = np.repeat([f"tiny/speaker{number}" for number in range(speakers)], 4 * (OTHER + 1))
    values = rng.normal(size=(1 + channels, len(pools), width))
    for pool in range(OTHER + 1):
        values[:, pools == pool, 20 * pool : 20 * pool + 20] += 3.0
    votes = np.full((len(pools), len(CATEGORIES)), np.nan)
    votes[pools < OTHER] = np.eye(OTHER)[pools[pools < OTHER]]
    return Voices(
        values=values.astype(np.float32),
        pools=pools.astype(np.int64),
        votes=votes.astype(np.float32),
        dimensions=rng.uniform(0.2, 0.8, (len(pools), 3)).astype(np.float32),
        speakers=tuple(names.tolist()),
        ids=tuple(f"clip{number}" for number in range(len(pools))),
    )


def tiny_texts(seed: int = 0) -> EncodedTexts:
    """Return 40 texts of two to five pieces; categories differ in some channels."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 6, 40)
    kinds = np.arange(40) % 5
    starts = np.concatenate([[0], np.cumsum(lengths)])
    vectors = rng.normal(size=(starts[-1], 384))
    for place, kind in enumerate(kinds):
        vectors[starts[place] : starts[place + 1], 10 * kind : 10 * kind + 10] += 3.0
    votes = np.zeros((40, len(CATEGORIES)))
    votes[kinds < OTHER] = np.eye(OTHER)[kinds[kinds < OTHER]]
    return EncodedTexts(
        vectors=vectors.astype(np.float16),
        starts=starts.astype(np.int64),
        votes=votes.astype(np.float32),
        dimensions=rng.uniform(0.2, 0.8, (40, 3)).astype(np.float32),
        rated=kinds == OTHER,
    )
