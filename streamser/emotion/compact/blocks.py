"""What of an utterance Whisper's lower layers are shown, and which of it counts.

An utterance is encoded in blocks of three seconds, each for itself, from its first audible
frame on: what was encoded once is not encoded again as the utterance grows, and the cost does not
grow with its square. Levels are measured from the loudest so far, so that what comes later does
not change a block that is full.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact.whisper_mel import Frames

__all__ = ["BEGINNING", "BLOCK", "Block", "Progress", "cut_blocks"]

BLOCK: Final = 300
"""Frames, of 10 ms."""

_AUDIBLE: Final = 4.0  # decades below the loudest frame: softer ones do not count
_RANGE: Final = 8.0  # decades below the loudest band, as Whisper has it
_LEAST: Final = 8  # frames: a shorter rest is left out, unless it is all there is


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
    loudness = np.log10(np.exp(levels.astype(np.float64) * np.log(10)).sum(axis=1))
    least = max(before.loudest, float(loudness.max())) - _AUDIBLE
    first = 0
    if not begun:
        first = int(np.argmax(loudness[:BLOCK] >= loudness[:BLOCK].max() - _AUDIBLE))
    audible = np.flatnonzero(loudness >= least)
    end = int(audible[-1]) + 1 if len(audible) else 0
    found: list[Block] = []
    _, top, loudest = before
    for begin in range(first, end, BLOCK):
        span = slice(begin, min(begin + BLOCK, end))
        if (begun or found) and span.stop - span.start < _LEAST:
            break
        block = levels[span]
        top, loudest = max(top, float(block.max())), max(loudest, float(loudness[span].max()))
        scaled = (np.maximum(block - top, -_RANGE) + 5.5) / 4.0
        found.append(
            Block(
                frames=scaled.astype(np.float32),
                heard=loudness[span][::2] >= loudest - _AUDIBLE,
                full=span.stop - span.start == BLOCK,
                progress=Progress(before.end + span.stop, top, loudest),
            )
        )
    return found
