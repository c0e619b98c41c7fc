"""Follow a meeting from the events of its speakers' sessions: moods, shares, who spoke over whom.

Pure, and deterministic from the events alone: the same events, published at the same times of
the meeting's clock, give the same moods whether they come live or from a file. The sound of an
event is placed on that clock at ``at_ms - lag_ms``. Memory is bounded, whatever comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from streamser.emotion.finished import FinishedLog
from streamser.emotion.mood import Mood, MoodState
from streamser.emotion.overlap import Overlap
from streamser.events import (
    Cleared,
    EmotionBody,
    EmotionCompleted,
    Event,
    Finished,
    MeetingState,
    MeetingUpdated,
    MoodBody,
    MoodShifted,
    SessionClosed,
    SessionCreated,
    SessionUpdated,
    SpeakerState,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
    decode_event,
)
from streamser.taxonomy import Dimensions

__all__ = ["FinishedLog", "MeetingEvent", "MeetingMood", "recall", "replay"]

MeetingEvent: TypeAlias = MeetingUpdated | MoodShifted

_PLACES: Final = 4  # decimal places of what is judged, as in the sessions' own events
_GONE: Final = 64  # speakers listed after they have left
_SESSIONS: Final = 1_000  # far more than talk at once; some never say that they are over
_PENDING: Final = 1_000  # utterances of a session whose finals are still on their way


class _Speaker:
    """Keep what is known of one name."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.speech_ms = 0
        self.utterances = 0
        self.mood = Mood(seconds)
        self.body: MoodBody | None = None

    def update(self, emotion: EmotionBody, at_ms: int) -> MoodState:
        length = emotion.window.end_ms - emotion.window.start_ms
        state = self.mood.update(emotion, at_ms, length)
        self.body = _body(state)
        return state


class _Open(msgspec.Struct, frozen=True):
    """Hold where an open utterance began, in ms of audio and of the meeting."""

    audio_ms: int
    at_ms: int


class _Session(msgspec.Struct, eq=False):
    """Keep one session: who speaks in it, and what is not finished.

    ``pending`` are the utterances that are over, with whoever spoke, until their finals come.
    """

    speaker: _Speaker
    named: bool
    open: _Open | None = None
    pending: dict[str, _Speaker] = msgspec.field(default_factory=dict)


