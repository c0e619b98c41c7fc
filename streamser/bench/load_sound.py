"""The sound of a load test: one conversation in memory, which every stream enters elsewhere."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.bench.conversation import Conversation
from streamser.bench.load_log import BLOCK_MS

__all__ = ["Lap", "Plan", "make_lap", "plans"]

_LAP_S = 120.0
"""A short conversation is repeated, with other pauses, before the lap begins anew."""
_FRAME = 2
_BLOCK = SAMPLE_RATE * BLOCK_MS // 1000 * _FRAME
_SPREAD_S = 1.0
_SPEECH = 0.5


class Plan(msgspec.Struct, frozen=True):
    """Say when a stream begins, in seconds after the first may, and at which frame of the lap."""

    delay_s: float
    frame: int


class Lap(msgspec.Struct, frozen=True, eq=False):
    """Hold 16-bit mono sound at 16 kHz that is played round and round.

    ``speech_share`` is the share of the speech detector's windows that are speech.
    """

    name: str
    data: bytes
    speech_share: float

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return len(self.data) / _FRAME / SAMPLE_RATE

    def block(self, frame: int, number: int) -> bytes | memoryview:
        """Return a stream's block: it entered at a frame, and blocks count from 0."""
        start = (frame * _FRAME + number * _BLOCK) % len(self.data)
        stop = start + _BLOCK
        if stop <= len(self.data):
            return memoryview(self.data)[start:stop]
        return self.data[start:] + self.data[: stop - len(self.data)]


def make_lap(conversation: Conversation) -> Lap:
    """Render a conversation at 16 kHz, with its pauses, and measure how much of it is speech."""
    sound = conversation.at_rate(SAMPLE_RATE)
    parts: list[Any] = []
    samples = 0
    for number, placed in enumerate(sound.placed()):
        laps, rest = divmod(number, len(sound.turns))
        if laps and not rest and samples >= _LAP_S * SAMPLE_RATE:
            break
        parts += [placed.turn.samples, np.zeros(placed.pause, np.float32)]
        samples += len(placed.turn.samples) + placed.pause
    whole = np.concatenate(parts)
    written = np.clip(np.rint(whole * np.float32(32768.0)), -32768, 32767).astype("<i2")
    return Lap(sound.name, written.tobytes(), _speech_share(whole))


def plans(seed: int, streams: int, lap: Lap) -> list[Plan]:
    """Draw where and when streams begin: of more streams, the first begin as of fewer."""
    chance = random.Random(seed)
    frames = len(lap.data) // _FRAME
    drawn = ((chance.uniform(0.0, _SPREAD_S), chance.randrange(frames)) for _ in range(streams))
    return [Plan(delay, frame) for delay, frame in islice(drawn, streams)]


def _speech_share(samples: Any) -> float:
    from streamser.speech.vad import load_silero

    vad = load_silero().stream()
    windows = len(samples) // vad.window
    heard = (
        vad.probability(samples[number * vad.window : (number + 1) * vad.window])
        for number in range(windows)
    )
    return round(sum(each >= _SPEECH for each in heard) / max(1, windows), 3)
