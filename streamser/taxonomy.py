"""Emotion categories, dimensions, their scales, the foreign names they go by, and their means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

CATEGORIES: Final = ("neutral", "happy", "sad", "angry")
UNSURE: Final = "unsure"
LEAD: Final = 0.1
"""Probability by which a category must be ahead of all others to name several readings."""
DIMENSIONS: Final = ("valence", "arousal", "dominance")
_ALIASES: Final = {
    "neutral": ("neu", "n", "calm", "neutrality"),
    "happy": ("hap", "happiness", "joy", "joyful", "exc", "excited", "excitement", "h"),
    "sad": ("sadness", "s"),
    "angry": ("ang", "anger", "a"),
}
_CANONICAL: Final = {
    alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)
}
_OTHERS: Final = (
    *("fear", "fearful", "fea", "disgust", "disgusted", "dis", "surprise", "surprised", "sur"),
    *("contempt", "other", "unknown", "unk", "<unk>", "emo_unknown"),
)
"""What foreign models know besides: none of ours, and not to be mapped to something near."""
GOEMOTIONS: Final = {
    **dict.fromkeys(("joy", "amusement", "excitement", "love", "gratitude", "admiration"), "happy"),
    **dict.fromkeys(("optimism", "pride", "relief"), "happy"),
    **dict.fromkeys(("sadness", "grief", "disappointment", "remorse"), "sad"),
    **dict.fromkeys(("anger", "annoyance"), "angry"),
    "neutral": "neutral",
}
"""Which of the 28 labels of GoEmotions (Demszky et al., ACL 2020) are which of ours; the others
are none. ``streamser.training.corpora.registry`` says why."""


class Dimensions(msgspec.Struct, frozen=True):
    """Hold valence, arousal and dominance, each in [-1, 1]; ``None`` where nothing was measured.

    -1 is negative, calm, submissive; 1 is positive, excited, dominant.
    """

    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None


def weighted_mean(weighted: Iterable[tuple[float | None, float]]) -> float | None:
    """Return the mean of the values that are known, by their weights; ``None`` without any."""
    known = [(value, weight) for value, weight in weighted if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def canonical_category(label: str) -> str:
    """Map a foreign label such as ``"hap"`` or ``"Anger"`` to one of ``CATEGORIES``.

    Raises ``KeyError`` for a label that is none of them.
    """
    return _CANONICAL[label.strip().casefold()]


def place_label(label: str) -> str | None:
    """Map a foreign label to one of ``CATEGORIES``, or to ``None``: a known emotion that is none.

    Raises ``KeyError`` for a label that is not known at all.
    """
    return None if label.strip().casefold() in _OTHERS else canonical_category(label)


def alias_table() -> str:
    """Write all names that ``place_label`` knows, in one line."""
    rows = [f"{name} ({', '.join(aliases)})" for name, aliases in _ALIASES.items()]
    return "; ".join([*rows, f"none of ours ({', '.join(_OTHERS)})"])
