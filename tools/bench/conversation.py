"""What the measurements listen to: turns of speech with pauses, strung together without end.

As an ``AudioSource`` it plays as fast as it is read, or paced in real time.
"""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import streamser
from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.file import FileSource
from streamser.audio.reader import Resampler
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

__all__ = [
    "BLOCK_MS",
    "Conversation",
    "Placed",
    "Playback",
    "Turn",
    "load_demo",
    "load_recordings",
]

BLOCK_MS = 20

_SEED = 1
# A lap of the demo lasts a whole number of 20 ms blocks: without jitter, every lap would meet
# the borders of blocks and VAD windows in the same places.
_DEMO_JITTER_S = (0.0, 0.1)
_PAUSE_S = (0.8, 1.6)
_MOST_S = 600.0
"""Recordings beyond ten minutes are left out: a stream repeats them anyway."""


class Turn(msgspec.Struct, frozen=True, eq=False):
    """Hold one turn: mono float32, and its speech in seconds from its first sample, if known."""

    samples: Samples
    speech: tuple[float, float] | None


class Placed(msgspec.Struct, frozen=True, eq=False):
    """Hold a turn with the absolute sample at which it begins, and the pause after it."""

    turn: Turn
    start: int
    pause: int


class Conversation(msgspec.Struct, frozen=True, eq=False):
    """Hold the turns that a stream repeats, and the range of the pauses between, in seconds."""

    name: str
    rate: int
    turns: tuple[Turn, ...]
    pause_s: tuple[float, float]
    seed: int = _SEED

    @property
    def lap_s(self) -> float:
        """Return the length of all turns together in seconds, without pauses."""
        return sum(len(turn.samples) for turn in self.turns) / self.rate

    def placed(self) -> Iterator[Placed]:
        """Yield the turns in order, again and again, with seeded pauses: always the same."""
        random_pause = random.Random(self.seed)
        start = 0
        while True:
            for turn in self.turns:
                pause = round(random_pause.uniform(*self.pause_s) * self.rate)
                yield Placed(turn, start, pause)
                start += len(turn.samples) + pause

    def first(self, turns: int) -> list[Placed]:
        """Return the stream's first turns."""
        return list(islice(self.placed(), turns))

    def blocks(self, frames: int, *, total: int, turns: int | None = None) -> Iterator[Samples]:
        """Yield the stream's first ``total`` samples in blocks of ``frames``, the last shorter.

        After so many ``turns``, if they are given, nobody speaks any more. Only one block is
        made at a time.
        """
        left = total
        block: Samples = np.empty(min(frames, left), np.float32)
        filled = 0
        for piece in self._pieces(turns):
            offset = 0
            while offset < len(piece) and left:
                take = min(len(piece) - offset, len(block) - filled)
                block[filled : filled + take] = piece[offset : offset + take]
                offset += take
                filled += take
                if filled == len(block):
                    yield block
                    left -= filled
                    block, filled = np.empty(min(frames, left), np.float32), 0
            if not left:
                return

    def at_rate(self, rate: int) -> Conversation:
        """Return the same conversation at another rate."""
        if rate == self.rate:
            return self
        import soxr

        turns = tuple(
            Turn(soxr.resample(turn.samples, self.rate, rate, quality="VHQ"), turn.speech)
            for turn in self.turns
        )
        return Conversation(self.name, rate, turns, self.pause_s, self.seed)

    def _pieces(self, turns: int | None) -> Iterator[Samples]:
        for placed in islice(self.placed(), turns):
            yield placed.turn.samples
            yield np.zeros(placed.pause, np.float32)
        while True:
            yield np.zeros(self.rate, np.float32)


