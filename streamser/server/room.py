"""A meeting on the server: its clock, its mood, and the voices it knows."""

from __future__ import annotations

import msgspec

from streamser.events import MeetingState
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.finished import FinishedLog
from streamser.server.meeting import MeetingMood

__all__ = ["FINALS", "LiveMeeting", "Room"]

FINALS = 200
"""Finished utterances that are remembered of a meeting."""

_VOICES = 256


class LiveMeeting(msgspec.Struct, frozen=True):
    """Say of a meeting what is to be known before one listens; ``at_ms``: its length so far."""

    meeting: str
    streams: int
    at_ms: int


class Room:
    """Keep a meeting from its first session until long after its last; pure."""

    def __init__(self, name: str, now: float, mood_seconds: float) -> None:
        self.name = name
        self.began = now
        self.mood = MeetingMood(name, mood_seconds)
        self.finals = FinishedLog(FINALS)
        self.voices: dict[str, SessionSnapshot] = {}
        self._inside = 0
        self._left = now

    def enter(self) -> None:
        """Count a session."""
        self._inside += 1

    def leave(self, now: float) -> None:
        """Count a session no more."""
        self._inside -= 1
        self._left = now

    @property
    def left(self) -> float | None:
        """Return when the last session has left; ``None`` while anybody is there."""
        return None if self._inside else self._left

    def is_over(self, now: float, keep_s: float) -> bool:
        """Return whether everybody has left for longer than it is kept."""
        return self._inside == 0 and now - self._left >= keep_s

    def state(self, now: float) -> MeetingState:
        """Return the meeting as it is now."""
        return self.mood.state(round((now - self.began) * 1000))

    def live(self, now: float) -> LiveMeeting:
        """Return how many streams are in it, and for how long it has gone on."""
        return LiveMeeting(self.name, self._inside, round((now - self.began) * 1000))

    def keep_voice(self, speaker: str, voice: SessionSnapshot) -> None:
        """Keep what was learnt of a speaker; the longest unheard is forgotten."""
        self.voices.pop(speaker, None)
        self.voices[speaker] = voice
        if len(self.voices) > _VOICES:
            del self.voices[next(iter(self.voices))]
