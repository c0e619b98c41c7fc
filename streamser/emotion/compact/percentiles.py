"""Percentiles of one stretch of speech, many at a time and quickly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["percentiles"]

Floats = npt.NDArray[np.float64]


def percentiles(values: Floats, wanted: Sequence[float]) -> list[Floats]:
    """Return percentiles over the first axis, to the last bit those of ``np.percentile``.

    ``values`` [n, …] with n > 0 and without NaN. By linear interpolation between closest ranks
    (Hyndman & Fan 1996, type 7). numpy's own takes several times as long on so little.
    """
    # Each column in a row of its own: sorting then runs along memory.
    ordered = np.sort(np.ascontiguousarray(values.T), axis=-1)
    last = ordered.shape[-1] - 1
    found = []
    for percent in wanted:
        place = last * (percent / 100)
        below = int(place)
        above = min(below + 1, last)
        share = place - below
        low, high = ordered[..., below], ordered[..., above]
        step = high - low
        # From the nearer end, as numpy does.
        found.append((low + step * share if share < 0.5 else high - step * (1 - share)).T)
    return found
