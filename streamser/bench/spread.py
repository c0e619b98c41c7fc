"""Percentiles, with a method that is defined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = ["METHOD", "Spread", "percentile", "spread"]

METHOD = "linear interpolation between closest ranks (Hyndman & Fan type 7, numpy's default)"


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how ``n`` measurements are distributed, in their own unit."""

    n: int
    least: float
    p50: float
    p95: float
    p99: float
    most: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share in [0, 1] of the values lies.

    With the n values sorted and counted from 0, the result lies at place ``share * (n - 1)``,
    interpolated linearly between its two neighbours (Hyndman & Fan 1996, type 7). Raises
    ``ValueError`` for no values or a share outside [0, 1].
    """
    if not values or not 0.0 <= share <= 1.0:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    weight = place - low
    return ordered[low] * (1.0 - weight) + ordered[high] * weight


def spread(values: Sequence[float]) -> Spread | None:
    """Summarise measurements; ``None`` where there are none."""
    if not values:
        return None
    return Spread(
        n=len(values),
        least=round(min(values), 3),
        p50=round(percentile(values, 0.50), 3),
        p95=round(percentile(values, 0.95), 3),
        p99=round(percentile(values, 0.99), 3),
        most=round(max(values), 3),
    )
