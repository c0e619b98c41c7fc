"""The variations of recordings: mono float32 at 16 kHz in, the same out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.training.augment.bands import filter_sound
from streamser.training.augment.sources import Recording, Variation, noise_piece

__all__ = [
    "active",
    "add_noise",
    "change_speed",
    "noise_scale",
    "reverberate",
    "to_full_scale",
    "vary_sound",
]

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


_BLOCK = 256


def vary_sound(
    samples: Samples,
    variation: Variation,
    noises: tuple[Recording, ...],
    rng: np.random.Generator,
) -> Samples:
    """Apply a variation; the very same array where it changes nothing, else a new one.

    The length stays unless the speed changes. Where the result would leave [-1, 1], all of it
    is made quieter; it is never clipped. An empty or silent clip stays as it is.
    """
    if not samples.any():
        return samples
    varied = samples
    if variation.speed != 1:
        varied = change_speed(varied, variation.speed)
    if variation.room is not None:
        varied = reverberate(varied, variation.room)
    if variation.snr_db is not None:
        noise = noise_piece(noises, len(varied), rng)
        varied = add_noise(varied, noise, variation.snr_db)
    for response in variation.responses:
        varied = filter_sound(varied, response)
    if variation.gain_db:
        varied = varied * np.float32(10 ** (variation.gain_db / 20))
    return samples if varied is samples else to_full_scale(varied)


def change_speed(samples: Samples, factor: float) -> Samples:
    """Play ``factor`` times as fast: length / factor, every frequency × factor."""
    import soxr

    length = max(1, round(len(samples) / factor))
    resampled = soxr.resample(samples, factor, 1.0)[:length]
    changed: Samples = np.pad(resampled, (0, length - len(resampled)))
    return changed


def reverberate(samples: Samples, response: Samples) -> Samples:
    """Put a voice into a room: same length, same energy, direct sound where it was.

    What would ring on after the end of the clip is left out.
    """
    from scipy import signal

    wet: Samples = signal.fftconvolve(samples, response)[: len(samples)]
    energy = np.sum(np.square(wet, dtype=np.float64))
    if energy == 0:
        return samples
    scale = np.sqrt(np.sum(np.square(samples, dtype=np.float64)) / energy)
    return wet * np.float32(scale)


def add_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add a noise of the same length, so loud that the ratio holds where there is speech.

    Powers are those of blocks of 16 ms (see ``noise_scale``). The sum may leave [-1, 1].
    """
    scale = noise_scale(_block_powers(samples), _block_powers(noise), snr_db)
    return samples + np.float32(np.sqrt(scale)) * noise


def _block_powers(samples: Samples) -> npt.NDArray[np.float64]:
    """Return the mean square of each block of 256 samples; the last is filled with zeros."""
    blocks = np.pad(samples, (0, -len(samples) % _BLOCK)).reshape(-1, _BLOCK)
    powers: npt.NDArray[np.float64] = np.square(blocks, dtype=np.float64).mean(axis=1)
    return powers
