"""Gather the events of sessions into records; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamser import events
from streamser.export.records import (
    Lags,
    PartialText,
    Reading,
    Recording,
    SessionRecord,
    UtteranceRecord,
)
from streamser.export.utterances import reassigned, relabelled, reread


class LineStamp(msgspec.Struct, frozen=True):
    """Say what stands beside an event in its line, where anything does.

    ``cursor``, ``meeting`` and ``at_ms`` are a server's ``Stamp``; ``unix_ms`` is when a
    session began, ms since 1970, in the files that ``--export`` writes.
    """

    cursor: int | None = None
    meeting: str | None = None
    at_ms: int | None = None
    unix_ms: int | None = None


class _Item(msgspec.Struct, eq=False):
    """Keep what is known of one utterance so far."""

    item_id: str
    start_ms: int
    end_ms: int
    handed_over: bool = False
    final: bool = False
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    lags: dict[str, float | None] = msgspec.field(default_factory=dict)
    readings: list[Reading] = msgspec.field(default_factory=list)
    provisional: Reading | None = None
    partials: list[PartialText] = msgspec.field(default_factory=list)
    shift_ms: int | None = None

    def reach(self, end_ms: int) -> None:
        """Learn that it goes on at least so far."""
        self.end_ms = max(self.end_ms, end_ms)

    def judge(self, emotion: events.EmotionBody) -> None:
        """Learn what was felt, and by whom if that is said."""
        self.fields["emotion"] = emotion
        if emotion.speaker is not None or emotion.speaker_provisional:
            self.fields["speaker"] = emotion.speaker
            self.fields["speaker_provisional"] = emotion.speaker_provisional

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Learn that speakers are called something else."""
        self.fields["parts"] = relabelled(self.fields.get("parts", ()), renamed)
        name, emotion = self.fields.get("speaker"), self.fields.get("emotion")
        self.fields["speaker"] = renamed.get(name or "", name)
        if emotion is not None and emotion.speaker in renamed:
            self.fields["emotion"] = reassigned(emotion, renamed[emotion.speaker])

    def give(self, change: events.SpeakerChange) -> None:
        """Learn whose it is after all."""
        emotion = self.fields.get("emotion")
        if emotion is not None:
            self.judge(reassigned(emotion, change.speaker))
        parts = reread(change.parts, self.fields.get("parts", ()))
        self.fields |= {"speaker": change.speaker, "parts": parts}

    def record(self, session_id: str) -> UtteranceRecord:
        """Return what is known by now."""
        return UtteranceRecord(
            session_id=session_id,
            item_id=self.item_id,
            start_ms=self.start_ms,
            end_ms=max(self.start_ms, self.end_ms),
            final=self.final,
            lags=Lags(**self.lags),
            readings=tuple(self.readings),
            provisional=self.provisional,
            partials=tuple(self.partials),
            shift_ms=self.shift_ms,
            **self.fields,
        )


