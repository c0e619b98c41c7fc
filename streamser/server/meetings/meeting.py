"""Follow a meeting from the events of its speakers' sessions: moods, shares, who spoke over whom.

Pure, and deterministic from the events alone: the same events, published at the same times of
the meeting's clock, give the same moods whether they come live or from a file. The sound of an
event is placed on that clock at ``at_ms - lag_ms``. Memory is bounded, whatever comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from streamser import events
from streamser.emotion.mood import MoodState, MoodTurn, RevisableMood, turn_of
from streamser.events import (
    EmotionCompleted,
    MeetingUpdated,
    MoodBody,
    MoodShifted,
    SpeakerPart,
    SpeakersChanged,
)
from streamser.export.utterances import UNCERTAIN, reread
from streamser.report.measures import Overlap
from streamser.taxonomy import Dimensions

MeetingEvent: TypeAlias = MeetingUpdated | MoodShifted

_PLACES: Final = 4  # decimal places of what is judged, as in the sessions' own events
_GONE: Final = 64  # speakers listed after they have left
_LISTED: Final = 32  # speakers in one event
_SESSIONS: Final = 1_000  # far more than talk at once; some never say that they are over
_PENDING: Final = 1_000  # utterances of a session whose finals are still on their way
_AWAITED: Final = 100  # readings that are not final: all of them are counted at each telling
_VOICES: Final = 64  # told apart in a session; no setting lets there be more
_COUNTED: Final = 500  # utterances that may still turn out to be somebody else's


class _Participant:
    """Keep what is known of one name, or of one voice told apart in a session that has none.

    ``stream`` numbers the sessions that tell voices apart, from 1: what one calls ``speaker 1``
    is nobody whom another calls so, nor anybody named so (0).
    """

    def __init__(self, name: str, seconds: float, stream: int = 0) -> None:
        self.stream = stream
        self.call(name)
        self.provisional = stream > 0
        self.speech_ms = 0
        self.utterances = 0
        self.heard_ms = 0
        self.mood = RevisableMood(seconds)
        self.body: MoodBody | None = None

    def call(self, name: str) -> None:
        """Give them a name."""
        self.key = (name, self.stream)
        self.name = name if self.stream <= 1 else f"{name} (stream {self.stream})"

    @property
    def is_nobody(self) -> bool:
        """Return whether it stands for all of whom nobody can tell who they are: no one's mood."""
        return self.provisional and self.key[0] == UNCERTAIN

    def update(self, turn: MoodTurn | None, number: int) -> MoodState:
        state = self.mood.add(number, turn)
        self.body = None if self.is_nobody else _body(state)
        return state

    def revise(self) -> None:
        """Learn that turns have come or gone."""
        state = self.mood.latest()
        self.body = None if state is None or self.is_nobody else _body(state)

    def absorb(self, other: _Participant) -> None:
        """Be another as well, from the beginning."""
        self.mood.absorb(other.mood)
        self.speech_ms += other.speech_ms
        self.utterances += other.utterances
        self.heard_ms = max(self.heard_ms, other.heard_ms)
        self.revise()

    def preview(self, awaited: Collection[_Awaited]) -> MoodBody | None:
        """Return the mood as it would be if these readings were final."""
        if not awaited:
            return self.body
        state = self.mood.latest(_heard(each.emotion, each.at_ms) for each in awaited)
        return None if state is None else _body(state)


class _Open(msgspec.Struct, frozen=True):
    """Hold where an open utterance began, in ms of audio and of the meeting."""

    audio_ms: int
    at_ms: int


class _Said(msgspec.Struct, frozen=True):
    """Hold whose speaking time an utterance was counted as, and how much."""

    speaker: _Participant
    length_ms: int


