"""From several channels to one: their mean, or the loudest where the mean holds nothing."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamser.audio.clip import Samples
from streamser.audio.source import Frames

__all__ = ["Mixer"]

_BLOCK_S: Final = 0.02
_DECAY: Final = 0.9
"""Of power from block to block: what was heard more than a second ago no longer counts."""
_CANCELS: Final = 100.0
"""Power of the loudest channel over that of the mean, from which the mean is given up: 20 dB."""
_HOLDS: Final = 25.0
"""The same ratio below which the mean is taken again."""
_LOUDER: Final = 4.0
"""Power over that of the channel heard, from which another takes its place: 6 dB."""
_MEAN: Final = -1


class Mixer:
    """Mix frames of two or more channels into one, 20 ms at a time.

    The mean of all is taken unless it lies 20 dB or more below the loudest channel: channels
    that cancel (a balanced line on a stereo input, one of two microphones wired in reverse)
    and one microphone among a dozen silent inputs. Each change is a cross-fade. Up to one block
    is held back; the output does not depend on how the frames are chopped.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._block = max(1, round(rate * _BLOCK_S))
        self._held: Frames = np.empty((0, channels), np.float32)
        self._power = [0.0] * channels
        self._mean_power = 0.0
        self._choice: int | None = None

    def feed(self, frames: Frames) -> Samples:
        """Take frames in [-1, 1]; return the mix of all blocks that are complete."""
        if len(self._held):
            frames = np.concatenate([self._held, frames])
        whole = len(frames) - len(frames) % self._block
        self._held = frames[whole:].copy()
        return self._mix(frames[:whole], self._block)

    def flush(self) -> Samples:
        """Return the mix of what is held back."""
        held, self._held = self._held, self._held[:0]
        return self._mix(held, max(1, len(held)))

    def _mix(self, frames: Frames, block: int) -> Samples:
        # Channels are added one after another, not by np.mean over an axis, whose order of
        # summation may depend on the chunk's length.
        columns = [frames[:, index].astype(np.float32) for index in range(frames.shape[1])]
        mixed = columns[0].copy()
        for column in columns[1:]:
            mixed += column
        mixed *= np.float32(1 / len(columns))
        powers = [_powers(column, block) for column in columns]
        for number, mean_power in enumerate(_powers(mixed, block)):
            before = self._choice
            self._choice = self._chosen(mean_power, [each[number] for each in powers])
            if before in (None, _MEAN) and self._choice == _MEAN:
                continue
            piece = slice(number * block, (number + 1) * block)
            new = mixed[piece] if self._choice == _MEAN else columns[self._choice][piece]
            if before is not None and before != self._choice:
                old = mixed[piece] if before == _MEAN else columns[before][piece]
                ramp = np.arange(1, len(new) + 1, dtype=np.float32) / np.float32(len(new))
                new = old + ramp * (new - old)
            mixed[piece] = new
        return mixed

    def _chosen(self, mean_power: float, powers: list[float]) -> int:
        """Return the channel to hear in the next block, or ``_MEAN``."""
        self._mean_power = _DECAY * self._mean_power + mean_power
        self._power = [_DECAY * old + new for old, new in zip(self._power, powers, strict=True)]
        loudest = max(self._power)
        choice = _MEAN if self._choice is None else self._choice
        enough = _CANCELS if choice == _MEAN else _HOLDS
        if self._mean_power * enough >= loudest:
            return _MEAN
        if choice != _MEAN and self._power[choice] * _LOUDER >= loudest:
            return choice
        return self._power.index(loudest)


def _powers(samples: Samples, block: int) -> list[float]:
    """Return the sum of squares of every block."""
    squares = np.square(samples).reshape(-1, block)
    powers: list[float] = squares.sum(axis=1).tolist()
    return powers
