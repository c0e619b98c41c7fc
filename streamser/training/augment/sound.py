"""The variations of recordings: mono float32 at 16 kHz in, the same out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.training.augment.levels import noise_scale, to_full_scale
from streamser.training.augment.noise import noise_piece
from streamser.training.augment.recordings import Recording
from streamser.training.augment.responses import filter_sound
from streamser.training.augment.variation import Variation

__all__ = ["add_noise", "change_speed", "reverberate", "vary_sound"]

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
