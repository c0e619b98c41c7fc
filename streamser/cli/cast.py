"""Everybody in a recording, in one picture: a pure state moved by events."""

from __future__ import annotations

import msgspec

from streamser.cli.view import Played, ViewState, update
from streamser.events import (
    Event,
    MeetingUpdated,
    MoodBody,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
)
from streamser.replay.score import Score
from streamser.server.meeting import MeetingMood
from streamser.visible import printable, visible

__all__ = ["Cast"]


class Cast:
    """Follow the sessions of a score, one or several.

    One is shown as it was live, with the mood that its events tell. Of several, whoever speaks
    stands in front; utterances have names, and the mood is that of their meeting. Times are
    then those of the meeting.
    """

    def __init__(self, source: str, score: Score, speed: float, mood_seconds: float) -> None:
        self._length_ms = score.length_ms
        self._speed = speed
        self._source = printable(source)
        self._meeting: MeetingMood | None = None
        if len(score.sessions) > 1:
            self._meeting = MeetingMood(printable(score.meeting or ""), mood_seconds)
        self._mood: MoodBody | None = None
        self._states: dict[str, ViewState] = {}
        self._names: dict[str, str] = {}
        self._front = printable(score.sessions[0])
        self.finished = 0

    def take(self, event: Event, at_ms: int) -> ViewState:
        """Take in the next event, told at ``at_ms`` of the recording; return what to show."""
        event = visible(event)
        session_id = event.session_id
        before = self._states.get(session_id, ViewState(source=self._source))
        state = self._states[session_id] = update(before, event)
        self.finished += state.finished is not None
        if self._meeting is None:
            self._front = session_id
            return self._placed(state, at_ms)
        if isinstance(event, SessionCreated | SessionUpdated):
            self._names[session_id] = event.session.speaker or session_id
        for told in self._meeting.take(event, at_ms):
            if isinstance(told, MeetingUpdated):
                self._mood = told.mood
        front = self._states.get(self._front)
        if isinstance(event, SpeechStarted) or front is None or front.speech == "silent":
            self._front = session_id
        return self._placed(self._in_front(), at_ms, state, event)

    def wait(self, at_ms: float) -> ViewState:
        """Return what to show while nothing happens."""
        state = self._states.get(self._front, ViewState(source=self._source))
        shown = state if self._meeting is None else self._in_front()
        return msgspec.structs.replace(self._placed(shown, at_ms), finished=None)

    def _in_front(self) -> ViewState:
        return msgspec.structs.replace(
            self._states[self._front],
            mood=self._mood,
            speaker=self._names.get(self._front, self._front),
        )

    def _placed(
        self,
        shown: ViewState,
        at_ms: float,
        state: ViewState | None = None,
        event: Event | None = None,
    ) -> ViewState:
        played = Played(at_ms, self._length_ms, self._speed)
        if state is None or event is None:
            return msgspec.structs.replace(shown, played=played)
        finished = state.finished
        if finished is not None:
            # Each session has a clock of its own; the meeting's says when it was.
            by = round(at_ms - (event.lag_ms or 0.0)) - finished.end_ms
            finished = msgspec.structs.replace(
                finished,
                speaker=_voice_of(event) or self._names.get(event.session_id, event.session_id),
                start_ms=max(0, finished.start_ms + by),
                end_ms=max(0, finished.end_ms + by),
            )
        return msgspec.structs.replace(shown, played=played, finished=finished)


def _voice_of(event: Event) -> str | None:
    """Return whose voice a session takes an utterance for, where nobody has said who speaks."""
    emotion = getattr(event, "emotion", None)
    return emotion.speaker if emotion is not None and emotion.speaker_provisional else None
