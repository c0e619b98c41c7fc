"""Whisper's convolutions and first layers, at work on growing utterances.

They were trained on speech of any microphone and language, and hear more of a voice than its
words; the layers above know the words and forget the voice. Here they are frozen, and what is
kept of an utterance is the mean and the deviation of each over the frames with speech.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.compact.blocks import (
    BEGINNING,
    Block,
    Frames,
    Progress,
    cut_beginning,
    cut_blocks,
    frame_count,
    whisper_frames,
)
from streamser.emotion.model import Place
from streamser.graphs import open_graph

GRAPH: Final = "layers.onnx"
LAYERS: Final = 2
WIDTH: Final = 384
VALUES: Final = 2 * LAYERS * WIDTH
"""Mean and deviation of each layer, one layer after the other."""
MOST_BLOCKS: Final = 1024
"""Blocks kept of all sessions together: 51 minutes of sound, 6 MB."""

_EDGE: Final = 2
"""Frames at a clip's end that reach beyond it: what they say changes as it grows."""

Values = npt.NDArray[np.float32]


class _Sums(NamedTuple):
    """Hold what one block adds: steps that count, and sums over them, [LAYERS, WIDTH]."""

    steps: int
    sums: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]


class _Kept(NamedTuple):
    """Hold what is kept of an utterance: its full blocks, or its beginning before the first.

    ``beginning`` ends with frame ``until``, counted from the clip's first.
    """

    utterance: int
    start: int
    full: tuple[_Sums, ...] = ()
    progress: Progress = BEGINNING
    beginning: _Sums | None = None
    until: int = 0

    @property
    def blocks(self) -> int:
        """Return how many blocks are kept."""
        return len(self.full) + (self.beginning is not None)


class LayerEar:
    """Hear clips of many sessions by the lower layers; what is full is heard once.

    Beyond ``most`` blocks the sessions that were heard longest ago lose theirs. For one thread.
    """

    def __init__(self, graph: Any, most: int = MOST_BLOCKS) -> None:
        self._graph = graph
        self._most = most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._blocks = 0

    def hear(self, samples: Samples, place: Place | None) -> Values:
        """Return what the layers say of a clip, float32 [VALUES]; ``nan`` of silence.

        ``samples`` is float32 [n] at 16 kHz, finite. Clips of one session and utterance must
        be parts of the same sound; the answer has the same bits however much of it is kept. Of
        a clip that grows, no more than its full blocks is heard, or its first second before
        there is one: what is new is paid for once, and told three seconds later at the latest.
        """
        if place is None:
            return self.heard(whisper_frames(samples))
        unchanged = frame_count(len(samples)) - _EDGE
        kept = self._take(place.session_id)
        same = kept is not None and (kept.utterance, kept.start) == (place.utterance, place.start)
        if kept is None or not same or kept.progress.end > unchanged:
            kept = _Kept(place.utterance, place.start)
        levels = whisper_frames(samples, kept.progress.end)
        full, rest = list(kept.full), []
        for block in cut_blocks(levels, kept.progress):
            if block.full and block.progress.end <= unchanged:
                full.append(self._encode(block))
                kept = kept._replace(full=tuple(full), progress=block.progress, beginning=None)
            elif not place.growing:
                rest.append(self._encode(block))
        if place.growing and not full:
            kept = self._begin(kept, levels, unchanged)
            rest = [] if kept.beginning is None else [kept.beginning]
        self._keep(place.session_id, kept)
        return _summary([*full, *rest])

    def heard(self, levels: Frames) -> Values:
        """Do the same for log10 mel powers [T, 80], wherever they are from."""
        return _summary([self._encode(block) for block in cut_blocks(levels)])

    def forget(self, session_id: str) -> None:
        """Drop what is kept of a session."""
        self._take(session_id)

    def _begin(self, kept: _Kept, levels: Frames, unchanged: int) -> _Kept:
        block = cut_beginning(levels)
        if block is None:
            return kept._replace(beginning=None)
        until = block.progress.end
        if kept.beginning is not None and until == kept.until and until <= unchanged:
            return kept
        return kept._replace(
            beginning=self._encode(block), until=until if until <= unchanged else 0
        )

    def _encode(self, block: Block) -> _Sums:
        (hidden,) = self._graph.run(["hidden"], {"frames": block.frames})
        chosen = hidden[:, block.heard]
        return _Sums(chosen.shape[1], chosen.sum(axis=1), np.square(chosen).sum(axis=1))

    def _take(self, session_id: str) -> _Kept | None:
        kept = self._kept.pop(session_id, None)
        if kept is not None:
            self._blocks -= kept.blocks
        return kept

    def _keep(self, session_id: str, kept: _Kept) -> None:
        if not kept.blocks:
            return
        self._kept[session_id] = kept
        self._blocks += kept.blocks
        while self._blocks > self._most:
            self._take(next(iter(self._kept)))


def load_layers(directory: Path) -> LayerEar:
    """Load a bundle's layers; raises ``ModelError`` where they cannot be used."""
    return LayerEar(open_graph(directory / GRAPH, inputs=("frames",)))


def _summary(parts: list[_Sums]) -> Values:
    count = sum(part.steps for part in parts)
    if not count:
        return np.full(VALUES, np.nan, np.float32)
    sums = np.sum([part.sums for part in parts], axis=0, dtype=np.float64)
    squares = np.sum([part.squares for part in parts], axis=0, dtype=np.float64)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return np.stack([mean, deviation], axis=1).astype(np.float32).reshape(-1)
