"""Streams: the clips of one speaker in an order, as a session would hear them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from streamser.taxonomy import CATEGORIES
from tools.compact_report.clips import Corpus

__all__ = ["COLD", "WARM", "Stream", "mixed", "shuffled"]

COLD: Final = 4
"""An utterance is heard cold if fewer than so many came before it."""
WARM: Final = 10
"""An utterance is heard warm if so many or more came before it."""


class Stream(NamedTuple):
    """Hold the places of clips in their corpus, in the order they are heard."""

    speaker: str
    clips: tuple[int, ...]


def shuffled(corpus: Corpus, seed: int) -> list[Stream]:
    """Return a stream for each speaker: all clips, of all emotions, in random order."""
    rng = np.random.default_rng(seed)
    return [
        Stream(speaker, tuple(places[i] for i in rng.permutation(len(places))))
        for speaker, places in corpus.by_speaker().items()
    ]


def mixed(corpus: Corpus, shares: Mapping[str, float], length: int, seed: int) -> list[Stream]:
    """Return a stream for each speaker: categories drawn by their shares, clips drawn again.

    A category that a speaker lacks is left out, and a speaker who has none of them.
    """
    rng = np.random.default_rng(seed)
    labels = corpus.labels
    streams = []
    for speaker, places in corpus.by_speaker().items():
        pools = {
            name: [i for i in places if labels[i] == CATEGORIES.index(name)]
            for name, share in shares.items()
            if share
        }
        names = [name for name, pool in pools.items() if pool]
        if not names:
            continue
        chances = np.array([shares[name] for name in names])
        drawn = rng.choice(len(names), length, p=chances / chances.sum())
        clips = [pools[names[i]] for i in drawn]
        streams.append(Stream(speaker, tuple(pool[rng.integers(len(pool))] for pool in clips)))
    return streams
