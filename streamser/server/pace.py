"""How fast a client's sound is taken in."""

from __future__ import annotations

__all__ = ["Pace"]

_BURST_S = 30.0


class Pace:
    """Let sound through at ``speed`` times real time, after a burst of 30 s; pure.

    A client who has lost its connection may so catch up at once.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._credit = _BURST_S
        self._last: float | None = None

    def wait_s(self, sound_s: float, now: float) -> float:
        """Return how long to wait before so many seconds of sound are taken in at ``now``."""
        passed = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        self._credit = min(_BURST_S, self._credit + passed * self._speed) - sound_s
        return max(0.0, -self._credit / self._speed)
