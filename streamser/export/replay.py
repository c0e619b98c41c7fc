"""Recorded sessions again: laid on one clock in the order in which they were told, then played."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamser import events
from streamser.errors import StreamserError
from streamser.export.read import EventFile, Line
from streamser.export.records import check_meeting, listed, mixed

_UNKNOWN: Final = "unknown"
_LONGEST_WAIT_S: Final = 3600.0
"""Clocks of systems wait for no longer than some days."""


class TimedEvent(msgspec.Struct, frozen=True):
    """Hold an event, when it was told, and when it is to be told again, both in ms.

    ``at_ms`` counts from the first event of the recording and is what moods go by; ``due_ms``
    is the same without what is left out of long pauses.
    """

    event: events.Event
    at_ms: int
    due_ms: int


class Playlist(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is to be played, in its order; ``meeting`` is that of its sessions."""

    cues: tuple[TimedEvent, ...]
    sessions: tuple[str, ...]
    meeting: str | None
    notes: tuple[str, ...]
    """Lines for people, of what is not as it was."""

    @property
    def length_ms(self) -> int:
        """Return how long the recording is."""
        return self.cues[-1].at_ms if self.cues else 0


def make_playlist(
    lines: Iterable[Line],
    session_ids: Sequence[str] = (),
    longest_pause_ms: int | None = None,
    meeting: str | None = None,
) -> Playlist:
    """Lay recorded events, or those of some sessions or one meeting alone, on one clock.

    Where nobody speaks, at most ``longest_pause_ms`` pass between two events. Raises
    ``StreamserError`` for a session or a meeting that is not there, and for several sessions of
    which nobody knows how they lie in time.
    """
    gathered = _Gathered()
    for line in lines:
        gathered.collect(line)
    known = list(gathered.sessions)
    for session_id in session_ids:
        if session_id not in known:
            raise StreamserError(
                f"there is no session {session_id}; there are {listed(known)}.",
                code="unknown_session",
            )
    sessions = [each for name, each in gathered.sessions.items() if name in (session_ids or known)]
    if meeting is not None:
        check_meeting(meeting, [each.meeting for each in sessions])
        sessions = [each for each in sessions if each.meeting == meeting]
    if len(sessions) > 1:
        _refuse_strangers(sessions)
    told = [each for session in sessions for each in session.told()]
    # What a server has counted is in its order, also where two events have the same time.
    told.sort(key=lambda each: (each.at_ms, each.cursor))
    return Playlist(
        cues=tuple(_cues(told, longest_pause_ms)),
        sessions=tuple(session.session_id for session in sessions),
        meeting=sessions[0].meeting if sessions else None,
        notes=tuple(note for session in sessions for note in session.notes()),
    )


class _Told(msgspec.Struct, frozen=True):
    event: events.Event
    at_ms: int
    cursor: int


