"""Who speaks when within a stretch of sound, and where two speak at once.

pyannote's segmentation 3.0 (MIT): A. Plaquet and H. Bredin, *Powerset multi-class cross entropy
loss for neural speaker diarization* (2023, arXiv 2310.13025). It tells up to three speakers apart
within ten seconds, two at once, by no name: whose track is whose is an embedder's matter.
docs/speakers.md says how well it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import AudioError
from streamser.graphs import open_part
from streamser.speech.campplus import DIRECTORY

Tracks = npt.NDArray[np.float32]
"""Float32 [frames, 3]: how likely each of three speakers is heard."""

GRAPH: Final = "segmentation.onnx"
SPEAKERS: Final = 3
STEP: Final = 270
"""Samples (16.9 ms) from frame to frame."""
WINDOW: Final = 10 * SAMPLE_RATE
"""Samples that are heard together: what the network was taught with."""

_FIELD: Final = 991
"""Samples that a frame is made of, half of them before its centre."""
_HOP: Final = 296 * STEP  # half a window, and a whole number of frames
_SETS: Final = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32
)
"""The sets of speakers that the classes of the network stand for."""
_ORDERS: Final = tuple(permutations(range(SPEAKERS)))


class Stretch(msgspec.Struct, frozen=True):
    """Name samples ``start`` to ``end`` of a stretch, ``end`` not among them."""

    start: int
    end: int


class Activity(msgspec.Struct, frozen=True, eq=False):
    """Say of each frame of a stretch who is heard.

    ``tracks`` is [frames, 3], the probability of each speaker; ``several`` float32 [frames] that of
    two at once. Frame t is centred on sample 270 t + 495.
    """

    tracks: Tracks
    several: npt.NDArray[np.float32]

    @property
    def counts(self) -> npt.NDArray[np.int8]:
        """Return how many speak in each frame: 0, 1 or 2."""
        heard = (self.tracks.max(axis=1, initial=0.0) >= 0.5).astype(np.int8)
        both: npt.NDArray[np.int8] = np.where(self.several >= 0.5, np.int8(2), heard)
        return both

    def overlaps(self, least: int = 0) -> list[Stretch]:
        """Return where two speak at once, for ``least`` samples or more."""
        return [span for span in _spans(self.counts == 2) if span.end - span.start >= least]

    def turns(self, least: int = 0) -> list[tuple[int, Stretch]]:
        """Return who is heard alone, or loudest, from where to where: track and span, in order.

        A turn of fewer than ``least`` samples is given to the one before, or, the first, to the
        next. Where one turn follows another without a pause, ``end`` and ``start`` are the same:
        there the speaker changes.
        """
        speaking = self.counts > 0
        found: list[tuple[int, Stretch]] = []
        for span in _spans(speaking):
            frames = slice(_frame(span.start), _frame(span.end))
            leading = self.tracks[frames].argmax(axis=1)
            changes = np.flatnonzero(np.diff(leading)) + 1
            cuts = [0, *changes.tolist(), len(leading)]
            parts = [
                (int(leading[first]), Stretch(span.start + first * STEP, span.start + last * STEP))
                for first, last in pairwise(cuts)
            ]
            found += _merged(parts, least)
        return found


class Segmentation:
    """Hear who speaks when, up to three in ten seconds; for one thread.

    ``graph`` takes ``samples`` float32 [1, n], and gives ``sets`` float32 [1, frames, 7], the
    logarithms of the probabilities of the sets of speakers.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def hear(self, samples: Samples) -> Activity:
        """Say who is heard in a stretch, float32 [n] at 16 kHz: 1 + (n - 991) // 270 frames, or 0.

        What is longer than 10 s is heard in halves that overlap; a speaker keeps the track that
        agrees best with the window before. Raises ``AudioError`` for samples that are no
        numbers.
        """
        if not np.isfinite(samples).all():
            raise AudioError("in samples that are no numbers nobody can be heard")
        parts = [self._classes(samples[start : start + WINDOW]) for start in _starts(len(samples))]
        found = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            found = _joined(found, part, number * _HOP // STEP)
        return Activity(found @ _SETS, found[:, SPEAKERS + 1 :].sum(axis=1))

    def _classes(self, samples: Samples) -> Tracks:
        if len(samples) < _FIELD:
            return np.empty((0, len(_SETS)), np.float32)
        (found,) = self._graph.run(["sets"], {"samples": samples[None]})
        classes: Tracks = np.exp(found[0])
        return classes


def load_segmentation(directory: Path = DIRECTORY) -> Segmentation:
    """Load the bundled network; raises ``ModelError`` where it is missing or damaged."""
    return Segmentation(open_part(directory, GRAPH, inputs=("samples",)))


def _starts(length: int) -> Iterator[int]:
    """Yield where windows begin: each half a window later, the last holds the end."""
    yield 0
    start = 0
    while start + WINDOW < length:
        start += _HOP
        yield start


def _joined(before: Tracks, after: Tracks, first: int) -> Tracks:
    """Join the classes of two windows; ``first`` is the frame that the second begins with.

    The seam is in the middle of what both have heard: at their ends they know least.
    """
    shared = min(len(before) - first, len(after))
    old = before[first : first + shared] @ _SETS
    new = after[:shared] @ _SETS
    order = max(_ORDERS, key=lambda each: float((old * new[:, each]).sum()))
    seam = shared // 2
    return np.concatenate([before[: first + seam], _renamed(after, order)[seam:]])


def _renamed(classes: Tracks, order: tuple[int, ...]) -> Tracks:
    """Let track ``order[i]`` be track i."""
    wanted = _SETS[:, list(order)]
    places = [int(np.flatnonzero((wanted == each).all(axis=1))[0]) for each in _SETS]
    found: Tracks = classes[:, places]
    return found


def _spans(chosen: npt.NDArray[np.bool_]) -> list[Stretch]:
    """Return the runs of frames that are chosen, each frame as wide as a step."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return [
        Stretch(_sample(int(first)), _sample(int(last)))
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]


def _sample(frame: int) -> int:
    return frame * STEP + (_FIELD - STEP) // 2


def _frame(sample: int) -> int:
    return (sample - (_FIELD - STEP) // 2) // STEP


def _merged(parts: list[tuple[int, Stretch]], least: int) -> list[tuple[int, Stretch]]:
    found: list[tuple[int, Stretch]] = []
    for track, span in parts:
        short = span.end - span.start < least
        if found and (short or found[-1][0] == track):
            found[-1] = (found[-1][0], Stretch(found[-1][1].start, span.end))
        elif found and found[-1][1].end - found[-1][1].start < least:
            # The first was too short to be a turn.
            found[-1] = (track, Stretch(found[-1][1].start, span.end))
        else:
            found.append((track, span))
    return found
