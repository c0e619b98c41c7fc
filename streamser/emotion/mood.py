"""Follow the mood behind single judgements: smoothed over time, slow to change its name.

No standard exists for this; what is here is a design choice. Every instant of an utterance
counts by the confidence of its reading and decays exponentially, so the result depends neither
on how speech was cut into utterances nor on any clock but the audio's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE, Dimensions

__all__ = ["Judged", "Mood", "MoodState"]

_LEAD: Final = 0.10  # of probability, before a mood gets another name
_FLAT: Final = 0.30  # below it not even the likeliest category means much; uniform is .25


class Judged(Protocol):
    """Judge emotion: what a ``Reading`` and the ``EmotionBody`` that tells of it have in common."""

    @property
    def scores(self) -> Mapping[str, float]:
        """Return the probability of every category."""
        ...

    @property
    def confidence(self) -> float:
        """Return the probability of the likeliest category, 0 to 1."""
        ...

    @property
    def dimensions(self) -> Dimensions:
        """Return valence, arousal and dominance, ``None`` where they were not measured."""
        ...


class MoodState(msgspec.Struct, frozen=True):
    """Hold a mood: ``scores`` sum to 1, ``dimensions`` are in [-1, 1] or unknown (``None``).

    ``category`` is the leading one of ``CATEGORIES``, or ``"unsure"`` as long as none leads.
    ``shift`` says that this update gave the mood another name; ``previous`` is the name before
    the last shift, ``None`` until there was one. ``confidence`` is the score of ``category``,
    that of the likeliest where it is ``"unsure"``.
    """

    category: str
    confidence: float
    scores: dict[str, float]
    dimensions: Dimensions
    shift: bool
    previous: str | None


class _Mean(msgspec.Struct):
    """Keep a weighted mean of which the weight decays and the value does not."""

    value: float | None = None
    weight: float = 0.0

    def add(self, value: float, weight: float, decay: float) -> None:
        self.weight = self.weight * decay + weight
        if weight > 0.0:
            before = value if self.value is None else self.value
            self.value = before + (value - before) * (weight / self.weight)


class Mood:
    """Smooth the readings of one speaker, or of everybody in a session.

    ``seconds`` is the time constant: evidence that old counts 1/e. Thirty seconds are a few
    turns of talk, long enough that one outcry is not a mood.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        if not (math.isfinite(seconds) and seconds > 0.0):
            raise ValueError(f"a mood's time constant must be positive, not {seconds}")
        self._seconds = seconds
        self._last_ms: int | None = None
        self._scores = {name: _Mean() for name in CATEGORIES}
        self._dimensions = {name: _Mean() for name in DIMENSIONS}
        self._category = UNSURE
        self._named: str | None = None
        self._previous: str | None = None

    def copy(self) -> Mood:
        """Return a mood that goes on from here by itself."""
        return copy.deepcopy(self)

    def update(self, reading: Judged, at_ms: int, duration_ms: int) -> MoodState:
        """Take in the reading of an utterance that ended at ``at_ms`` and lasted ``duration_ms``.

        Both are on the audio clock. Two readings alike of adjoining halves count as one of the
        whole; a reading that comes late counts as old as it is. A dimension that is ``None``
        leaves the smoothed one as it was; a category that has no score was not heard.
        """
        last = at_ms if self._last_ms is None else self._last_ms
        self._last_ms = max(last, at_ms)
        decay = math.exp((last - self._last_ms) / 1000.0 / self._seconds)
        age = (self._last_ms - at_ms) / 1000.0 / self._seconds
        length = max(0, duration_ms) / 1000.0 / self._seconds
        # The integral of exp(-age) over the utterance: splitting it splits the integral.
        weight = reading.confidence * math.exp(-age) * -math.expm1(-length) * self._seconds
        for name, mean in self._scores.items():
            mean.add(reading.scores.get(name, 0.0), weight, decay)
        for name, mean in self._dimensions.items():
            value: float | None = getattr(reading.dimensions, name)
            known = value is not None
            mean.add(value or 0.0, weight if known else 0.0, decay)
        return self._state()

    def _state(self) -> MoodState:
        scores = {
            name: 1.0 / len(CATEGORIES) if mean.value is None else mean.value
            for name, mean in self._scores.items()
        }
        self._category = _leading(scores, self._category)
        shift = self._category not in (UNSURE, self._named)
        if shift:
            self._previous, self._named = self._named, self._category
        return MoodState(
            category=self._category,
            confidence=scores.get(self._category, max(scores.values())),
            scores=scores,
            dimensions=Dimensions(**{n: _bounded(m.value) for n, m in self._dimensions.items()}),
            shift=shift and self._previous is not None,
            previous=self._previous,
        )


def _leading(scores: dict[str, float], held: str) -> str:
    """Name the category that leads all others clearly, else the one held while it keeps up."""
    first, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    if scores[first] - scores[second] >= _LEAD:
        return first
    if held == UNSURE or scores[first] < _FLAT or scores[first] - scores[held] >= _LEAD:
        return UNSURE
    return held


def _bounded(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(-1.0, value))
