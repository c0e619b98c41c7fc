"""Noise of any length: pieces of recordings, or white, pink and brown."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.training.augment.recordings import Recording, list_recordings, read_recording

__all__ = ["Colour", "coloured_noise", "list_noises", "noise_piece"]

Colour = Literal["white", "pink", "brown"]
_SLOPE: Final = {"white": 0, "pink": 1, "brown": 2}

# Below this pink and brown are flat: their power would else lie where no microphone hears it.
_FLAT_BELOW_HZ = 50.0
# A noise that is silent at the drawn place is searched for sound no further than this.
_SEARCHED = 60 * SAMPLE_RATE


def list_noises(folder: Path | None) -> tuple[Recording, ...]:
    """List a folder's noises; none means synthetic ones. Raises ``ConfigError``."""
    return () if folder is None else list_recordings(folder, "noises")


def coloured_noise(colour: Colour, length: int, rng: np.random.Generator) -> Samples:
    """Make Gaussian noise whose power falls as 1, 1/f or 1/f² above 50 Hz; its power is 1."""
    white = rng.standard_normal(length, dtype=np.float32)
    if colour == "white":
        return white
    from scipy import fft

    size = fft.next_fast_len(max(length, 2), real=True)
    spectrum = fft.rfft(white, size)
    hertz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum), dtype=np.float32)
    spectrum *= np.maximum(hertz, _FLAT_BELOW_HZ) ** np.float32(-_SLOPE[colour] / 2)
    shaped = fft.irfft(spectrum, size)[:length]
    noise: Samples = shaped / np.sqrt(np.mean(shaped**2) + np.float32(1e-30))
    return noise


def noise_piece(noises: tuple[Recording, ...], length: int, rng: np.random.Generator) -> Samples:
    """Return ``length`` samples of a noise drawn at random, from a random place.

    Files shorter than that are looped. Where the place is digital silence, the piece begins at
    the file's loudest sample instead. A file of silence, and no files at all, mean noise of a
    random colour, whose power is 1. Raises ``AudioError`` where a file has become unreadable.
    """
    colours: tuple[Colour, ...] = get_args(Colour)
    colour = colours[rng.integers(len(colours))]
    if not noises:
        return coloured_noise(colour, length, rng)
    noise = noises[rng.integers(len(noises))]
    start = int(rng.integers(noise.length))
    piece = _piece(noise, start, length)
    if piece.any():
        return piece
    searched = read_recording(noise, 0, _SEARCHED)
    if not searched.any():
        return coloured_noise(colour, length, rng)
    return np.resize(np.roll(searched, -int(np.abs(searched).argmax())), length)


def _piece(noise: Recording, start: int, length: int) -> Samples:
    """Read from ``start`` on and over the end back to the beginning as often as it takes."""
    if length >= noise.length:
        return np.resize(np.roll(read_recording(noise), -start), length)
    first = read_recording(noise, start, min(length, noise.length - start))[:length]
    if len(first) == length:
        return first
    rest = read_recording(noise, 0, length - len(first))
    return np.resize(np.concatenate([first, rest]), length)
