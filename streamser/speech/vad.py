"""What every voice activity detector looks like from outside."""

from __future__ import annotations

from typing import Protocol

from streamser.audio.clip import Samples

__all__ = ["Vad"]


class Vad(Protocol):
    """Judge one window of sound after another; one object holds the state of one stream."""

    name: str
    window: int
    """Samples per window at 16 kHz (Silero 512, WebRTC 480)."""

    def probability(self, window: Samples) -> float:
        """Return the probability in [0, 1] that the next ``self.window`` samples hold speech."""
        ...

    def probabilities(self, windows: Samples) -> list[float]:
        """Return what ``probability`` says of each of windows [n, window] in turn, n > 0."""
        ...

    def reset(self) -> None:
        """Forget everything heard, as at the start of a stream."""
        ...
