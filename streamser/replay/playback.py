"""Say which events of a recording are due; pure, a state moved by the time that has gone by."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from streamser.replay.score import Cue, Score

__all__ = ["Playback"]

_LONGEST_WAIT_S: Final = 3600.0
"""Clocks of systems wait for no longer than some days."""


class Playback:
    """Play a score ``speed`` times as fast as it was; ``speed`` is greater than 0.

    Times are seconds since the beginning of the playing; they do not go back.
    """

    def __init__(self, score: Score, speed: float = 1.0) -> None:
        self._cues = score.cues
        self._dues_s = [cue.due_ms / 1000.0 / speed for cue in score.cues]
        self._speed = speed
        self._next = 0
        self._at_ms = 0.0

    @property
    def is_over(self) -> bool:
        """Return whether everything has been played."""
        return self._next == len(self._cues)

    @property
    def at_ms(self) -> float:
        """Return which moment of the recording is being played, ms."""
        return self._at_ms

    def advance(self, seconds: float, most: int | None = None) -> tuple[Cue, ...]:
        """Return what is due by now and was not before, at most so many; move on to there."""
        end = bisect_right(self._dues_s, seconds, lo=self._next)
        if most is not None and end > self._next + most:
            end = self._next + most
            seconds = self._dues_s[end - 1]
        due = self._cues[self._next : end]
        self._next = end
        if end:
            since_s = 0.0 if self.is_over else seconds - self._dues_s[end - 1]
            # A pause of which a part is left out is as long as ever at its beginning.
            self._at_ms = self._cues[end - 1].at_ms + since_s * 1000.0 * self._speed
        return due

    def wait_s(self, seconds: float) -> float:
        """Return how long nothing will be due, 0 or more; there must be more to come."""
        return min(_LONGEST_WAIT_S, max(0.0, self._dues_s[self._next] - seconds))
