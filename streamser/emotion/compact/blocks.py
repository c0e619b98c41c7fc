"""What of an utterance Whisper's lower layers are shown, and which of it counts.

An utterance is encoded in blocks of three seconds, each for itself, from its first audible frame
on: what was encoded once is not encoded again as the utterance grows, and the cost does not grow
with its square. Levels are measured from the loudest so far, so that what comes later does not
change a block that is full. While somebody speaks, a beginning of one second stands for the first
block until that is full.

The frames are Whisper's log-mel, of sound as it comes: 80 bands, 10 ms a frame. The window and the
filters of A. Radford et al., *Robust Speech Recognition via Large-Scale Weak Supervision* (2022):
400 samples, 160 apart, Slaney's mel scale. Each frame is computed for itself, so that the same
sound gives the same bits however it was chopped.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Bank, mel_triangles, sparse_bank

Frames = npt.NDArray[np.float32]
"""Float32 [frames, 80]: log10 of the power in each band."""

BANDS: Final = 80
HOP: Final = 160
WINDOW: Final = 400
LOWEST: Final = -10.0
"""What less power than this counts as, on the scale of samples in [-1, 1]."""

_HALF: Final = WINDOW // 2
_TOGETHER: Final = 64  # frames computed together: as many as a cache holds; changes no bit

BLOCK: Final = 300
"""Frames, of 10 ms."""
FIRST: Final = 100
"""Frames of the beginning, which is shown as long as no block is full."""

_AUDIBLE: Final = 4.0  # decades below the loudest frame: softer ones do not count
_RANGE: Final = 8.0  # decades below the loudest band, as Whisper has it
_LEAST: Final = 8  # frames: a shorter rest is left out, unless it is all there is


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
    for start in range(0, count - first, _TOGETHER):
        block = slice(start, start + _TOGETHER)
        spectrum = np.fft.rfft(frames[block] * _hann())
        power = spectrum.real**2 + spectrum.imag**2
        bands = np.add.reduceat(power[:, bank.bins] * bank.weights, bank.starts, axis=-1)
        levels[block] = np.log10(np.maximum(bands, 10**LOWEST))
    return levels


class Progress(NamedTuple):
    """Say how far an utterance has been cut.

    ``end`` is the first frame behind what was cut, ``top`` the loudest band and ``loudest`` the
    loudest frame so far, in decades.
    """

    end: int
    top: float
    loudest: float


BEGINNING: Final = Progress(0, -np.inf, -np.inf)
"""Before anything was cut."""


class Block(NamedTuple):
    """Hold frames [n, 80] scaled as Whisper wants them, n <= ``BLOCK``.

    ``heard`` [ceil(n / 2)] says which steps of 20 ms count, ``full`` whether it is as long as
    a block can be, ``progress`` how far the utterance is cut with it.
    """

    frames: Frames
    heard: npt.NDArray[np.bool_]
    full: bool
    progress: Progress


def cut_blocks(levels: Frames, before: Progress = BEGINNING) -> list[Block]:
    """Cut log10 mel powers, float32 [T, 80], into blocks; none of silence.

    ``levels`` are an utterance's frames from ``before.end`` on, which is where its last full
    block ended.
    """
    begun = before is not BEGINNING
    if not len(levels) or not (begun or np.ptp(levels)):
        return []
    loudness = _loudness(levels)
    least = max(before.loudest, float(loudness.max())) - _AUDIBLE
    audible = np.flatnonzero(loudness >= least)
    end = int(audible[-1]) + 1 if len(audible) else 0
    found: list[Block] = []
    for begin in range(0 if begun else _first(loudness), end, BLOCK):
        span = slice(begin, min(begin + BLOCK, end))
        if (begun or found) and span.stop - span.start < _LEAST:
            break
        last = found[-1].progress if found else before
        found.append(_block(levels[span], loudness[span], last, before.end + span.stop))
    return found


def cut_beginning(levels: Frames) -> Block | None:
    """Cut the first ``FIRST`` audible frames of an utterance's, or as many as there are.

    ``levels`` is float32 [T, 80]; ``None`` of silence.
    """
    if not len(levels) or not np.ptp(levels):
        return None
    loudness = _loudness(levels)
    first = _first(loudness)
    span = slice(first, min(first + FIRST, len(levels)))
    return _block(levels[span], loudness[span], BEGINNING, span.stop)


def _loudness(levels: Frames) -> npt.NDArray[np.float64]:
    """Return the level of each frame, in decades."""
    summed = np.exp(levels.astype(np.float64) * np.log(10)).sum(axis=1)
    loudness: npt.NDArray[np.float64] = np.log10(summed)
    return loudness


def _first(loudness: npt.NDArray[np.float64]) -> int:
    early = loudness[:BLOCK]
    return int(np.argmax(early >= early.max() - _AUDIBLE))


def _block(levels: Frames, loudness: npt.NDArray[np.float64], before: Progress, end: int) -> Block:
    top = max(before.top, float(levels.max()))
    loudest = max(before.loudest, float(loudness.max()))
    scaled = (np.maximum(levels - top, -_RANGE) + 5.5) / 4.0
    return Block(
        frames=scaled.astype(np.float32),
        heard=loudness[::2] >= loudest - _AUDIBLE,
        full=len(levels) == BLOCK,
        progress=Progress(end, top, loudest),
    )


@cache
def _hann() -> npt.NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def _bank() -> Bank:
    return sparse_bank(mel_triangles(BANDS, WINDOW))
