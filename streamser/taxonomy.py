"""Emotion categories, dimensions, their scales, and the foreign names they go by."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["CATEGORIES", "DIMENSIONS", "UNSURE", "Dimensions", "canonical_category"]

CATEGORIES: Final = ("neutral", "happy", "sad", "angry")
UNSURE: Final = "unsure"
DIMENSIONS: Final = ("valence", "arousal", "dominance")


class Dimensions(msgspec.Struct, frozen=True):
    """Hold valence, arousal and dominance, each in [-1, 1]; ``None`` where nothing was measured.

    -1 is negative, calm, submissive; 1 is positive, excited, dominant.
    """

    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None


_ALIASES: Final = {
    "neutral": ("neu", "n", "calm", "neutrality"),
    "happy": ("hap", "happiness", "joy", "joyful", "exc", "excited", "excitement", "h"),
    "sad": ("sadness", "s"),
    "angry": ("ang", "anger", "a"),
}
_CANONICAL: Final = {
    alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)
}


def canonical_category(label: str) -> str:
    """Map a foreign label such as ``"hap"`` or ``"Anger"`` to one of ``CATEGORIES``.

    Raises ``KeyError`` for a label that is none of them.
    """
    return _CANONICAL[label.strip().casefold()]
