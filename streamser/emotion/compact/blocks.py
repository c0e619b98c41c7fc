"""What of an utterance Whisper's lower layers are shown, and which of it counts.

An utterance is encoded in blocks of three seconds, each for itself, from its first audible frame
on: what was encoded once is not encoded again as the utterance grows, and the cost does not grow
with its square. Levels are measured from the loudest so far, so that what comes later does not
change a block that is full.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact.whisper_mel import Frames

__all__ = ["BLOCK", "Block", "cut_blocks"]

BLOCK: Final = 300
"""Frames, of 10 ms."""

_AUDIBLE: Final = 4.0  # decades below the loudest frame: softer ones do not count
_RANGE: Final = 8.0  # decades below the loudest band, as Whisper has it
_LEAST: Final = 8  # frames: a shorter rest is left out, unless it is all there is


class Block(NamedTuple):
    """Hold frames [n, 80] scaled as Whisper wants them, n <= ``BLOCK``.

    ``heard`` [ceil(n / 2)] says which steps of 20 ms count, ``full`` whether it is as long as
    a block can be, ``end`` which frame of the utterance is the first behind it.
    """

    frames: Frames
    heard: npt.NDArray[np.bool_]
    full: bool
    end: int


def cut_blocks(levels: Frames) -> list[Block]:
    """Cut an utterance's log10 mel powers, float32 [T, 80], into blocks; none of silence."""
    if not len(levels) or not np.ptp(levels):
        return []
    loudness = np.log10(np.exp(levels.astype(np.float64) * np.log(10)).sum(axis=1))
    first = int(np.argmax(loudness[:BLOCK] >= loudness[:BLOCK].max() - _AUDIBLE))
    end = int(np.flatnonzero(loudness >= loudness.max() - _AUDIBLE)[-1]) + 1
    found: list[Block] = []
    top, loudest = -np.inf, -np.inf
    for begin in range(first, end, BLOCK):
        span = slice(begin, min(begin + BLOCK, end))
        if found and span.stop - span.start < _LEAST:
            break
        block = levels[span]
        top, loudest = max(top, float(block.max())), max(loudest, loudness[span].max())
        scaled = (np.maximum(block - top, -_RANGE) + 5.5) / 4.0
        found.append(
            Block(
                frames=scaled.astype(np.float32),
                heard=loudness[span][::2] >= loudest - _AUDIBLE,
                full=span.stop - span.start == BLOCK,
                end=span.stop,
            )
        )
    return found