class MeetingMood:
    """Follow the mood of a meeting and of each of its speakers.

    A speaker is a name, or a session that has none; sessions of one name are one speaker.
    ``seconds`` is the time constant of all moods. ``finals`` is how many finished utterances
    are remembered.
    """

    def __init__(self, meeting: str, seconds: float = 30.0, *, finals: int = 200) -> None:
        self._meeting = meeting
        self._seconds = seconds
        self._everybody = _Speaker(meeting, seconds)
        self._speakers: dict[str, _Speaker] = {}
        self._gone: dict[str, None] = {}
        self._sessions: dict[str, _Session] = {}
        self._overlap = Overlap()
        self._log = FinishedLog(finals)
        self._told = 0

    def take(self, event: Event, at_ms: int) -> list[MeetingEvent]:
        """Take in the next event of a session, published at ``at_ms`` of the meeting's clock.

        After a final: what the meeting is like now, and which moods have changed their names.
        """
        place = round(at_ms - (event.lag_ms or 0.0))
        match event:
            case SessionCreated(session=info) | SessionUpdated(session=info):
                self._join(event.session_id, info.speaker)
            case SpeechStarted(audio_start_ms=start):
                self._session(event.session_id).open = _Open(start, place)
            case SpeechStopped(item_id=item_id, audio_end_ms=end):
                session = self._session(event.session_id)
                if self._stop(session, end, place):
                    session.pending[item_id] = session.speaker
                    if len(session.pending) > _PENDING:
                        del session.pending[next(iter(session.pending))]
            case Cleared():
                self._session(event.session_id).open = None
            case SessionClosed(audio_ms=end) if event.session_id in self._sessions:
                self._stop(self._sessions[event.session_id], end, place)
                self._leave(self._sessions.pop(event.session_id).speaker)
            case TranscriptionCompleted():
                self._remember(event, at_ms)
            case EmotionCompleted(emotion=emotion):
                self._remember(event, at_ms)
                window = emotion.window
                speaker = self._count(event, window.start_ms, window.end_ms, place)
                moods = [who.update(emotion, place) for who in (speaker, self._everybody)]
                shifts = zip((speaker.name, None), moods, strict=True)
                return [self._updated(at_ms), *self._shifted(shifts, at_ms)]
            case TranscriptionFailed(audio_start_ms=start, audio_end_ms=end):
                self._remember(event, at_ms)
                self._count(event, start, end, place)
                return [self._updated(at_ms)]
        return []

    def state(self, at_ms: int) -> MeetingState:
        """Return the meeting as it is at ``at_ms`` of its clock."""
        return MeetingState(
            meeting=self._meeting,
            at_ms=at_ms,
            mood=self._everybody.body,
            speakers=self._list_speakers(),
            overlap_ms=self._overlap.total_ms,
        )

    def finals(self) -> tuple[Finished, ...]:
        """Return the last finished utterances, the oldest first."""
        return self._log.finals

    # Who is there

    def _session(self, session_id: str) -> _Session:
        if session_id not in self._sessions:
            return self._join(session_id, None)
        session = self._sessions.pop(session_id)
        self._sessions[session_id] = session  # in the order of their last signs of life
        return session

    def _join(self, session_id: str, name: str | None) -> _Session:
        key = session_id if name is None else name
        speaker = self._speakers.setdefault(key, _Speaker(key, self._seconds))
        self._gone.pop(key, None)
        session = self._sessions.pop(session_id, None) or _Session(speaker, False)
        self._sessions[session_id] = session
        before, session.speaker, session.named = session.speaker, speaker, name is not None
        if before is not speaker:
            self._leave(before)
        while len(self._sessions) > _SESSIONS:
            self._leave(self._sessions.pop(next(iter(self._sessions))).speaker)
        return session

    def _leave(self, speaker: _Speaker) -> None:
        """Note that a speaker has one session fewer."""
        if any(session.speaker is speaker for session in self._sessions.values()):
            return
        # Somebody who never said a word leaves no trace.
        if not (speaker.speech_ms or speaker.utterances):
            del self._speakers[speaker.name]
            return
        self._gone[speaker.name] = None
        if len(self._gone) > _GONE:
            name = next(iter(self._gone))
            del self._gone[name], self._speakers[name]

    # What they say

    def _stop(self, session: _Session, end: int, place: int) -> bool:
        """End the open utterance, if there is one, ``end`` ms of audio having been heard."""
        begun, session.open = session.open, None
        if begun is None:
            return False
        length = max(0, end - begun.audio_ms)
        session.speaker.speech_ms += length
        # Sound that came faster than real time took less of the meeting's time than it is
        # long; of sound that came after a gap in the line, nobody knows when it was spoken.
        self._overlap.add(session.speaker.name, max(begun.at_ms, place - length), place)
        return True

    def _remember(self, event: Event, at_ms: int) -> None:
        session = self._session(event.session_id)
        speaker = session.speaker.name if session.named else None
        self._log.take(event, self._meeting, speaker, at_ms)

    def _count(
        self, event: EmotionCompleted | TranscriptionFailed, start: int, end: int, place: int
    ) -> _Speaker:
        """Count an utterance, from ``start`` to ``end`` of the audio, and say whose it was."""
        session = self._session(event.session_id)
        speaker = session.pending.pop(event.item_id, None)
        if speaker is None:
            # Nobody said when it began and stopped: the client cuts the utterances itself.
            speaker, length = session.speaker, max(0, end - start)
            speaker.speech_ms += length
            self._overlap.add(speaker.name, place - length, place)
        speaker.utterances += 1
        return speaker

    # What is told

    def _updated(self, at_ms: int) -> MeetingUpdated:
        now = msgspec.structs.asdict(self.state(at_ms))
        return MeetingUpdated(event_id=self._event_id(), **now)

    def _shifted(
        self, moods: Iterable[tuple[str | None, MoodState]], at_ms: int
    ) -> Iterator[MoodShifted]:
        for speaker, mood in moods:
            if mood.shift and mood.previous is not None:
                yield MoodShifted(
                    event_id=self._event_id(),
                    meeting=self._meeting,
                    at_ms=at_ms,
                    speaker=speaker,
                    category=mood.category,
                    previous=mood.previous,
                )

    def _event_id(self) -> str:
        self._told += 1
        return f"event_meeting_{self._meeting}_{self._told}"

    def _list_speakers(self) -> tuple[SpeakerState, ...]:
        speaking = {s.speaker.name for s in self._sessions.values() if s.open is not None}
        total = sum(speaker.speech_ms for speaker in self._speakers.values())
        return tuple(
            SpeakerState(
                speaker=speaker.name,
                speaking=speaker.name in speaking,
                speech_ms=speaker.speech_ms,
                share=round(speaker.speech_ms / total, _PLACES) if total else 0.0,
                utterances=speaker.utterances,
                mood=speaker.body,
            )
            for speaker in self._speakers.values()
        )


def replay(meeting: MeetingMood, events: Iterable[tuple[Event, int]]) -> list[MeetingEvent]:
    """Let a meeting take in events with their times, and return everything it told."""
    return [told for event, at_ms in events for told in meeting.take(event, at_ms)]


class _Stamped(msgspec.Struct, frozen=True):
    at_ms: int | None = None


def recall(lines: Iterable[bytes | str]) -> Iterator[tuple[Event, int]]:
    """Decode lines of JSON into sessions' events with their times on the meeting's clock.

    A listener's lines say when they were published. Otherwise the meeting's clock is that of
    the audio: an event was published ``lag_ms`` after the sound that it speaks of, one that
    speaks of none together with the one before. What is no session's event is passed over.
    Raises ``msgspec.ValidationError`` for an unknown type.
    """
    last = 0
    for line in lines:
        event = decode_event(line)
        if not isinstance(event, Event):
            continue
        at_ms = msgspec.json.decode(line, type=_Stamped).at_ms
        if at_ms is None and event.clock_ms is not None:
            at_ms = round(event.clock_ms + (event.lag_ms or 0.0))
        last = last if at_ms is None else at_ms
        yield event, last


def _body(state: MoodState) -> MoodBody:
    dimensions = (state.dimensions.valence, state.dimensions.arousal, state.dimensions.dominance)
    return MoodBody(
        category=state.category,
        scores={name: round(score, _PLACES) for name, score in state.scores.items()},
        dimensions=Dimensions(*(None if x is None else round(x, _PLACES) for x in dimensions)),
    )
