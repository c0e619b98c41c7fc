"""Lay the utterances of one or more sessions on one clock; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamser.errors import StreamserError
from streamser.events import EmotionBody, Record
from streamser.export.records import Recording, SessionRecord, UtteranceRecord

__all__ = ["SOUNDS", "Timeline", "check_meeting", "listed", "mixed", "sound_of", "timeline_of"]

SOUNDS = frozenset(
    f".{ending}"
    for ending in (
        *("aac", "aif", "aiff", "au", "caf", "flac", "m4a", "mka", "mkv", "mov", "mp3", "mp4"),
        *("oga", "ogg", "opus", "wav", "webm"),
    )
)
"""Endings of files with sound in them."""


class Timeline(Record, frozen=True, kw_only=True):
    """Utterances of everybody, in the order of their beginnings, in ms of one clock.

    That of the audio of a session, or of the meeting if there are several. ``speaker`` of an
    utterance is a name that means one person on the whole timeline, or ``None`` where there
    is only one session and it does not say. ``sound`` is the file that has this clock.
    """

    utterances: tuple[UtteranceRecord, ...]
    length_ms: int
    categories: tuple[str, ...]
    sessions: tuple[SessionRecord, ...]
    sound: str | None = None

    @property
    def speakers(self) -> tuple[str | None, ...]:
        """Return who speaks, in the order of their first utterances."""
        return tuple(dict.fromkeys(each.speaker for each in self.utterances))


def timeline_of(recording: Recording, *, one_clock: bool = False) -> Timeline:
    """Lay the sessions of a recording on one clock.

    Sessions of one meeting go by its clock, where a server has stamped their events. With
    ``one_clock`` the times of all sessions are taken to count from the same moment, as those
    of one stream whose server was restarted do. Raises ``StreamserError`` where neither is so.
    """
    sessions = recording.sessions
    names = _Names(sessions)
    shifting = len(sessions) > 1 and not one_clock
    if shifting:
        _refuse_strangers(sessions)
    utterances = []
    for session in sessions:
        for utterance in session.utterances:
            by = (utterance.shift_ms or 0) if shifting else 0
            named = msgspec.structs.replace(utterance, speaker=names.of(session, utterance))
            utterances.append(_shifted(named, by))
    utterances.sort(key=lambda each: (each.start_ms, each.end_ms))
    reached = max((each.end_ms for each in utterances), default=0)
    sounds = {sound_of(session) for session in sessions}
    return Timeline(
        utterances=tuple(utterances),
        length_ms=reached if shifting else max([reached, *(each.audio_ms for each in sessions)]),
        categories=recording.categories,
        sessions=sessions,
        sound=sounds.pop() if len(sounds) == 1 and not shifting else None,
    )


def sound_of(session: SessionRecord) -> str | None:
    """Return the file that a session's sound is in: as it is here, else as it was called."""
    if session.audio is not None:
        return str(session.audio)
    source = session.source
    return source if source and Path(source).suffix.lower() in SOUNDS else None


def listed(names: Sequence[str], most: int = 5) -> str:
    """Write names as a list for people, the first few of many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def check_meeting(meeting: str, meetings: Iterable[str | None]) -> None:
    """Raise ``StreamserError`` where no session is of a meeting; ``meetings`` are those of all."""
    known = list(dict.fromkeys(name for name in meetings if name))
    if meeting not in known:
        there = f"there are {listed(known)}" if known else "no session there is of one"
        raise StreamserError(f"there is no meeting {meeting}; {there}.", code="unknown_session")


def mixed(meetings: Mapping[str, str | None], otherwise: str = "") -> StreamserError:
    """Say that nobody knows how sessions lie in time, and which there are to choose from.

    ``meetings`` has the meeting of each, ``otherwise`` is what else can be done.
    """
    names = dict.fromkeys(name for name in meetings.values() if name)
    one = len(set(meetings.values())) == 1 and bool(names)
    why = "no server has stamped them with its clock" if one else "they are not of one meeting"
    by_meeting = "" if one or not names else f"--meeting NAME ({listed(list(names))}) or "
    return StreamserError(
        f"there are {len(meetings)} sessions, and {why}: choose one with {by_meeting}--session ID"
        f" ({listed(list(meetings))}){otherwise}.",
        code="mixed_sessions",
    )


def _refuse_strangers(sessions: Sequence[SessionRecord]) -> None:
    """Raise ``StreamserError`` for sessions of which nobody knows how they lie in time."""
    meetings = {session.meeting for session in sessions}
    placed = all(each.shift_ms is not None for one in sessions for each in one.utterances)
    if len(meetings) == 1 and None not in meetings and placed:
        return
    raise mixed(
        {session.session_id: session.meeting for session in sessions},
        ", or add --one-clock if their times count from the same moment",
    )


class _Names:
    """Call speakers so that one name is one person, as a meeting's events do."""

    def __init__(self, sessions: Sequence[SessionRecord]) -> None:
        self._alone = len(sessions) == 1
        self._streams: dict[str, int] = {}

    def of(self, session: SessionRecord, utterance: UtteranceRecord) -> str | None:
        """Return whose utterance it is."""
        name = utterance.speaker
        if name is None:
            return None if self._alone else session.session_id
        if not utterance.speaker_provisional:
            return name
        # One label of two microphones is not one person.
        stream = self._streams.setdefault(session.session_id, len(self._streams) + 1)
        return name if stream == 1 else f"{name} (stream {stream})"


def _shifted(utterance: UtteranceRecord, by: int) -> UtteranceRecord:
    """Move an utterance, its words and its readings; nothing begins before the clock does."""
    start, end = utterance.start_ms + by, utterance.end_ms + by
    if by == 0 and start >= 0:
        return utterance

    def moved(span: Any) -> Any:
        times = {"start_ms": max(0, span.start_ms + by), "end_ms": max(0, span.end_ms + by)}
        return msgspec.structs.replace(span, **times)

    def felt(emotion: EmotionBody) -> EmotionBody:
        return msgspec.structs.replace(emotion, window=moved(emotion.window))

    emotion, alone = utterance.emotion, utterance.provisional
    return msgspec.structs.replace(
        utterance,
        start_ms=max(0, start),
        end_ms=max(0, end),
        words=tuple(moved(word) for word in utterance.words),
        emotion=None if emotion is None else felt(emotion),
        provisional=None
        if alone is None
        else msgspec.structs.replace(alone, emotion=felt(alone.emotion)),
        readings=tuple(
            msgspec.structs.replace(each, emotion=felt(each.emotion)) for each in utterance.readings
        ),
        partials=tuple(
            msgspec.structs.replace(each, end_ms=max(0, each.end_ms + by))
            for each in utterance.partials
        ),
    )
