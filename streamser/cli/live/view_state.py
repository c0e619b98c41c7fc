"""What a terminal shows of one session, or of a played meeting: pure states moved by events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from streamser import events
from streamser.export.replay import Playlist
from streamser.export.utterances import Utterance, name_of, read_utterance
from streamser.server.meetings.meeting import MeetingMood
from streamser.text import printable, visible

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

FLOOR_DB = -60.0
"""The lowest level that is shown."""

_FALL_DB_PER_S = 26.0
_PEAK_HOLD_S = 1.2

Speech = Literal["silent", "speaking", "thinking"]


class Level(msgspec.Struct, frozen=True):
    """Hold what a level meter shows; levels in dBFS, times in seconds of audio.

    ``rms_db`` rises at once and falls at 26 dB/s; ``peak_db`` is held for 1.2 s.
    """

    rms_db: float = FLOOR_DB
    peak_db: float = FLOOR_DB
    peak_at: float = 0.0
    seconds: float = 0.0


class Played(msgspec.Struct, frozen=True):
    """Hold where the playing of a recording is, which is shown in place of the sound's level."""

    at_ms: float
    length_ms: int
    speed: float


class ViewState(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the view shows below the finished utterances.

    ``speaker`` is who says what is being said, where there are several. ``alone`` are readings
    of the voice alone, of utterances whose words are awaited.
    """

    source: str
    models: str = ""
    transcribed: bool = True
    speaking: bool = False
    waiting: int = 0
    committed: str = ""
    revisable: str = ""
    delta: events.EmotionBody | None = None
    alone: tuple[events.EmotionProvisional, ...] = ()
    mood: events.MoodUpdated | events.MoodBody | None = None
    dropped: str = ""
    speaker: str = ""
    played: Played | None = None
    finished: Utterance | None = None
    """The utterance that the last event finished, if it finished one."""

    @property
    def speech(self) -> Speech:
        """Return what is going on: somebody speaks, the models think, or neither."""
        return "speaking" if self.speaking else "thinking" if self.waiting else "silent"


def hear(level: Level, samples: Samples) -> Level:
    """Move the level meter on by mono samples at 16 kHz."""
    if not len(samples):
        return level
    lasted = len(samples) / 16_000
    rms = _decibels(math.sqrt(float(samples @ samples) / len(samples)))
    peak = _decibels(float(abs(samples).max()))
    now = level.seconds + lasted
    falling = level.rms_db - _FALL_DB_PER_S * lasted
    held = now - level.peak_at < _PEAK_HOLD_S and level.peak_db > peak
    return Level(
        rms_db=max(rms, falling, FLOOR_DB),
        peak_db=level.peak_db if held else peak,
        peak_at=level.peak_at if held else now,
        seconds=now,
    )


def update(state: ViewState, event: events.Event) -> ViewState:
    """Return the state after an event."""
    finished = read_utterance(event, transcribed=state.transcribed)
    if finished is not None and (voice := _voice_of(event)) is not None:
        finished = msgspec.structs.replace(finished, speaker=voice)
    changes: dict[str, object] = {"finished": finished}
    if finished is not None:
        changes["waiting"] = max(0, state.waiting - 1)
        changes["alone"] = tuple(one for one in state.alone if one.item_id != finished.item_id)
        if not state.speaking:
            changes |= {"committed": "", "revisable": "", "delta": None}
    match event:
        case events.SessionCreated():
            models = event.session.models
            words = models.asr or "no words"
            if models.asr_arithmetic:
                words += f" in {models.asr_arithmetic}"
            names = [models.vad, words, models.emotion]
            changes |= {"models": " · ".join(names), "transcribed": models.asr is not None}
            # A server that was restarted begins anew, and will say nothing more of before.
            changes |= {"speaking": False, "waiting": 0, "committed": "", "revisable": ""}
            changes |= {"delta": None, "alone": ()}
        case events.SpeechStarted():
            changes |= {"speaking": True, "committed": "", "revisable": "", "delta": None}
        case events.SpeechStopped():
            changes["speaking"] = False
        case events.Committed():
            changes["waiting"] = state.waiting + 1
        case events.TranscriptPartial():
            changes |= {"committed": event.committed, "revisable": event.revisable}
        case events.EmotionDelta():
            changes["delta"] = event.emotion
        case events.EmotionProvisional():
            changes["alone"] = (*state.alone, event)
            if not state.speaking:
                changes["delta"] = None
        case events.MoodUpdated():
            changes["mood"] = event
        case events.Overload(kind="partials"):
            changes["dropped"] = f"{event.total} readings left out to keep up"
        case events.Overload(kind="audio"):
            changes["dropped"] = f"{event.total} ms of sound lost"
        case events.SessionClosed():
            changes |= {"speaking": False, "waiting": 0, "alone": ()}
    return msgspec.structs.replace(state, **changes)


def _decibels(amplitude: float) -> float:
    return max(FLOOR_DB, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB


class PlaybackView:
    """Follow the sessions of a score, one or several.

    One is shown as it was live, with the mood that its events tell. Of several, whoever speaks
    stands in front; utterances have names, and the mood is that of their meeting. Times are
    then those of the meeting.
    """

    def __init__(self, source: str, score: Playlist, speed: float, mood_seconds: float) -> None:
        self._length_ms = score.length_ms
        self._speed = speed
        self._source = printable(source)
        self._meeting: MeetingMood | None = None
        if len(score.sessions) > 1:
            self._meeting = MeetingMood(printable(score.meeting or ""), mood_seconds)
        self._mood: events.MoodBody | None = None
        self._states: dict[str, ViewState] = {}
        self._names: dict[str, str] = {}
        self._front = printable(score.sessions[0])
        self.finished = 0

    def update(self, event: events.Event, at_ms: int) -> ViewState:
        """Take in the next event, told at ``at_ms`` of the recording; return what to show."""
        event = visible(event)
        session_id = event.session_id
        before = self._states.get(session_id, ViewState(source=self._source))
        state = self._states[session_id] = update(before, event)
        self.finished += state.finished is not None
        if self._meeting is None:
            self._front = session_id
            return self._placed(state, at_ms)
        if isinstance(event, events.SessionCreated | events.SessionUpdated):
            self._names[session_id] = event.session.speaker or session_id
        for told in self._meeting.take(event, at_ms):
            if isinstance(told, events.MeetingUpdated):
                self._mood = told.mood
        front = self._states.get(self._front)
        if isinstance(event, events.SpeechStarted) or front is None or front.speech == "silent":
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
        event: events.Event | None = None,
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


def _voice_of(event: events.Event) -> str | None:
    """Return whose voice a session takes an utterance for, where nobody has said who speaks."""
    emotion = getattr(event, "emotion", None)
    return name_of(emotion) if emotion is not None and emotion.speaker_provisional else None