class Playback:
    """Play the first ``seconds`` of a conversation in blocks of 20 ms; an ``AudioSource``.

    After so many ``turns``, if they are given, silence follows.

    A ``paced`` playback yields each block when its last sample would have been heard, or at
    once if the reader is late, like a sound card with a long buffer.
    """

    channels = 1

    def __init__(
        self,
        conversation: Conversation,
        seconds: float,
        *,
        paced: bool,
        turns: int | None = None,
    ) -> None:
        self.name = conversation.name
        self.rate = conversation.rate
        self.live = paced
        self._conversation = conversation
        self._turns = turns
        self._total = round(seconds * conversation.rate)
        self.duration: float | None = self._total / conversation.rate
        self._block = conversation.rate * BLOCK_MS // 1000
        self._begun: float | None = None
        self._stopped = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the sound in order; called once."""
        self._begun = time.monotonic()
        position = 0
        blocks = self._conversation.blocks(self._block, total=self._total, turns=self._turns)
        for block in blocks:
            position += len(block)
            if self.live:
                self._wait_until(self._begun + position / self.rate)
            if self._stopped:
                return
            yield block[:, None]

    def stop(self) -> None:
        """Make ``chunks`` end at once, even while it waits for its time."""
        self._stopped = True
        self._wake.put(None)

    def due(self, second: float) -> float:
        """Return the time (``time.monotonic``) at which a second of the sound was due.

        That is when the block that holds it was complete, whether or not anybody took it in
        time. Raises ``ValueError`` before the first block was asked for.
        """
        if self._begun is None:
            raise ValueError("nothing has been played yet")
        # A sample on the border is the first of the next block, or the end of this one: the
        # stretch up to it has been heard when this one is complete.
        blocks = -(-round(second * self.rate) // self._block)
        return self._begun + blocks * self._block / self.rate

    def _wait_until(self, deadline: float) -> None:
        while not self._stopped and (left := deadline - time.monotonic()) > 0:
            try:
                self._wake.get(timeout=left)
            except queue.Empty:
                return


class _Truth(msgspec.Struct, frozen=True):
    """What demo.json says of one utterance."""

    start_ms: int
    end_ms: int


class _Script(msgspec.Struct, frozen=True):
    """What demo.json says."""

    utterances: list[_Truth]


def load_demo() -> Conversation:
    """Load the bundled conversation, cut in the middle of its pauses.

    Raises ``AudioError`` where the installation lacks it.
    """
    assets = Path(streamser.__file__).parent / "assets"
    try:
        script = msgspec.json.decode((assets / "demo.json").read_bytes(), type=_Script)
    except OSError as error:
        raise AudioError(
            "the bundled recording is missing from this installation (assets/demo.json):"
            " install streamser again.",
            code="file_not_found",
        ) from error
    samples = _read(assets / "demo.flac")
    spans = [(truth.start_ms / 1000, truth.end_ms / 1000) for truth in script.utterances]
    cuts = [0.0, *((a[1] + b[0]) / 2 for a, b in pairwise(spans)), len(samples) / SAMPLE_RATE]
    turns = tuple(
        Turn(
            samples[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)],
            (span[0] - begin, span[1] - begin),
        )
        for span, (begin, end) in zip(spans, pairwise(cuts), strict=True)
    )
    return Conversation("bundled demo", SAMPLE_RATE, turns, _DEMO_JITTER_S)


def load_recordings(folder: Path) -> Conversation:
    """Join the WAV and FLAC files below a folder to one conversation, in a seeded order.

    Pauses of digital silence, 0.8 to 1.6 s, are put between them. At most ten minutes are
    used. Raises ``AudioError`` where the folder holds none, or one cannot be read.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder} is not a folder of recordings.", code="file_not_found")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac"))
    if not found:
        raise AudioError(f"{folder} holds no .wav or .flac file.", code="file_not_found")
    random.Random(_SEED).shuffle(found)
    turns: list[Turn] = []
    seconds = 0.0
    for path in found:
        samples = _read(path)
        turns.append(Turn(samples, None))
        seconds += len(samples) / SAMPLE_RATE
        if seconds >= _MOST_S:
            break
    name = f"{folder.name} ({len(turns)} of {len(found)} recordings)"
    return Conversation(name, SAMPLE_RATE, tuple(turns), _PAUSE_S)


def _read(path: Path) -> Samples:
    source = FileSource(path)
    intake = Resampler(source.rate, source.channels)
    parts: list[Any] = [
        intake.fill(piece.frames) if isinstance(piece, Gap) else intake.feed(piece)
        for piece in source.chunks()
    ]
    return np.concatenate([*parts, intake.flush()])
