"""Means, deviations and slopes of one stretch of speech, quickly.

On so little, numpy's own methods take longer to begin than to add up.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["deviation", "lengths", "mean_of", "means", "slope"]

Floats = npt.NDArray[np.float64]


def mean_of(values: Floats) -> float:
    """Return the mean of values [n], n > 0."""
    return float(np.add.reduce(values)) / len(values)


def deviation(values: Floats) -> float:
    """Return the standard deviation of values [n], n > 0."""
    apart = values - mean_of(values)
    return math.sqrt(float(apart @ apart) / len(values))


def slope(x: Floats, y: Floats) -> float:
    """Return the slope of the least-squares line through points [n]; 0 where ``x`` stands still."""
    apart = x - mean_of(x)
    spread = float(apart @ apart)
    return float(apart @ (y - mean_of(y))) / spread if spread > 1e-9 else 0.0


def means(rows: Floats) -> Floats:
    """Return the mean of each column of rows [n, m], n > 0."""
    return np.asarray(np.einsum("tb->b", rows) / len(rows))


def lengths(rows: Floats) -> Floats:
    """Return the root mean square of each column of rows [n, m], n > 0."""
    return np.asarray(np.sqrt(np.einsum("tb,tb->b", rows, rows) / len(rows)))