class _Counted(msgspec.Struct, eq=False):
    """Hold whose an utterance was counted as: their turns in moods, and speaking times.

    ``number`` is that of all these turns; ``turn`` is that of the whole, ``None`` where it could
    not be read. ``parts`` are as they were told; ``shift_ms`` moves them to the meeting's clock.
    """

    number: int
    speaker: _Participant
    turn: MoodTurn | None
    parts: tuple[SpeakerPart, ...]
    shift_ms: int
    lengths: dict[_Participant, int] = {}
    turns: dict[_Participant, MoodTurn] = {}

    def become(self, speaker: _Participant, other: _Participant) -> None:
        """Be of another who is the same person."""
        if self.speaker is speaker:
            self.speaker = other
        if speaker in self.lengths:
            self.lengths[other] = self.lengths.get(other, 0) + self.lengths.pop(speaker)
        if speaker in self.turns:
            self.turns[other] = self.turns.pop(speaker)

    def take_away(self) -> None:
        """Let it be nobody's."""
        self.speaker.utterances -= 1
        for who, length in self.lengths.items():
            who.speech_ms -= length
        for who in self.turns:
            who.mood.remove(self.number)
            who.revise()

    def give(
        self, lengths: dict[_Participant, int], turns: dict[_Participant, MoodTurn]
    ) -> list[tuple[_Participant, MoodState]]:
        """Let it be its speaker's, and theirs who speak in it besides; return their moods."""
        self.lengths, self.turns = lengths, turns
        self.speaker.utterances += 1
        for who, length in lengths.items():
            who.speech_ms += length
        return [(who, who.update(turn, self.number)) for who, turn in turns.items()]


class _Awaited(msgspec.Struct, frozen=True):
    """Hold what the voice alone said of an utterance whose final is on its way."""

    speaker: _Participant
    emotion: events.EmotionBody
    at_ms: int


class _Session(msgspec.Struct, eq=False):
    """Keep one session: who speaks in it, and what is not finished.

    ``pending`` are the utterances that are over until their finals come. ``voices`` are those
    told apart in it, by label; ``stream`` is its number as soon as there are any.
    """

    speaker: _Participant
    open: _Open | None = None
    pending: dict[str, _Said] = msgspec.field(default_factory=dict)
    voices: dict[str, _Participant] = msgspec.field(default_factory=dict)
    stream: int = 0


