"""Follow a meeting from the events of its speakers' sessions: moods, shares, who spoke over whom.

Pure, and deterministic from the events alone: the same events, published at the same times of
the meeting's clock, give the same moods whether they come live or from a file. The sound of an
event is placed on that clock at ``at_ms - lag_ms``. Memory is bounded, whatever comes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from streamser import events
from streamser.emotion.mood import Mood, MoodState
from streamser.taxonomy import Dimensions

_REACH_MS: Final = 600_000  # how late a stretch may be told, measured from the latest end
_PIECES: Final = 1_000  # more than ten lively speakers make in that time


class _Piece(msgspec.Struct, frozen=True):
    """Hold a time in which the same people spoke, ms; ``end`` is no longer in it."""

    start: int
    end: int
    names: frozenset[str]


class Overlap:
    """Add up the time in which at least two names spoke.

    What is told of one name twice counts once. Time that lies so far back that it is no longer
    remembered is settled: what is told of it later does not count. Memory is bounded.
    """

    def __init__(self) -> None:
        self.total_ms = 0
        self._pieces: list[_Piece] = []  # disjoint, in order
        self._settled: int | None = None  # before it, nothing is remembered

    def add(self, name: str, start: int, end: int) -> None:
        """Take in that ``name`` spoke from ``start`` to ``end``, in ms of any common clock."""
        if self._settled is not None:
            start = max(start, self._settled)
        if start >= end:
            return
        first = bisect_right(self._pieces, start, key=lambda piece: piece.end)
        last = bisect_left(self._pieces, end, key=lambda piece: piece.start)
        self._pieces[first:last] = self._cut(name, start, end, self._pieces[first:last])
        self._forget()

    def _cut(self, name: str, start: int, end: int, touched: list[_Piece]) -> list[_Piece]:
        """Cut the pieces that a stretch touches at its ends, and fill the gaps between them."""
        cut: list[_Piece] = []
        at = start
        for piece in touched:
            if piece.start < start:
                cut.append(_Piece(piece.start, start, piece.names))
            if at < piece.start:
                cut.append(_Piece(at, piece.start, frozenset({name})))
            begin, at = max(piece.start, start), min(piece.end, end)
            if len(piece.names) == 1 and name not in piece.names:
                self.total_ms += at - begin
            cut.append(_Piece(begin, at, piece.names | {name}))
            if end < piece.end:
                cut.append(_Piece(end, piece.end, piece.names))
        if at < end:
            cut.append(_Piece(at, end, frozenset({name})))
        return cut

    def _forget(self) -> None:
        pieces = self._pieces
        horizon = pieces[-1].end - _REACH_MS
        old = max(0, len(pieces) - _PIECES)
        while pieces[old].end <= horizon:
            old += 1
        if old:
            self._settled = pieces[old - 1].end
            del pieces[:old]


MeetingEvent: TypeAlias = events.MeetingUpdated | events.MoodShifted

_PLACES: Final = 4  # decimal places of what is judged, as in the sessions' own events
_GONE: Final = 64  # speakers listed after they have left
_LISTED: Final = 32  # speakers in one event
_SESSIONS: Final = 1_000  # far more than talk at once; some never say that they are over
_PENDING: Final = 1_000  # utterances of a session whose finals are still on their way
_AWAITED: Final = 100  # readings that are not final: all of them are counted at each telling
_VOICES: Final = 64  # told apart in a session; no setting lets there be more


class _Speaker:
    """Keep what is known of one name, or of one voice told apart in a session that has none.

    ``stream`` numbers the sessions that tell voices apart, from 1: what one calls ``speaker 1``
    is nobody whom another calls so, nor anybody named so (0).
    """

    def __init__(self, name: str, seconds: float, stream: int = 0) -> None:
        self.key = (name, stream)
        self.name = name if stream <= 1 else f"{name} (stream {stream})"
        self.provisional = stream > 0
        self.speech_ms = 0
        self.utterances = 0
        self.heard_ms = 0
        self.mood = Mood(seconds)
        self.body: events.MoodBody | None = None

    def update(self, emotion: events.EmotionBody, at_ms: int) -> MoodState:
        state = self.mood.update(*_heard(emotion, at_ms))
        self.body = _body(state)
        return state

    def preview(self, awaited: Collection[_Awaited]) -> events.MoodBody | None:
        """Return the mood as it would be if these readings were final."""
        if not awaited:
            return self.body
        return _body(self.mood.foresee(_heard(each.emotion, each.at_ms) for each in awaited))


class _Open(msgspec.Struct, frozen=True):
    """Hold where an open utterance began, in ms of audio and of the meeting."""

    audio_ms: int
    at_ms: int


class _Said(msgspec.Struct, frozen=True):
    """Hold whose speaking time an utterance was counted as, and how much."""

    speaker: _Speaker
    length_ms: int


class _Awaited(msgspec.Struct, frozen=True):
    """Hold what the voice alone said of an utterance whose final is on its way."""

    speaker: _Speaker
    emotion: events.EmotionBody
    at_ms: int


class _Session(msgspec.Struct, eq=False):
    """Keep one session: who speaks in it, and what is not finished.

    ``pending`` are the utterances that are over until their finals come. ``voices`` are those
    told apart in it, by label; ``stream`` is its number as soon as there are any.
    """

    speaker: _Speaker
    open: _Open | None = None
    pending: dict[str, _Said] = msgspec.field(default_factory=dict)
    voices: dict[str, _Speaker] = msgspec.field(default_factory=dict)
    stream: int = 0


class MeetingMood:
    """Follow the mood of a meeting and of each of its speakers.

    A speaker is a name, or a session that has none; sessions of one name are one speaker. Where
    a session guesses by their voices who speaks, an utterance is its session's until the final
    says whose; then it is, speaking time and all, of a provisional speaker. The first session of
    a meeting to guess gives its labels as they are (``speaker 1``); those of others are told
    with a number (``speaker 1 (stream 2)``), since one label of two microphones is not one
    person. Two voices of one session do not overlap: it hears one utterance at a time.

    A provisional reading is counted in moods as if it were the final, and for nothing else; the
    final takes its place, as does a failure, with nothing. No mood shifts before the final.
    ``seconds`` is the time constant of all moods.
    """

    def __init__(self, meeting: str, seconds: float = 30.0) -> None:
        self._meeting = meeting
        self._seconds = seconds
        self._everybody = _Speaker(meeting, seconds)
        self._speakers: dict[tuple[str, int], _Speaker] = {}
        self._gone: dict[tuple[str, int], None] = {}
        self._streams = 0
        self._sessions: dict[str, _Session] = {}
        self._awaited: dict[tuple[str, str], _Awaited] = {}
        self._overlap = Overlap()
        self._told = 0

    def take(self, event: events.Event, at_ms: int) -> list[MeetingEvent]:
        """Take in the next event of a session, published at ``at_ms`` of the meeting's clock.

        After a final, or a provisional reading: what the meeting is like now; after a final
        also which moods have changed their names.
        """
        place = round(at_ms - (event.lag_ms or 0.0))
        match event:
            case events.SessionCreated(session=info) | events.SessionUpdated(session=info):
                self._join(event.session_id, info.speaker)
            case events.SpeechStarted(audio_start_ms=start):
                self._session(event.session_id).open = _Open(start, place)
            case events.SpeechStopped(item_id=item_id, audio_end_ms=end):
                session = self._session(event.session_id)
                if (said := self._stop(session, end, place)) is not None:
                    session.pending[item_id] = said
                    if len(session.pending) > _PENDING:
                        del session.pending[next(iter(session.pending))]
            case events.Cleared():
                self._session(event.session_id).open = None
            case events.SessionClosed(audio_ms=end) if event.session_id in self._sessions:
                self._stop(self._sessions[event.session_id], end, place)
                self._part(event.session_id)
            case events.EmotionProvisional(item_id=item_id, emotion=emotion):
                session = self._session(event.session_id)
                said = session.pending.get(item_id)
                speaker = session.speaker if said is None else said.speaker
                self._wait(event.session_id, item_id, _Awaited(speaker, emotion, place))
                return [self._updated(at_ms)]
            case events.EmotionCompleted(emotion=emotion):
                window = emotion.window
                speaker = self._count(event, window.start_ms, window.end_ms, place, emotion)
                moods = [who.update(emotion, place) for who in (speaker, self._everybody)]
                shifts = zip((speaker.name, None), moods, strict=True)
                return [self._updated(at_ms), *self._shifted(shifts, at_ms)]
            case events.TranscriptionFailed(audio_start_ms=start, audio_end_ms=end):
                self._count(event, start, end, place)
                return [self._updated(at_ms)]
        return []

    def state(self, at_ms: int) -> events.MeetingState:
        """Return the meeting as it is at ``at_ms`` of its clock."""
        total = sum(speaker.speech_ms for speaker in self._speakers.values())
        listed = self._listed()
        rest = total - sum(speaker.speech_ms for speaker in listed)
        return events.MeetingState(
            meeting=self._meeting,
            at_ms=at_ms,
            mood=self._everybody.preview(self._awaited.values()),
            speakers=self._states(listed, total),
            more_speakers=len(self._speakers) - len(listed),
            more_speakers_share=_share(rest, total),
            overlap_ms=self._overlap.total_ms,
        )

    # Who is there

    def _session(self, session_id: str) -> _Session:
        if session_id not in self._sessions:
            return self._join(session_id, None)
        session = self._sessions.pop(session_id)
        self._sessions[session_id] = session  # in the order of their last signs of life
        return session

    def _join(self, session_id: str, name: str | None) -> _Session:
        fresh = _Speaker(session_id if name is None else name, self._seconds)
        speaker = self._speakers.setdefault(fresh.key, fresh)
        self._gone.pop(speaker.key, None)
        session = self._sessions.pop(session_id, None) or _Session(speaker)
        self._sessions[session_id] = session
        before, session.speaker = session.speaker, speaker
        if before is not speaker:
            self._leave(before)
        while len(self._sessions) > _SESSIONS:
            self._part(next(iter(self._sessions)))
        return session

    def _part(self, session_id: str) -> None:
        """Note that a session is over: nobody will be heard in it any more."""
        session = self._sessions.pop(session_id)
        for key in [key for key in self._awaited if key[0] == session_id]:
            del self._awaited[key]
        self._leave(session.speaker)
        for voice in session.voices.values():
            self._leave(voice)

    def _leave(self, speaker: _Speaker) -> None:
        """Note that a speaker has one session fewer."""
        if any(session.speaker is speaker for session in self._sessions.values()):
            return
        # Somebody who never said a word leaves no trace.
        if not (speaker.speech_ms or speaker.utterances):
            del self._speakers[speaker.key]
            return
        self._gone[speaker.key] = None
        if len(self._gone) > _GONE:
            key = next(iter(self._gone))
            del self._gone[key], self._speakers[key]

    # What they say

    def _stop(self, session: _Session, end: int, place: int) -> _Said | None:
        """End the open utterance, if there is one, ``end`` ms of audio having been heard."""
        begun, session.open = session.open, None
        if begun is None:
            return None
        length = max(0, end - begun.audio_ms)
        session.speaker.speech_ms += length
        session.speaker.heard_ms = place
        # Sound that came faster than real time took less of the meeting's time than it is
        # long; of sound that came after a gap in the line, nobody knows when it was spoken.
        self._overlap.add(session.speaker.name, max(begun.at_ms, place - length), place)
        return _Said(session.speaker, length)

    def _wait(self, session_id: str, item_id: str, reading: _Awaited) -> None:
        self._awaited[session_id, item_id] = reading
        if len(self._awaited) > _AWAITED:
            del self._awaited[next(iter(self._awaited))]

    def _count(
        self,
        event: events.EmotionCompleted | events.TranscriptionFailed,
        start: int,
        end: int,
        place: int,
        emotion: events.EmotionBody | None = None,
    ) -> _Speaker:
        """Count an utterance, from ``start`` to ``end`` of the audio, and say whose it was."""
        session = self._session(event.session_id)
        self._awaited.pop((event.session_id, event.item_id), None)
        said = session.pending.pop(event.item_id, None)
        if said is None:
            # Nobody said when it began and stopped: the client cuts the utterances itself.
            said = _Said(session.speaker, max(0, end - start))
            said.speaker.speech_ms += said.length_ms
            self._overlap.add(said.speaker.name, place - said.length_ms, place)
        speaker = said.speaker
        if emotion is not None and emotion.speaker is not None and emotion.speaker_provisional:
            speaker = self._voice(session, emotion.speaker) or speaker
            said.speaker.speech_ms -= said.length_ms
            speaker.speech_ms += said.length_ms
        speaker.utterances += 1
        speaker.heard_ms = place
        return speaker

    def _voice(self, session: _Session, label: str) -> _Speaker | None:
        """Return the provisional speaker that a session means; ``None`` if it means too many."""
        if label not in session.voices:
            if len(session.voices) >= _VOICES:
                return None
            if not session.stream:
                self._streams += 1
                session.stream = self._streams
            voice = _Speaker(label, self._seconds, session.stream)
            session.voices[label] = self._speakers[voice.key] = voice
        return session.voices[label]

    # What is told

    def _updated(self, at_ms: int) -> events.MeetingUpdated:
        now = msgspec.structs.asdict(self.state(at_ms))
        return events.MeetingUpdated(event_id=self._event_id(), **now)

    def _shifted(
        self, moods: Iterable[tuple[str | None, MoodState]], at_ms: int
    ) -> Iterator[events.MoodShifted]:
        for speaker, mood in moods:
            if mood.shift and mood.previous is not None:
                yield events.MoodShifted(
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

    def _states(self, speakers: Iterable[_Speaker], total: int) -> tuple[events.SpeakerState, ...]:
        speaking = {s.speaker.key for s in self._sessions.values() if s.open is not None}
        awaited: dict[tuple[str, int], list[_Awaited]] = {}
        for each in self._awaited.values():
            awaited.setdefault(each.speaker.key, []).append(each)
        return tuple(
            events.SpeakerState(
                speaker=speaker.name,
                provisional=speaker.provisional,
                speaking=speaker.key in speaking,
                speech_ms=speaker.speech_ms,
                share=_share(speaker.speech_ms, total),
                utterances=speaker.utterances,
                mood=speaker.preview(awaited.get(speaker.key, ())),
            )
            for speaker in speakers
        )

    def _listed(self) -> list[_Speaker]:
        """Return those present or heard last, no more than are told, as they joined."""
        everybody = list(self._speakers.values())
        if len(everybody) <= _LISTED:
            return everybody
        here = {session.speaker.key for session in self._sessions.values()}
        everybody.sort(key=lambda who: (who.key in here, who.heard_ms), reverse=True)
        chosen = {who.key for who in everybody[:_LISTED]}
        return [who for key, who in self._speakers.items() if key in chosen]


def _share(speech_ms: int, total: int) -> float:
    return round(speech_ms / total, _PLACES) if total else 0.0


def _heard(emotion: events.EmotionBody, at_ms: int) -> tuple[events.EmotionBody, int, int]:
    """Return a reading with its end on the meeting's clock, and its length."""
    return emotion, at_ms, emotion.window.end_ms - emotion.window.start_ms


def _body(state: MoodState) -> events.MoodBody:
    dimensions = (state.dimensions.valence, state.dimensions.arousal, state.dimensions.dominance)
    return events.MoodBody(
        category=state.category,
        scores={name: round(score, _PLACES) for name, score in state.scores.items()},
        dimensions=Dimensions(*(None if x is None else round(x, _PLACES) for x in dimensions)),
    )
