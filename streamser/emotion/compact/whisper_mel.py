"""Whisper's log-mel frames, of sound as it comes: 80 bands, 10 ms a frame.

The window and the filters of A. Radford et al., *Robust Speech Recognition via Large-Scale Weak
Supervision* (2022): 400 samples, 160 apart, Slaney's mel scale. Each frame is computed for
itself, so that the same sound gives the same bits however it was chopped.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Bank, mel_triangles, sparse_bank

__all__ = ["BANDS", "HOP", "LOWEST", "WINDOW", "Frames", "frame_count", "whisper_frames"]

Frames = npt.NDArray[np.float32]
"""Float32 [frames, 80]: log10 of the power in each band."""

BANDS: Final = 80
HOP: Final = 160
WINDOW: Final = 400
LOWEST: Final = -10.0
"""What less power than this counts as, on the scale of samples in [-1, 1]."""

_HALF: Final = WINDOW // 2
_BLOCK: Final = 64  # frames computed together: as many as a cache holds; changes no bit


def frame_count(samples: int) -> int:
    """Return how many frames a clip of so many samples has: frame t is centred on 160 t."""
    return 1 + samples // HOP


def whisper_frames(samples: Samples, first: int = 0) -> Frames:
    """Return the frames of a clip from ``first`` on, which is taken to be zero outside.

    ``samples`` is float32 [n] at 16 kHz; the result is [1 + n // 160 - first, 80].
    """
    count = frame_count(len(samples))
    begin, end = first * HOP - _HALF, (count - 1) * HOP + _HALF
    heard = np.zeros(max(0, end - begin), np.float32)
    known = slice(max(0, begin), min(end, len(samples)))
    heard[known.start - begin : known.stop - begin] = samples[known]
    levels = np.empty((count - first, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(heard, WINDOW)[::HOP]
    bank = _bank()
    for start in range(0, count - first, _BLOCK):
        block = slice(start, start + _BLOCK)
        spectrum = np.fft.rfft(frames[block] * _hann())
        power = spectrum.real**2 + spectrum.imag**2
        bands = np.add.reduceat(power[:, bank.bins] * bank.weights, bank.starts, axis=-1)
        levels[block] = np.log10(np.maximum(bands, 10**LOWEST))
    return levels


@cache
def _hann() -> npt.NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def _bank() -> Bank:
    return sparse_bank(mel_triangles(BANDS, WINDOW))
