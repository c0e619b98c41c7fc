"""Made pairs of a voice and words: agreeing, one of both neutral, or at odds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from streamser.taxonomy import CATEGORIES
from streamser.training.manifest import Item
from tools.compact_report.clips import Corpus
from tools.compact_report.streams import WARM, Stream

__all__ = ["AGREEING", "CONFLICTING", "KINDS", "NEUTRAL_VOICE", "NEUTRAL_WORDS", "Pair", "make"]

AGREEING: Final = "agreeing"
NEUTRAL_WORDS: Final = "emotional voice, neutral words"
NEUTRAL_VOICE: Final = "neutral voice, emotional words"
CONFLICTING: Final = "at odds"
KINDS: Final = (AGREEING, NEUTRAL_WORDS, NEUTRAL_VOICE, CONFLICTING)

_EMOTIONAL: Final = tuple(name for name in CATEGORIES if name != "neutral")
_OPPOSITES: Final = {"happy": ("sad", "angry"), "sad": ("happy",), "angry": ("happy",)}


class Pair(NamedTuple):
    """Join the utterance at a place of a stream with a text, by place in its list.

    ``voice`` and ``words`` are category numbers.
    """

    kind: str
    stream: int
    heard: int
    clip: int
    text: int
    voice: int
    words: int

    @property
    def target(self) -> int:
        """Return the emotional one of both, the voice's where both are."""
        return self.voice if CATEGORIES[self.voice] != "neutral" else self.words


def make(corpus: Corpus, streams: Sequence[Stream], texts: Sequence[Item], seed: int) -> list[Pair]:
    """Give every warm utterance that has a category a text of each kind that fits it.

    Texts are drawn with replacement, in a seeded order.
    """
    rng = np.random.default_rng(seed)
    pools = {
        name: [place for place, item in enumerate(texts) if item.category == name]
        for name in CATEGORIES
    }
    pairs = []
    for number, stream in enumerate(streams):
        for heard, clip in enumerate(stream.clips):
            label = corpus.clips[clip].label
            if heard < WARM or label < 0:
                continue
            for kind, allowed in _allowed(CATEGORIES[label]).items():
                words = str(rng.choice(allowed))
                if not pools[words]:
                    continue
                text = int(rng.choice(pools[words]))
                pairs.append(Pair(kind, number, heard, clip, text, label, CATEGORIES.index(words)))
    return pairs


def _allowed(voice: str) -> dict[str, tuple[str, ...]]:
    """Return of which categories the words may be, by kind of pair."""
    if voice == "neutral":
        return {AGREEING: ("neutral",), NEUTRAL_VOICE: _EMOTIONAL}
    return {AGREEING: (voice,), NEUTRAL_WORDS: ("neutral",), CONFLICTING: _OPPOSITES[voice]}