class MeetingMood:
    """Follow the mood of a meeting and of each of its speakers.

    A speaker is a name, or a session that has none; sessions of one name are one speaker. Where
    a session guesses by their voices who speaks, an utterance is its session's until the final
    says whose; then it is, speaking time and all, of a provisional speaker. The first session of
    a meeting to guess gives its labels as they are (``speaker 1``); those of others are told
    with a number (``speaker 1 (stream 2)``), since one label of two microphones is not one
    person. Two voices of one session do not overlap: it hears one utterance at a time. What
    turns out to be somebody else's goes over to them, with its turn in their mood; that of
    everybody is none the other for it. Where nobody can tell whose it is, it is of no one's mood.

    A provisional reading is counted in moods as if it were the final, and for nothing else; the
    final takes its place, as does a failure, with nothing. No mood shifts before the final.
    ``seconds`` is the time constant of all moods.
    """

    def __init__(self, meeting: str, seconds: float = 30.0) -> None:
        self._meeting = meeting
        self._seconds = seconds
        self._everybody = _Participant(meeting, seconds)
        self._speakers: dict[tuple[str, int], _Participant] = {}
        self._gone: dict[tuple[str, int], None] = {}
        self._streams = 0
        self._sessions: dict[str, _Session] = {}
        self._awaited: dict[tuple[str, str], _Awaited] = {}
        self._counted: dict[tuple[str, str], _Counted] = {}
        self._overlap = Overlap()
        self._told = self._turns = 0

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
                moods = self._count(event, window.start_ms, window.end_ms, place, emotion)
                return [self._updated(at_ms), *self._shifted(moods, at_ms)]
            case events.SpeakersChanged() if event.session_id in self._sessions:
                self._revise(event)
                return [self._updated(at_ms)]
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
        fresh = _Participant(session_id if name is None else name, self._seconds)
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

    def _leave(self, speaker: _Participant) -> None:
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
    ) -> list[tuple[_Participant, MoodState]]:
        """Count an utterance, from ``start`` to ``end`` of the audio; return whose moods moved."""
        session = self._session(event.session_id)
        self._awaited.pop((event.session_id, event.item_id), None)
        said = session.pending.pop(event.item_id, None)
        if said is None:
            # Nobody said when it began and stopped: the client cuts the utterances itself.
            said = _Said(session.speaker, max(0, end - start))
            said.speaker.speech_ms += said.length_ms
            self._overlap.add(said.speaker.name, place - said.length_ms, place)
        speaker = said.speaker
        turn = None if emotion is None else turn_of(*_heard(emotion, place))
        if emotion is not None and emotion.speaker_provisional:
            speaker = self._voice(session, emotion.speaker) or speaker
        parts = event.parts if isinstance(event, EmotionCompleted) else ()
        said.speaker.speech_ms -= said.length_ms
        self._turns += 1
        counted = _Counted(self._turns, speaker, turn, parts, place - end)
        moods = self._give(session, counted, parts, said.length_ms)
        if emotion is not None:
            moods.append((self._everybody, self._everybody.update(turn, self._turns)))
            self._everybody.mood.settle(self._turns)
        speaker.heard_ms = place
        self._counted[event.session_id, event.item_id] = counted
        if len(self._counted) > _COUNTED:
            settled = self._counted.pop(next(iter(self._counted)))
            for who in settled.turns:
                who.mood.settle(settled.number)
        return moods

    def _give(
        self, session: _Session, counted: _Counted, parts: tuple[SpeakerPart, ...], length: int
    ) -> list[tuple[_Participant, MoodState]]:
        """Share an utterance out among those who speak in it: of each the longest that was read."""
        turns = {} if counted.turn is None else {counted.speaker: counted.turn}
        for part in sorted(parts, key=lambda each: each.end_ms - each.start_ms):
            length_ms, at_ms = part.end_ms - part.start_ms, part.end_ms + counted.shift_ms
            if part.emotion is not None and (turn := turn_of(part.emotion, at_ms, length_ms)):
                turns[self._voice(session, part.speaker) or counted.speaker] = turn
        return counted.give(self._shared(session, counted.speaker, parts, length), turns)

    def _shared(
        self, session: _Session, speaker: _Participant, parts: tuple[SpeakerPart, ...], length: int
    ) -> dict[_Participant, int]:
        """Share the length of an utterance out among those who speak in it."""
        whole = sum(part.end_ms - part.start_ms for part in parts)
        lengths = {speaker: length}
        for part in parts:
            who = self._voice(session, part.speaker) or speaker
            of_it = round(length * (part.end_ms - part.start_ms) / whole) if whole > 0 else 0
            lengths[who] = lengths.get(who, 0) + of_it
            lengths[speaker] -= of_it
        return lengths

    def _revise(self, event: SpeakersChanged) -> None:
        """Let what was counted be of whom it is after all."""
        session = self._session(event.session_id)
        voices = session.voices
        moved = {old: voices.pop(old) for old in event.renamed if old in voices}
        for old, voice in moved.items():
            into = voices.setdefault(event.renamed[old], voice)
            if into is voice:
                voice.call(event.renamed[old])
                continue
            into.absorb(voice)
            for each in self._counted.values():
                each.become(voice, into)
        lost = set(moved.values()) - set(voices.values())
        for change in event.changes:
            counted = self._counted.get((event.session_id, change.item_id))
            if counted is None:
                continue
            length = sum(counted.lengths.values())
            lost |= {who for who in counted.lengths if who.provisional}
            counted.take_away()
            counted.speaker = self._voice(session, change.speaker) or session.speaker
            self._give(session, counted, reread(change.parts, counted.parts), length)
        for label, voice in list(voices.items()):
            if voice in lost and not (voice.speech_ms or voice.utterances):
                del voices[label]
        here = set(voices.values())
        self._speakers = {
            who.key: who for who in self._speakers.values() if who in here or who not in lost
        }

    def _voice(self, session: _Session, label: str | None) -> _Participant | None:
        """Return the provisional speaker that a session means; ``None`` if it means too many."""
        label = UNCERTAIN if label is None else label
        if label not in session.voices:
            if len(session.voices) >= _VOICES:
                return None
            if not session.stream:
                self._streams += 1
                session.stream = self._streams
            voice = _Participant(label, self._seconds, session.stream)
            session.voices[label] = self._speakers[voice.key] = voice
        return session.voices[label]

    # What is told

    def _updated(self, at_ms: int) -> events.MeetingUpdated:
        now = msgspec.structs.asdict(self.state(at_ms))
        return events.MeetingUpdated(event_id=self._event_id(), **now)

    def _shifted(
        self, moods: Iterable[tuple[_Participant, MoodState]], at_ms: int
    ) -> Iterator[events.MoodShifted]:
        for who, mood in moods:
            if mood.shift and mood.previous is not None and not who.is_nobody:
                yield events.MoodShifted(
                    event_id=self._event_id(),
                    meeting=self._meeting,
                    at_ms=at_ms,
                    speaker=None if who is self._everybody else who.name,
                    category=mood.category,
                    previous=mood.previous,
                )

    def _event_id(self) -> str:
        self._told += 1
        return f"event_meeting_{self._meeting}_{self._told}"

    def _states(
        self, speakers: Iterable[_Participant], total: int
    ) -> tuple[events.SpeakerState, ...]:
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

    def _listed(self) -> list[_Participant]:
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
