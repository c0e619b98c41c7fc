"""What the readers of corpora share: categories to votes, ratings to [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.manifest import Scale

__all__ = ["UNRATED", "Categories", "one_hot", "rated", "single_category", "vote_shares"]

Categories = Literal["four", "all"]
"""``four``: utterances without one of the four categories are left out; ``all``: they stay,
without a categorical label, for their words, sound and dimensions."""

UNRATED = (math.nan,) * len(DIMENSIONS)


def one_hot(category: str | None) -> tuple[float, ...] | None:
    """Give all votes to a category; no votes for ``None``."""
    return None if category is None else tuple(float(name == category) for name in CATEGORIES)


def vote_shares(counts: Mapping[str, float]) -> tuple[float, ...] | None:
    """Bring counts by category to shares, those of other emotions left out.

    ``None`` where another emotion has at least as many votes as the best of the four: to train
    on the few votes within the four would make up a label that most raters refused.
    """
    votes = [float(counts.get(name, 0)) for name in CATEGORIES]
    others = [count for name, count in counts.items() if name not in CATEGORIES]
    if max(votes) <= max(others, default=0.0):
        return None
    total = math.fsum(votes)
    return tuple(vote / total for vote in votes)


def single_category(labels: Iterable[str], mapping: Mapping[str, str]) -> str | None:
    """Return the category that all labels of a text map to; ``None`` if they do not agree."""
    found = {mapping.get(label) for label in labels}
    return found.pop() if len(found) == 1 else None


def rated(
    valence: float, arousal: float, dominance: float, scale: Scale, *, clip: bool = False
) -> tuple[float, ...]:
    """Map ratings on a scale to [0, 1]; ``nan`` stays; ``clip`` brings what lies off it back.

    Raises ``ValueError`` for a rating off the scale.
    """
    values = (valence, arousal, dominance)
    if clip:
        return tuple(min(1.0, max(0.0, scale.unit(v))) if v == v else v for v in values)
    for name, value in zip(DIMENSIONS, values, strict=True):
        if value < scale.low or value > scale.high:
            raise ValueError(f"{name} {value:g} is off the scale {scale}")
    return tuple(scale.unit(value) for value in values)
