"""What is left of recorded events once a person is taken out of them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from streamser import events
from streamser.errors import ConfigError
from streamser.export.gather import LineStamp
from streamser.export.read import Line
from streamser.text import read_name

_Meeting = TypeVar("_Meeting", events.MeetingState, events.MeetingUpdated)


class Person(msgspec.Struct, frozen=True):
    """Say who is meant: a speaker, as ``read_name`` writes it, of one meeting or of all."""

    speaker: str
    meeting: str | None = None

    def is_called(self, name: str | None) -> bool:
        """Return whether a name is theirs, however it is composed."""
        return _same(name, self.speaker)

    def is_in(self, meetings: Mapping[str, None]) -> bool:
        """Return whether what belongs to these meetings is meant."""
        return self.meeting is None or any(_same(name, self.meeting) for name in meetings)


class _Talk:
    """Keep what the events of one session say about who speaks in it."""

    def __init__(self) -> None:
        self.meetings: dict[str, None] = {}
        self.speakers: dict[str | None, None] = {}
        self.speaker: str | None = None
        self.named: dict[str, set[str | None]] = {}
        self.began_by: dict[str, str | None] = {}
        self.spans: dict[str, tuple[int, int]] = {}
        self.failed: set[str] = set()
        self.renames: list[tuple[str, str]] = []
        self.theirs: set[str] | None = None

    def inform(self, info: events.SessionInfo) -> None:
        self.theirs = None
        self.speaker = info.speaker
        self.speakers[info.speaker] = None
        if info.meeting:
            self.meetings[info.meeting] = None

    def note(self, item: str, event: object) -> None:
        self.theirs = None
        self.began_by.setdefault(item, self.speaker)
        start = getattr(event, "audio_start_ms", None)
        end = getattr(event, "audio_end_ms", None)
        emotion = getattr(event, "emotion", None)
        if isinstance(emotion, events.EmotionBody):
            start, end = emotion.window.start_ms, emotion.window.end_ms
            if emotion.speaker is not None:
                self.named.setdefault(item, set()).add(emotion.speaker)
        for part in getattr(event, "parts", ()):
            self.named.setdefault(item, set()).add(part.speaker)
        before = self.spans.get(item)
        known = [each for each in (*(before or ()), start, end) if each is not None]
        if known:
            self.spans[item] = (min(known), max(known))

    def revise(self, event: events.SpeakersChanged) -> None:
        """Learn who spoke after all; who was named before stays in the lines, and so counts."""
        self.theirs = None
        self.renames += event.renamed.items()
        for names in self.named.values():
            names |= {event.renamed[name] for name in names if name in event.renamed}
        for change in event.changes:
            named = {change.speaker, *(part.speaker for part in change.parts)} - {None}
            self.named.setdefault(change.item_id, set()).update(named)


class Traces:
    """Find a person in the lines of one recording, then tell what is left of each line.

    ``learn`` wants every line first. An utterance is theirs where a reading of it names them,
    or, where none names anybody, where the session did when it began. Of a session in which
    nobody else spoke nothing is left. Elsewhere their utterances go, and with them every mood
    that they are a part of: those of the session, and of the meeting as a whole, from their
    first on. A label that became their name stands for them in all of a recording.
    """

    def __init__(self, person: Person) -> None:
        self._person = person
        self._talks: dict[str, _Talk] = {}
        self._in_meetings = False
        self._heard: set[str] = set()

    def learn(self, line: Line) -> None:
        """Take in who speaks in a line."""
        event, place = line.event, line.place
        match event:
            case events.Snapshot():
                self._learn_before(event)
            case events.MeetingUpdated(meeting=meeting):
                self._note_meeting(meeting, [each.speaker for each in event.speakers])
            case events.MoodShifted(meeting=meeting):
                self._note_meeting(meeting, [event.speaker])
            case events.Event():
                talk = self._talk(event.session_id)
                if isinstance(event, events.SpeakersChanged):
                    talk.revise(event)
                if place.meeting:
                    talk.meetings[place.meeting] = None
                if isinstance(event, events.SessionCreated | events.SessionUpdated):
                    talk.inform(event.session)
                item = getattr(event, "item_id", None)
                if item is not None:
                    talk.note(item, event)
                    if hasattr(event, "error"):
                        talk.failed.add(item)

    @property
    def found(self) -> bool:
        """Return whether anything here is theirs."""
        return self._in_meetings or any(
            self._is_named(talk) or self._items(talk) for talk in self._talks.values()
        )

    @property
    def utterances(self) -> int:
        """Return how many utterances are theirs."""
        return sum(len(self._items(talk)) for talk in self._talks.values())

    def rest(self, line: Line) -> bytes | None:
        """Return what is left of a line, with its end; ``None``: nothing."""
        event = self._left(line.event)
        if event is None:
            return None
        if event is line.event:
            return line.raw.rstrip(b"\r\n") + b"\n"
        return _written(event, line.place)

    def _learn_before(self, snapshot: events.Snapshot) -> None:
        for state in snapshot.sessions:
            self._talk(state.session.id).inform(state.session)
        for each in snapshot.meetings:
            self._note_meeting(each.meeting, [one.speaker for one in each.speakers])
        for final in snapshot.finals:
            talk = self._talk(final.session_id)
            if final.meeting:
                talk.meetings[final.meeting] = None
            talk.note(final.item_id, final)
            if final.speaker is not None:
                talk.named.setdefault(final.item_id, set()).add(final.speaker)

    def _note_meeting(self, meeting: str, speakers: list[str | None]) -> None:
        if self._person.is_in({meeting: None}):
            self._in_meetings |= any(map(self._person.is_called, speakers))

    def _talk(self, session_id: str) -> _Talk:
        return self._talks.setdefault(session_id, _Talk())

    def _is_named(self, talk: _Talk) -> bool:
        return self._person.is_in(talk.meetings) and any(map(self._person.is_called, talk.speakers))

    def _items(self, talk: _Talk) -> set[str]:
        """Return which utterances of a session are theirs."""
        if not self._person.is_in(talk.meetings):
            return set()
        if talk.theirs is None:
            talk.theirs = {
                item
                for item, began_by in talk.began_by.items()
                if any(map(self._person.is_called, talk.named.get(item) or {began_by}))
            }
        return talk.theirs

    def _is_whole(self, talk: _Talk) -> bool:
        """Return whether a session is theirs alone: nobody else said a thing in it."""
        theirs = self._items(talk)
        if not (theirs or self._is_named(talk)):
            return False
        return len(theirs) == len(talk.began_by)

    def _left(self, event: events.AnyEvent) -> events.AnyEvent | None:
        match event:
            case events.Snapshot():
                return self._left_before(event)
            case events.MeetingUpdated():
                return self._without(event, event.meeting)
            case events.MoodShifted(meeting=meeting):
                return None if self._is_mixed(meeting, event.speaker) else event
            case events.Event():
                return self._left_of_session(event)

    def _left_of_session(self, event: events.AnyEvent) -> events.AnyEvent | None:
        assert isinstance(event, events.Event)
        talk = self._talks[event.session_id]
        theirs = self._items(talk)
        if self._is_whole(talk):
            return None
        if getattr(event, "item_id", None) in theirs:
            self._heard.add(event.session_id)
            return None
        if isinstance(event, events.SpeakersChanged):
            return self._left_of_changes(event, talk, theirs)
        if not theirs and not self._is_named(talk):
            return event
        match event:
            case events.SessionCreated() | events.SessionUpdated():
                return msgspec.structs.replace(event, session=self._nameless(event.session))
            case events.MoodUpdated():
                mixed = event.session_id in self._heard or self._is_called(event.speaker)
                return None if mixed else event
            case events.ErrorRaised():
                # Its message may quote anything.
                return None
            case events.SessionClosed():
                spans = [talk.spans.get(item, (0, 0)) for item in theirs]
                return msgspec.structs.replace(
                    event,
                    utterances=max(0, event.utterances - len(theirs)),
                    failed=max(0, event.failed - len(theirs & talk.failed)),
                    speech_ms=max(0, event.speech_ms - sum(end - start for start, end in spans)),
                )
            case _:
                return event

    def _left_of_changes(
        self, event: events.SpeakersChanged, talk: _Talk, theirs: set[str]
    ) -> events.SpeakersChanged | None:
        if not self._person.is_in(talk.meetings):
            return event
        left = msgspec.structs.replace(
            event,
            changes=tuple(each for each in event.changes if each.item_id not in theirs),
            renamed={
                old: new
                for old, new in event.renamed.items()
                if not (self._is_called(old) or self._is_called(new))
            },
        )
        if left == event:
            return event
        return left if left.changes or left.renamed else None

    def _is_called(self, name: str | None) -> bool:
        """Return whether a name is theirs, or a label that became it in some session."""
        if self._person.is_called(name):
            return True
        return name is not None and any(
            name == label or name.startswith(f"{label} (stream ") for label in self._labels()
        )

    def _labels(self) -> set[str]:
        """Return the labels that became their name."""
        labels: set[str] = set()
        for talk in self._talks.values():
            for old, new in reversed(talk.renames):
                if new in labels or self._person.is_called(new):
                    labels.add(old)
        return labels

    def _nameless(self, info: events.SessionInfo) -> events.SessionInfo:
        speaker = None if self._person.is_called(info.speaker) else info.speaker
        # A file is often called after who speaks in it.
        return msgspec.structs.replace(info, speaker=speaker, source=None)

    def _left_before(self, snapshot: events.Snapshot) -> events.Snapshot:
        theirs = {key: self._items(talk) for key, talk in self._talks.items()}
        left = msgspec.structs.replace(
            snapshot,
            sessions=tuple(
                state
                if not self._is_named(self._talks[state.session.id])
                else msgspec.structs.replace(state, session=self._nameless(state.session))
                for state in snapshot.sessions
                if not self._is_whole(self._talks[state.session.id])
            ),
            meetings=tuple(self._without(each, each.meeting) for each in snapshot.meetings),
            finals=tuple(
                each for each in snapshot.finals if each.item_id not in theirs[each.session_id]
            ),
        )
        return snapshot if left == snapshot else left

    def _without(self, state: _Meeting, meeting: str) -> _Meeting:
        """Take them from the speakers of a meeting, and the mood that they are a part of."""
        if not self._person.is_in({meeting: None}):
            return state
        speakers = tuple(each for each in state.speakers if not self._is_called(each.speaker))
        if len(speakers) == len(state.speakers):
            return state
        self._heard.add(meeting)
        return msgspec.structs.replace(state, speakers=speakers, mood=None, overlap_ms=0)

    def _is_mixed(self, meeting: str, speaker: str | None) -> bool:
        if not self._person.is_in({meeting: None}):
            return False
        return self._is_called(speaker) or (speaker is None and meeting in self._heard)


def _same(name: str | None, other: str) -> bool:
    if name is None:
        return False
    try:
        return read_name(name, "name") == other
    except ConfigError:
        return False


def _written(event: events.AnyEvent, place: LineStamp) -> bytes:
    """Write an event, and what stood beside it, as a line."""
    body = msgspec.json.encode(event)
    # A meeting's own events have some of these fields themselves.
    own = event.__struct_fields__
    there = msgspec.structs.asdict(place)
    beside = {key: at for key, at in there.items() if at is not None and key not in own}
    if not beside:
        return body + b"\n"
    return body[:-1] + b"," + msgspec.json.encode(beside)[1:] + b"\n"
