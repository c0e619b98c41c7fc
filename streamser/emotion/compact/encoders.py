"""The frozen networks of the bundled model: Whisper's lowest layers, and an encoder of words.

The layers were trained on speech of any microphone and language, and hear more of a voice than
its words; those above know the words and forget the voice. What is kept of an utterance is the
mean and the deviation of each over the frames with speech.

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

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Bank, mel_triangles, sparse_bank
from streamser.emotion.model import Place
from streamser.errors import ModelError
from streamser.graphs import open_graph

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

GRAPH: Final = "layers.onnx"
LAYERS: Final = 2
LAYER_WIDTH: Final = 384
VALUES: Final = 2 * LAYERS * LAYER_WIDTH
"""Mean and deviation of each layer, one layer after the other."""
MOST_BLOCKS: Final = 1024
"""Blocks kept of all sessions together: 51 minutes of sound, 6 MB."""

_EDGE: Final = 2
"""Frames at a clip's end that reach beyond it: what they say changes as it grows."""

Values = npt.NDArray[np.float32]

WORDS: Final = "words.onnx"
TOKENIZER: Final = "tokenizer.json"
MOST_TOKENS: Final = 64
"""Longer texts are cut: an utterance of 20 seconds rarely has more."""

Vectors = npt.NDArray[np.float32]


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


class BlockProgress(NamedTuple):
    """Say how far an utterance has been cut.

    ``end`` is the first frame behind what was cut, ``top`` the loudest band and ``loudest`` the
    loudest frame so far, in decades.
    """

    end: int
    top: float
    loudest: float


BEGINNING: Final = BlockProgress(0, -np.inf, -np.inf)
"""Before anything was cut."""


class Block(NamedTuple):
    """Hold frames [n, 80] scaled as Whisper wants them, n <= ``BLOCK``.

    ``heard`` [ceil(n / 2)] says which steps of 20 ms count, ``full`` whether it is as long as
    a block can be, ``progress`` how far the utterance is cut with it.
    """

    frames: Frames
    heard: npt.NDArray[np.bool_]
    full: bool
    progress: BlockProgress


def cut_blocks(levels: Frames, before: BlockProgress = BEGINNING) -> list[Block]:
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


def _block(
    levels: Frames, loudness: npt.NDArray[np.float64], before: BlockProgress, end: int
) -> Block:
    top = max(before.top, float(levels.max()))
    loudest = max(before.loudest, float(loudness.max()))
    scaled = (np.maximum(levels - top, -_RANGE) + 5.5) / 4.0
    return Block(
        frames=scaled.astype(np.float32),
        heard=loudness[::2] >= loudest - _AUDIBLE,
        full=len(levels) == BLOCK,
        progress=BlockProgress(end, top, loudest),
    )


@cache
def _hann() -> npt.NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def _bank() -> Bank:
    return sparse_bank(mel_triangles(BANDS, WINDOW))


class _Sums(NamedTuple):
    """Hold what one block adds: steps that count, and sums over them, [LAYERS, LAYER_WIDTH]."""

    steps: int
    sums: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]


class _KeptBlocks(NamedTuple):
    """Hold what is kept of an utterance: its full blocks, or its beginning before the first.

    ``beginning`` ends with frame ``until``, counted from the clip's first.
    """

    utterance: int
    start: int
    full: tuple[_Sums, ...] = ()
    progress: BlockProgress = BEGINNING
    beginning: _Sums | None = None
    until: int = 0

    @property
    def blocks(self) -> int:
        """Return how many blocks are kept."""
        return len(self.full) + (self.beginning is not None)