class _PlayedSession:
    """Keep the events of one session, each once."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.meeting: str | None = None
        self.stamped = True
        self._info: events.SessionInfo | None = None
        self._lines: list[Line] = []
        self._seen: set[int] = set()

    def join(self, info: events.SessionInfo) -> None:
        """Learn of a session in which a listener came late."""
        self._info = self._info or info
        self.meeting = self.meeting or info.meeting

    def collect(self, event: events.Event, line: Line) -> None:
        """Take in an event, in the order of the file."""
        # How much of it one listener missed is nothing that happened in the session.
        if event.seq in self._seen or (
            isinstance(event, events.Overload) and event.kind == "deltas"
        ):
            return
        self._seen.add(event.seq)
        self._lines.append(line)
        self.stamped = self.stamped and line.place.at_ms is not None
        self.meeting = line.place.meeting or self.meeting
        if isinstance(event, events.SessionCreated | events.SessionUpdated):
            self.join(event.session)

    def told(self) -> Iterator[_Told]:
        """Yield its events with their times; a beginning that is missing is made up."""
        last = cursor = 0
        for n, line in enumerate(self._lines):
            event = line.event
            assert isinstance(event, events.Event)
            at_ms = line.place.at_ms if self.stamped else _place(event)
            cursor = max(cursor, line.place.cursor or 0)
            if n == 0:
                last = last if at_ms is None else at_ms
                if not isinstance(event, events.SessionCreated):
                    yield _Told(self._beginning(event), last, cursor)
            # A session tells its events in order.
            last = last if at_ms is None else max(last, at_ms)
            yield _Told(event, last, cursor)
            if isinstance(event, events.SessionClosed):
                return

    def notes(self) -> Iterator[str]:
        """Say what is missing."""
        if not self._lines:
            return
        if not isinstance(self._lines[0].event, events.SessionCreated):
            yield (
                f"the beginning of {self.session_id} is missing: moods are as if it had begun"
                " where the file does."
            )
        missing = max(self._seen) - min(self._seen) + 1 - len(self._seen)
        if missing:
            lost = "1 event" if missing == 1 else f"{missing} events"
            yield f"{lost} of {self.session_id} are not in the file."

    def _beginning(self, first: events.Event) -> events.SessionCreated:
        return events.SessionCreated(
            event_id=f"event_{self.session_id}_joined",
            session_id=self.session_id,
            seq=max(0, first.seq - 1),
            session=self._info or self._guess(),
        )

    def _guess(self) -> events.SessionInfo:
        told = [line.event for line in self._lines]
        words = any(isinstance(event, events.TranscriptionCompleted) for event in told)
        felt = [getattr(event, "emotion", None) for event in told]
        bodies = [body for body in felt if isinstance(body, events.EmotionBody)]
        named = [body.speaker for body in bodies if body.speaker and not body.speaker_provisional]
        return events.SessionInfo(
            id=self.session_id,
            models=events.ModelNames(
                vad=_UNKNOWN,
                asr=_UNKNOWN if words else None,
                emotion=bodies[0].model if bodies else _UNKNOWN,
            ),
            silence_ms=0,
            max_utterance_ms=0,
            speaker=named[0] if named else None,
            meeting=self.meeting,
        )


class _Gathered:
    def __init__(self) -> None:
        self.sessions: dict[str, _PlayedSession] = {}

    def collect(self, line: Line) -> None:
        event = line.event
        if isinstance(event, events.Snapshot):
            for state in event.sessions:
                self._session(state.session.id).join(state.session)
        # A refusal belongs to no session; what was told of a meeting follows from its sessions.
        elif isinstance(event, events.Event) and event.session_id:
            self._session(event.session_id).collect(event, line)

    def _session(self, session_id: str) -> _PlayedSession:
        if session_id not in self.sessions:
            self.sessions[session_id] = _PlayedSession(session_id)
        return self.sessions[session_id]


def _refuse_strangers(sessions: Sequence[_PlayedSession]) -> None:
    meetings = {session.meeting for session in sessions}
    one = len(meetings) == 1 and None not in meetings
    if one and all(session.stamped for session in sessions):
        return
    raise mixed({session.session_id: session.meeting for session in sessions})


def _place(event: events.Event) -> int | None:
    """Return when an event was told, on the clock of the audio, where that is known."""
    match event:
        case events.SessionClosed(audio_ms=reached) | events.Marker(audio_ms=reached):
            return reached
    return None if event.clock_ms is None else round(event.clock_ms + (event.lag_ms or 0.0))


def _cues(told: Sequence[_Told], longest_pause_ms: int | None) -> Iterator[TimedEvent]:
    first = told[0].at_ms if told else 0
    before, due = first, 0
    speaking: set[str] = set()
    for each in told:
        gap = each.at_ms - before
        if longest_pause_ms is not None and not speaking:
            gap = min(gap, longest_pause_ms)
        before, due = each.at_ms, due + gap
        yield TimedEvent(each.event, each.at_ms - first, due)
        match each.event:
            case events.SpeechStarted():
                speaking.add(each.event.session_id)
            case events.SpeechStopped() | events.Cleared() | events.SessionClosed():
                speaking.discard(each.event.session_id)


def read_playlist(
    paths: Sequence[Path],
    session_ids: Sequence[str] = (),
    longest_pause_ms: int | None = None,
    meeting: str | None = None,
) -> Playlist:
    """Read recorded sessions from one or more files, to be played.

    Raises ``StreamserError`` where a file cannot be read, or nothing in it can be played, and
    as ``make_playlist`` does.
    """
    files = [EventFile(path) for path in paths]
    lines = (line for file in files for line in file)
    score = make_playlist(lines, session_ids, longest_pause_ms, meeting)
    if not score.cues:
        raise StreamserError(f"{paths[0]}: no session's events are in it.", code="no_session")
    notes = (*(note for file in files for note in file.notes), *score.notes)
    return msgspec.structs.replace(score, notes=notes)


class Playback:
    """Play a score ``speed`` times as fast as it was; ``speed`` is greater than 0.

    Times are seconds since the beginning of the playing; they do not go back.
    """

    def __init__(self, score: Playlist, speed: float = 1.0) -> None:
        self._cues = score.cues
        self._dues_s = [cue.due_ms / 1000.0 / speed for cue in score.cues]
        self._speed = speed
        self._next = 0
        self._at_ms = 0.0

    @property
    def is_over(self) -> bool:
        """Return whether everything has been played."""
        return self._next == len(self._cues)

    @property
    def at_ms(self) -> float:
        """Return which moment of the recording is being played, ms."""
        return self._at_ms

    def advance(self, seconds: float, most: int | None = None) -> tuple[TimedEvent, ...]:
        """Return what is due by now and was not before, at most so many; move on to there."""
        end = bisect_right(self._dues_s, seconds, lo=self._next)
        if most is not None and end > self._next + most:
            end = self._next + most
            seconds = self._dues_s[end - 1]
        due = self._cues[self._next : end]
        self._next = end
        if end:
            since_s = 0.0 if self.is_over else seconds - self._dues_s[end - 1]
            # A pause of which a part is left out is as long as ever at its beginning.
            self._at_ms = self._cues[end - 1].at_ms + since_s * 1000.0 * self._speed
        return due

    def wait_s(self, seconds: float) -> float:
        """Return how long nothing will be due, 0 or more; there must be more to come."""
        return min(_LONGEST_WAIT_S, max(0.0, self._dues_s[self._next] - seconds))