class _GatheredSession:
    """Keep one session."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.info: events.SessionInfo | None = None
        self.speaker: str | None = None
        self.meeting: str | None = None
        self.began: int | None = None
        self.closed: events.SessionClosed | None = None
        self._before: int | None = None
        self._seen: set[int] = set()
        self._reached_ms = 0
        self._items: dict[str, _Item] = {}
        self._moods: list[events.MoodUpdated] = []
        self._losses: list[events.Overload] = []
        self._errors: list[events.ErrorRaised] = []

    def count(self, event: events.Event) -> bool:
        """Follow the numbers; return whether the event is new."""
        # A loss that a server tells a slow listener has the number of what was lost last.
        if isinstance(event, events.Overload) and event.kind == "deltas":
            return True
        if event.seq in self._seen or event.seq <= (self._before or 0):
            return False
        self._seen.add(event.seq)
        return True

    @property
    def missing(self) -> int:
        """Return how many events there must have been that did not come."""
        if not self._seen:
            return 0
        before = min(self._seen) - 1 if self._before is None else self._before
        return max(self._seen) - before - len(self._seen)

    def collect(self, event: events.Event, place: LineStamp) -> None:
        """Take in the next event."""
        self._reached_ms = max(self._reached_ms, event.clock_ms or 0)
        self.meeting = place.meeting or self.meeting
        match event:
            case events.SessionCreated(session=info) | events.SessionUpdated(session=info):
                self._inform(info)
                self.began = self.began or place.unix_ms
            case events.Cleared():
                kept = {key: item for key, item in self._items.items() if item.handed_over}
                self._items = kept
            case events.MoodUpdated():
                self._moods.append(event)
            case events.SpeakersChanged():
                self._revise(event)
            case events.Overload():
                self._losses.append(event)
            case events.ErrorRaised():
                self._errors.append(event)
            case events.SessionClosed():
                self.closed = event
                self._reached_ms = max(self._reached_ms, event.audio_ms)
            case _:
                self._collect_part(event, place)

    def join(self, state: events.SessionState, *, replayed: bool) -> None:
        """Begin in the middle, where a listener came; not where it only came back."""
        if self.info is None and not self._seen:
            self._inform(state.session)
            self._before = None if replayed else state.seq

    def _inform(self, info: events.SessionInfo) -> None:
        """Learn how the session is set up; who speaks may change."""
        self.info = self.info or info
        self.speaker = info.speaker
        self.meeting = info.meeting or self.meeting

    def _revise(self, event: events.SpeakersChanged) -> None:
        """Let what was told before be whose it is after all; moods keep what they were."""
        if event.renamed:
            for item in self._items.values():
                item.rename(event.renamed)
            self._moods = [
                mood
                if mood.speaker not in event.renamed
                else msgspec.structs.replace(mood, speaker=event.renamed[mood.speaker])
                for mood in self._moods
            ]
        for change in event.changes:
            if change.item_id in self._items:
                self._items[change.item_id].give(change)

    def recall(self, final: events.Finished) -> None:
        """Take in an utterance that was over before the listener came."""
        if final.item_id in self._items:
            return
        item = self._item(final.item_id, final.audio_start_ms)
        item.reach(final.audio_end_ms)
        item.handed_over = item.final = True
        item.fields |= {"speaker": final.speaker, "transcript": final.transcript}
        item.fields |= {"distrusted": final.distrusted, "fault": final.error}
        item.fields["parts"] = final.parts
        if final.emotion is not None:
            item.judge(final.emotion)
        item.lags["emotion"] = final.lag_ms
        item.shift_ms = round(final.at_ms - (final.lag_ms or 0.0)) - final.audio_end_ms

    def _item(self, item_id: str, start_ms: int) -> _Item:
        if item_id not in self._items:
            self._items[item_id] = _Item(item_id, start_ms, start_ms)
            self._items[item_id].fields["speaker"] = self.speaker
        return self._items[item_id]

    def _collect_part(self, event: events.Event, place: LineStamp) -> None:
        """Take in an event of an utterance."""
        match event:
            case events.SpeechStarted(item_id=item_id, audio_start_ms=start):
                item = self._item(item_id, start)
                item.lags["started"] = event.lag_ms
            case events.SpeechStopped(item_id=item_id, audio_end_ms=end):
                item = self._item(item_id, end)
                item.reach(end)
                item.fields["reason"] = event.reason
                item.lags["stopped"] = event.lag_ms
            case events.TranscriptPartial(item_id=item_id, audio_end_ms=end):
                item = self._item(item_id, event.audio_start_ms)
                item.reach(end)
                item.partials.append(
                    PartialText(
                        text=event.text,
                        committed=event.committed,
                        end_ms=end,
                        lag_ms=event.lag_ms,
                    )
                )
            case events.EmotionDelta(item_id=item_id, emotion=emotion):
                item = self._item(item_id, emotion.window.start_ms)
                item.reach(emotion.window.end_ms)
                item.readings.append(Reading(emotion=emotion, lag_ms=event.lag_ms))
            case events.EmotionProvisional(item_id=item_id, emotion=emotion):
                item = self._item(item_id, emotion.window.start_ms)
                item.reach(emotion.window.end_ms)
                item.handed_over = True
                item.provisional = Reading(emotion=emotion, lag_ms=event.lag_ms)
                item.lags["provisional"] = event.lag_ms
            case events.Committed(item_id=item_id):
                if item_id in self._items:
                    self._items[item_id].handed_over = True
                return
            case (
                events.TranscriptionCompleted()
                | events.EmotionCompleted()
                | events.TranscriptionFailed()
            ):
                item = self._finish(event)
            case _:
                return
        # One without its lag came later than its sound, nobody knows by how much.
        better = event.lag_ms is not None or item.shift_ms is None
        if place.at_ms is not None and event.clock_ms is not None and better:
            item.shift_ms = round(place.at_ms - (event.lag_ms or 0.0)) - event.clock_ms

    def _finish(
        self,
        event: events.TranscriptionCompleted | events.EmotionCompleted | events.TranscriptionFailed,
    ) -> _Item:
        if isinstance(event, events.EmotionCompleted):
            start = event.emotion.window.start_ms
        else:
            start = event.audio_start_ms
        item = self._item(event.item_id, start)
        # A final without its beginning; its own word on the span is the best there is.
        item.start_ms = min(item.start_ms, start)
        item.reach(event.clock_ms)
        item.handed_over = item.final = True
        match event:
            case events.TranscriptionCompleted():
                item.fields |= {
                    "transcript": event.transcript,
                    "language": event.language,
                    "confidence": event.confidence,
                    "words": event.words,
                    "distrusted": event.distrusted,
                }
                item.judge(event.emotion)
                item.lags["words"] = event.lag_ms
            case events.EmotionCompleted():
                item.judge(event.emotion)
                item.fields["parts"] = event.parts
                item.lags["emotion"] = event.lag_ms
            case events.TranscriptionFailed():
                item.fields["fault"] = event.error
                item.lags["emotion"] = event.lag_ms
        return item

    def record(self) -> SessionRecord:
        """Return what is known by now."""
        utterances = [item.record(self.session_id) for item in self._items.values()]
        return SessionRecord(
            session_id=self.session_id,
            info=self.info,
            meeting=self.meeting,
            began=self.began,
            audio_ms=max([self._reached_ms, *(each.end_ms for each in utterances)]),
            utterances=tuple(sorted(utterances, key=lambda each: each.start_ms)),
            moods=tuple(self._moods),
            losses=tuple(self._losses),
            errors=tuple(each.error for each in self._errors),
            closed=self.closed,
            missing=self.missing,
        )


class Gatherer:
    """Take the events of any number of sessions, mixed as they may be, and sum them up."""

    def __init__(self) -> None:
        self._sessions: dict[str, _GatheredSession] = {}
        self._meetings: dict[str, events.MeetingUpdated] = {}
        self._shifts: list[events.MoodShifted] = []
        self._guessing: dict[str, None] = {}

    def collect(
        self,
        event: events.Event | events.ListenerEvent,
        place: LineStamp = LineStamp(),  # noqa: B008 - frozen
    ) -> bool:
        """Take in an event; return whether it was new: what comes twice counts once."""
        match event:
            case events.Snapshot():
                self._begin(event)
            case events.MeetingUpdated():
                self._meetings[event.meeting] = event
            case events.MoodShifted():
                self._shifts.append(event)
            case events.ErrorRaised(session_id=""):
                return False  # a refusal: no session's
            case events.Event():
                session = self._session(event.session_id)
                if not session.count(event):
                    return False
                session.collect(event, place)
                if isinstance(event, events.EmotionCompleted) and event.emotion.speaker_provisional:
                    self._guessing[event.session_id] = None
                elif isinstance(event, events.SpeakersChanged) and event.renamed:
                    self._rename(session, event.renamed)
        return True

    def recording(self) -> Recording:
        """Return everything taken in so far."""
        return Recording(
            sessions=tuple(session.record() for session in self._sessions.values()),
            meetings=tuple(self._meetings.values()),
            shifts=tuple(self._shifts),
        )

    def _rename(self, session: _GatheredSession, renamed: Mapping[str, str]) -> None:
        """Let shifts of mood in the session's meeting be told of the names that are known now."""
        guessing = [key for key in self._guessing if self._sessions[key].meeting == session.meeting]
        if session.meeting is None or session.session_id not in guessing:
            return
        stream = guessing.index(session.session_id) + 1
        beside = "" if stream == 1 else f" (stream {stream})"
        called = {f"{old}{beside}": f"{new}{beside}" for old, new in renamed.items()}
        self._shifts = [
            shift
            if shift.meeting != session.meeting or shift.speaker not in called
            else msgspec.structs.replace(shift, speaker=called[shift.speaker])
            for shift in self._shifts
        ]

    def _session(self, session_id: str) -> _GatheredSession:
        if session_id not in self._sessions:
            self._sessions[session_id] = _GatheredSession(session_id)
        return self._sessions[session_id]

    def _begin(self, snapshot: events.Snapshot) -> None:
        for state in snapshot.sessions:
            session = self._session(state.session.id)
            session.join(state, replayed=snapshot.replay_from is not None)
        for final in snapshot.finals:
            self._session(final.session_id).recall(final)
