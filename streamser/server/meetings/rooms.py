"""What a hub keeps: meetings, the sessions in them, and events in their places."""

from __future__ import annotations

import msgspec

from streamser import events
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.finished import FinishedLog
from streamser.server.meetings.meeting import MeetingMood
from streamser.server.outgoing import EncodedEvent

FINALS = 200
"""Finished utterances that are remembered of a meeting."""
_VOICES = 64
"""People of a meeting who have left and whose voices are remembered: 17 KB each."""


class LiveMeeting(msgspec.Struct, frozen=True):
    """Say of a meeting what is to be known before one listens; ``at_ms``: its length so far."""

    meeting: str
    streams: int
    at_ms: int


class MeetingRoom:
    """Keep a meeting from its first session until long after its last; pure."""

    def __init__(self, name: str, now: float, mood_seconds: float) -> None:
        self.name = name
        self.began = now
        self.mood = MeetingMood(name, mood_seconds)
        self.finals = FinishedLog(FINALS)
        self.voices: dict[str, SessionSnapshot] = {}
        self.newest = 0
        """The last cursor that another server has told of it."""
        self.reached_ms = 0
        """How far it has gone there."""
        self.lost_up_to = 0
        self.elsewhere = False
        """Whether another server has it."""
        self.here = 0
        """How many of its sessions are at this one."""
        self._inside = 0
        self._left = now

    def enter(self, *, here: bool) -> None:
        """Count a session, at this server or another."""
        self._inside += 1
        self.here += here

    def come_here(self, now: float) -> None:
        """Be at this server from now on; the clock does not go back, if another's was ahead."""
        if self.elsewhere:
            self.elsewhere = False
            self.began = min(self.began, now - self.reached_ms / 1000)

    def leave(self, now: float, *, here: bool) -> None:
        """Count a session no more."""
        self._inside -= 1
        self.here -= here
        self._left = now

    @property
    def left(self) -> float | None:
        """Return when the last session has left; ``None`` while anybody is there."""
        return None if self._inside else self._left

    def is_over(self, now: float, keep_s: float) -> bool:
        """Return whether everybody has left for longer than it is kept."""
        return self._inside == 0 and now - self._left >= keep_s

    def state(self, now: float) -> events.MeetingState:
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


class KeptEvent(msgspec.Struct, frozen=True):
    """Hold an event in its place; what ``stays`` matters later, too.

    ``elsewhere``: another server has told it.
    """

    cursor: int
    meeting: str | None
    kind: str
    encoded: EncodedEvent
    at_ms: int
    stays: bool
    elsewhere: bool = False

    def is_for(self, interest: Interest) -> bool:
        """Return whether it is told to whom this interests."""
        # Who listens to everything listens to this server.
        if self.elsewhere and interest.meeting is None:
            return False
        return interest.wants(self.encoded.session_id, self.meeting, self.kind)


class LiveSession(msgspec.Struct):
    """Keep what is known of a session that goes on."""

    info: events.SessionInfo
    seq: int
    began: float
    room: MeetingRoom | None
    elsewhere: bool = False
    """Whether another server has it, or had it until it was gone."""
    clock_ms: int = 0
    speech_ms: int = 0
    finals: int = 0
    failed: int = 0

    def count(self, event: events.Event) -> None:
        """Count an event, should nobody be left to close the session."""
        self.clock_ms = max(self.clock_ms, event.clock_ms or 0)
        match event:
            case events.EmotionCompleted(emotion=emotion):
                self.finals += 1
                self.speech_ms += emotion.window.end_ms - emotion.window.start_ms
            case events.TranscriptionFailed():
                self.finals += 1
                self.failed += 1

    def closing(self, session_id: str) -> events.SessionClosed:
        """Return the last event of a session whose server is gone, as far as that is known."""
        return events.SessionClosed(
            event_id=f"event_{session_id}_{self.seq + 1}",
            session_id=session_id,
            seq=self.seq + 1,
            audio_ms=self.clock_ms,
            speech_ms=self.speech_ms,
            utterances=self.finals,
            failed=self.failed,
            partials_dropped=0,
            audio_dropped_ms=0,
        )


def kept_event(
    cursor: int,
    meeting: str | None,
    event: events.Event | events.ListenerEvent,
    encoded: EncodedEvent,
    at_ms: int,
    *,
    elsewhere: bool = False,
) -> KeptEvent:
    """Return an event with its place, to be kept and passed on."""
    return KeptEvent(
        cursor=cursor,
        meeting=meeting,
        kind=str(type(event).__struct_config__.tag),
        encoded=encoded,
        at_ms=at_ms,
        # How a meeting is follows from what was said in it.
        stays=not encoded.droppable and not isinstance(event, events.MeetingUpdated),
        elsewhere=elsewhere,
    )
