"""Shares, spreads and overlap: the arithmetic of a report; pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from streamser.events import Record
from streamser.taxonomy import UNSURE

__all__ = ["LATENCIES", "Share", "Spread", "overlap_of", "share_out", "spread_of"]

LATENCIES: Final = (
    ("started", "speech noticed"),
    ("stopped", "end of speech noticed"),
    ("first", "first reading"),
    ("words", "words"),
    ("emotion", "emotion"),
)
"""The stages of ``Lags`` and what the report calls them."""

_BINS: Final = 20
# The order of the live page, so that shares do not jump.
_ORDER: Final = ("happy", "neutral", "sad", "angry")


class Share(Record, frozen=True, kw_only=True):
    """How much of the speaking time sounded like a category."""

    category: str
    ms: int
    count: int
    share: float


class Spread(Record, frozen=True, kw_only=True):
    """How some values are spread: quantiles (type 7), and counts in equal bins from 0 to ``high``.

    What lies beyond ``high`` is in the last bin.
    """

    name: str
    count: int
    median: float
    p95: float
    most: float
    high: float
    bins: tuple[int, ...]


def share_out(judged: Iterable[tuple[str | None, int]]) -> tuple[Share, ...]:
    """Share speaking time out among categories, in an order that stays; ``None`` is left out."""
    lengths: dict[str, int] = {}
    counts: dict[str, int] = {}
    for category, ms in judged:
        if category is not None:
            lengths[category] = lengths.get(category, 0) + ms
            counts[category] = counts.get(category, 0) + 1
    total = sum(lengths.values())
    return tuple(
        Share(
            category=category,
            ms=lengths[category],
            count=counts[category],
            share=lengths[category] / total if total else counts[category] / sum(counts.values()),
        )
        for category in sorted(lengths, key=_place)
    )


def _place(category: str) -> tuple[int, str]:
    if category in _ORDER:
        return _ORDER.index(category), ""
    return len(_ORDER) + (category == UNSURE), category


def spread_of(name: str, values: Sequence[float], *, high: float | None = None) -> Spread | None:
    """Describe how values of at least 0 are spread; ``None`` where there are none.

    Without ``high`` the bins end at a round number that 95 of 100 values are below.
    """
    known = sorted(max(0.0, value) for value in values if math.isfinite(value))
    if not known:
        return None
    p95 = _quantile(known, 0.95)
    end = _round_up(p95) if high is None else high
    bins = [0] * _BINS
    for value in known:
        bins[min(_BINS - 1, int(value / end * _BINS))] += 1
    return Spread(
        name=name,
        count=len(known),
        median=_quantile(known, 0.5),
        p95=p95,
        most=known[-1],
        high=end,
        bins=tuple(bins),
    )


def overlap_of(spans: Iterable[tuple[Hashable, int, int]]) -> int:
    """Return for how long at least two different speakers spoke at once, in ms.

    Of each span: who, from when, until when.
    """
    edges = []
    for who, start, end in spans:
        if end > start:
            edges += [(start, 1, who), (end, -1, who)]
    edges.sort(key=lambda edge: edge[:2])
    open_by: dict[Hashable, int] = {}
    total = last = 0
    for at, step, who in edges:
        if len(open_by) > 1:
            total += at - last
        last = at
        open_by[who] = open_by.get(who, 0) + step
        if not open_by[who]:
            del open_by[who]
    return total


def _quantile(ordered: Sequence[float], part: float) -> float:
    place = part * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _round_up(value: float) -> float:
    # Nothing that is measured is so small; powers of ten end somewhere.
    if value <= 1e-9:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 2.5, 5, 10, 20) if step * unit > value)
