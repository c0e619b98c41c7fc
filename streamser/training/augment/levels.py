"""How loud speech is while there is speech: silence must not count in a signal-to-noise ratio."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["active", "noise_scale", "to_full_scale"]

# ITU-T P.56: what lies this far below the active level is not speech.
_MARGIN_DB = 15.9
# Noise that pauses while there is speech counts as at least this share of its mean power.
_LEAST_SHARE = 0.1


def active(powers: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Say which frames hold speech, from their powers [T]; none where all is silent.

    The active level is the mean power of the frames that are less than 15.9 dB below it
    (ITU-T P.56, on frames instead of an envelope): the fixed point from all frames upwards.
    """
    chosen: npt.NDArray[np.bool_] = powers > 0
    while chosen.any():
        kept = powers > powers[chosen].mean() * 10 ** (-_MARGIN_DB / 10)
        if kept.sum() >= chosen.sum():
            break
        chosen = kept
    return chosen


def noise_scale(
    speech: npt.NDArray[np.floating], noise: npt.NDArray[np.floating], snr_db: float
) -> float:
    """Return what a noise's power must be multiplied with, from the powers of both by frame [T].

    The ratio holds between the means over the frames with speech. A noise that is more than
    10 dB below its own mean there is taken as 10 dB below it. 0 where one of both is silent:
    there is nothing that a ratio could refer to.
    """
    heard = active(speech)
    if not heard.any() or not noise.any():
        return 0.0
    level = max(noise[heard].mean(), _LEAST_SHARE * noise.mean())
    return float(speech[heard].mean() / level * 10 ** (-snr_db / 10))


def to_full_scale(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Make a clip quieter as a whole where it would leave [-1, 1]; nothing is ever clipped."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak <= 1 else samples / np.float32(peak)