class LayerEncoder:
    """Hear clips of many sessions by the lower layers; what is full is heard once.

    Beyond ``most`` blocks the sessions that were heard longest ago lose theirs. For one thread.
    """

    def __init__(self, graph: Any, most: int = MOST_BLOCKS) -> None:
        self._graph = graph
        self._most = most
        self._kept: OrderedDict[str, _KeptBlocks] = OrderedDict()
        self._blocks = 0

    def encode(self, samples: Samples, place: Place | None) -> Values:
        """Return what the layers say of a clip, float32 [VALUES]; ``nan`` of silence.

        ``samples`` is float32 [n] at 16 kHz, finite. Clips of one session and utterance must
        be parts of the same sound; the answer has the same bits however much of it is kept. Of
        a clip that grows, no more than its full blocks is heard, or its first second before
        there is one: what is new is paid for once, and told three seconds later at the latest.
        """
        if place is None:
            return self.encode_frames(whisper_frames(samples))
        unchanged = frame_count(len(samples)) - _EDGE
        kept = self._take(place.session_id)
        same = kept is not None and (kept.utterance, kept.start) == (place.utterance, place.start)
        if kept is None or not same or kept.progress.end > unchanged:
            kept = _KeptBlocks(place.utterance, place.start)
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

    def encode_frames(self, levels: Frames) -> Values:
        """Do the same for log10 mel powers [T, 80], wherever they are from."""
        return _summary([self._encode(block) for block in cut_blocks(levels)])

    def forget(self, session_id: str) -> None:
        """Drop what is kept of a session."""
        self._take(session_id)

    def _begin(self, kept: _KeptBlocks, levels: Frames, unchanged: int) -> _KeptBlocks:
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

    def _take(self, session_id: str) -> _KeptBlocks | None:
        kept = self._kept.pop(session_id, None)
        if kept is not None:
            self._blocks -= kept.blocks
        return kept

    def _keep(self, session_id: str, kept: _KeptBlocks) -> None:
        if not kept.blocks:
            return
        self._kept[session_id] = kept
        self._blocks += kept.blocks
        while self._blocks > self._most:
            self._take(next(iter(self._kept)))


def load_layers(directory: Path) -> LayerEncoder:
    """Load a bundle's layers; raises ``ModelError`` where they cannot be used."""
    return LayerEncoder(open_graph(directory / GRAPH, inputs=("frames",)))


def _summary(parts: list[_Sums]) -> Values:
    count = sum(part.steps for part in parts)
    if not count:
        return np.full(VALUES, np.nan, np.float32)
    sums = np.sum([part.sums for part in parts], axis=0, dtype=np.float64)
    squares = np.sum([part.squares for part in parts], axis=0, dtype=np.float64)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return np.stack([mean, deviation], axis=1).astype(np.float32).reshape(-1)


class Words:
    """Encode texts on one CPU thread; what a text gives does not depend on its neighbours."""

    def __init__(self, tokenizer: Any, session: Any) -> None:
        self._tokenizer = tokenizer
        self._session = session

    def encode(self, texts: Sequence[str]) -> list[Vectors]:
        """Return a vector for each word piece of each text, float32 [L, width], L >= 1."""
        if not texts:
            return []
        # Half surrogate pairs are refused by the tokenizers library.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        found = [encoding.ids[:MOST_TOKENS] for encoding in self._tokenizer.encode_batch(clean)]
        longest = max(len(ids) for ids in found)
        ids = np.zeros((len(found), longest), np.int64)
        mask = np.zeros((len(found), longest), np.int64)
        for row, pieces in enumerate(found):
            ids[row, : len(pieces)] = pieces
            mask[row, : len(pieces)] = 1
        hidden = self._session.run(["hidden"], {"ids": ids, "mask": mask})[0]
        return [hidden[row, : len(pieces)].copy() for row, pieces in enumerate(found)]


def load_words(directory: Path) -> Words:
    """Load tokenizer and encoder of a bundle; raises ``ModelError`` where they cannot be used."""
    from tokenizers import Tokenizer

    path = directory / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{path} cannot be used: {error}; install streamser again") from None
    return Words(tokenizer, open_graph(directory / WORDS, inputs=("ids", "mask")))
