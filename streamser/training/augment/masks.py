"""SpecAugment: parts of the features are hidden (Park et al., Interspeech 2019)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["mask_features"]

_TIME_MASKS = 2
_BAND_MASKS = 2


def mask_features(
    values: npt.NDArray[np.float32],
    time_share: float,
    band_share: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Hide up to two stretches of time and two of bands of one clip's features [T, F].

    Together they hide at most these shares of the frames and of the bands. What is hidden
    becomes the mean of all the clip's values: a single number, since a mean of each band
    would still tell the spectrum. The very same array where nothing is hidden.
    """
    if not values.size or not (time_share or band_share):
        return values
    hidden = np.zeros(values.shape, dtype=bool)
    for at, width in _stretches(values.shape[0], time_share, _TIME_MASKS, rng):
        hidden[at : at + width] = True
    for at, width in _stretches(values.shape[1], band_share, _BAND_MASKS, rng):
        hidden[:, at : at + width] = True
    if not hidden.any():
        return values
    return np.where(hidden, values.mean(dtype=np.float64).astype(values.dtype), values)


def _stretches(
    length: int, share: float, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw starts and widths; the widths are uniform and sum to ``share * length`` at most."""
    widest = int(share * length / count + 1e-9)
    if not widest:
        count, widest = 1, int(share * length + 1e-9)
    widths = rng.integers(0, widest, size=count, endpoint=True)
    return [(int(rng.integers(0, length - width, endpoint=True)), int(width)) for width in widths]
