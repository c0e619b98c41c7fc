"""Remember what was finished, for whoever comes late, and of a session how far it has come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from streamser import events
from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    Event,
    Finished,
    SpeakersChanged,
    TranscriptionCompleted,
    TranscriptionFailed,
)
from streamser.export.utterances import reassigned, relabelled, reread


class FinishedLog:
    """Remember the last finished utterances, each as one record of its words and emotion."""

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._finals: dict[tuple[str, str], tuple[int, Finished]] = {}

    @property
    def finals(self) -> tuple[Finished, ...]:
        """Return them, the oldest first; at most ``limit``."""
        return tuple(final for _, final in self._finals.values())

    def __len__(self) -> int:
        return len(self._finals)

    def latest(self) -> Iterator[tuple[int, Finished]]:
        """Yield them with the numbers they were taken in with, the newest first."""
        yield from reversed(self._finals.values())

    def forget_oldest(self) -> None:
        """Forget the oldest one."""
        del self._finals[next(iter(self._finals))]

    def take(
        self,
        event: Event,
        meeting: str | None,
        speaker: str | None,
        at_ms: int,
        number: int = 0,
    ) -> None:
        """Take in a final event, published at ``at_ms``, or who spoke after all.

        Events of other kinds do nothing.
        ``speaker`` is whoever speaks in the session, unless the event has a guess of its own.
        ``number`` is its place among the events of all meetings.
        """
        match event:
            case SpeakersChanged():
                self._revise(event)
                return
            # Words come first and bring the emotion with them: there is no half a record.
            case TranscriptionCompleted(transcript=transcript, emotion=emotion):
                found: dict[str, Any] = {"transcript": transcript, "emotion": emotion}
                found["distrusted"] = event.distrusted
                start_ms, end_ms = event.audio_start_ms, event.audio_end_ms
            case EmotionCompleted(emotion=emotion):
                found = {"transcript": None, "emotion": emotion}
                start_ms, end_ms = emotion.window.start_ms, emotion.window.end_ms
            case TranscriptionFailed(error=error):
                found = {"transcript": None, "emotion": None, "error": error}
                start_ms, end_ms = event.audio_start_ms, event.audio_end_ms
            case _:
                return
        told: EmotionBody | None = found["emotion"]
        if told is not None and told.speaker_provisional:
            speaker = told.speaker
        key = (event.session_id, event.item_id)
        parts = event.parts if isinstance(event, EmotionCompleted) else ()
        if key in self._finals:
            before, known = self._finals[key]
            if parts:
                self._finals[key] = (before, msgspec.structs.replace(known, parts=parts))
            return
        final = Finished(
            session_id=event.session_id,
            item_id=event.item_id,
            speaker=speaker,
            meeting=meeting,
            at_ms=at_ms,
            lag_ms=event.lag_ms,
            audio_start_ms=start_ms,
            audio_end_ms=end_ms,
            parts=parts,
            **found,
        )
        self._finals[key] = (number, final)
        if len(self._finals) > self._limit:
            self.forget_oldest()

    def _revise(self, event: SpeakersChanged) -> None:
        """Let what was told before be whose it is after all."""
        changes = {change.item_id: change for change in event.changes}
        for key, (number, final) in self._finals.items():
            if key[0] != event.session_id:
                continue
            named = event.renamed.get(final.speaker or "", final.speaker)
            emotion, parts = final.emotion, relabelled(final.parts, event.renamed)
            if emotion is not None and emotion.speaker in event.renamed:
                emotion = reassigned(emotion, event.renamed[emotion.speaker])
            if (change := changes.get(final.item_id)) is not None:
                named, parts = change.speaker, reread(change.parts, parts)
                emotion = None if emotion is None else reassigned(emotion, change.speaker)
            revised = msgspec.structs.replace(final, speaker=named, emotion=emotion, parts=parts)
            self._finals[key] = (number, revised)


class FairLog:
    """Remember the last finished utterances of many sessions: of one ``each``, of all ``limit``.

    Where there are more, the session with most of them loses its oldest; of several such, the
    one that was heard of first.
    """

    def __init__(self, limit: int, each: int) -> None:
        self._limit = limit
        self._each = each
        self._logs: dict[str, FinishedLog] = {}
        self._kept = 0

    @property
    def logs(self) -> Iterable[FinishedLog]:
        """Return a log for each session that any is remembered of."""
        return self._logs.values()

    def take(
        self, event: Event, meeting: str | None, speaker: str | None, at_ms: int, number: int = 0
    ) -> None:
        """Take in a final event, as ``FinishedLog`` does."""
        log = self._logs.get(event.session_id)
        if log is None:
            log = FinishedLog(self._each)
        before = len(log)
        log.take(event, meeting, speaker, at_ms, number)
        if len(log) == before:
            return
        self._logs[event.session_id] = log
        self._kept += 1
        if self._kept > self._limit:
            session_id, fullest = max(self._logs.items(), key=lambda each: len(each[1]))
            fullest.forget_oldest()
            self._kept -= 1
            if not len(fullest):
                del self._logs[session_id]


class SessionProgress:
    """Count what has been told of a session, should it be unable to say so itself."""

    def __init__(self) -> None:
        self._seq = self._utterances = self._completed = self._speech_ms = 0
        self._lost = {"partials": 0, "audio": 0}
        self._late = 0
        self._starts: dict[str, int] = {}
        self._over: dict[str, float] = {}

    def count(self, event: Event, now: float) -> float | None:
        """Count an event; return how long a final has taken since its utterance was over (s).

        Not since its sound came: a client may commit when it likes, fall silent, or vanish.
        """
        self._seq = event.seq
        match event:
            case events.SpeechStarted():
                self._starts = {event.item_id: event.audio_start_ms}
            case events.SpeechStopped():
                start = self._starts.pop(event.item_id, event.audio_end_ms)
                self._speech_ms += event.audio_end_ms - start
            case events.Committed():
                self._utterances += 1
                self._over[event.item_id] = now
            case EmotionCompleted():
                self._completed += 1
                return now - self._over.pop(event.item_id, now)
            case TranscriptionFailed():
                self._over.pop(event.item_id, None)
            case events.Overload(kind="partials" | "audio"):
                self._lost[event.kind] = event.total
        return None

    def late_notice(self, event: Event) -> events.Overload:
        """Return what tells a client that this final of its stream came late."""
        self._late += 1
        return events.Overload(
            event_id=f"event_{event.session_id}_{event.seq}_late",
            session_id=event.session_id,
            seq=event.seq,
            kind="finals",
            dropped=1,
            total=self._late,
            since_ms=event.clock_ms or 0,
            reason="late",
        )

    def closing_event(self, session_id: str, audio_ms: int) -> events.SessionClosed:
        """Return the last event: finals that were never told have failed."""
        return events.SessionClosed(
            event_id=f"event_{session_id}_{self._seq + 1}",
            session_id=session_id,
            seq=self._seq + 1,
            audio_ms=audio_ms,
            speech_ms=self._speech_ms,
            utterances=self._utterances,
            failed=self._utterances - self._completed,
            partials_dropped=self._lost["partials"],
            audio_dropped_ms=self._lost["audio"],
        )
