"""What is known of recorded sessions once their events have been read, also on one clock; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from streamser import events
from streamser.errors import StreamserError
from streamser.taxonomy import CATEGORIES

SOUNDS = frozenset(
    f".{ending}"
    for ending in (
        *("aac", "aif", "aiff", "au", "caf", "flac", "m4a", "mka", "mkv", "mov", "mp3", "mp4"),
        *("oga", "ogg", "opus", "wav", "webm"),
    )
)
"""Endings of files with sound in them."""


class Reading(events.Record, frozen=True, kw_only=True):
    """The emotion of an utterance while it went on; where and over what, is ``emotion.window``."""

    emotion: events.EmotionBody
    lag_ms: float | None = None


class PartialText(events.Record, frozen=True, kw_only=True):
    """What had been understood of an utterance up to ``end_ms``, ms of audio."""

    text: str
    committed: str
    end_ms: int
    lag_ms: float | None = None


class Lags(events.Record, frozen=True, kw_only=True):
    """How late each stage of an utterance was told, ms after its last sound arrived.

    ``None``: it was not told, or the session gives no lag (``ordered``). ``provisional`` is of
    the reading of the voice alone, told where the words were late.
    """

    started: float | None = None
    stopped: float | None = None
    provisional: float | None = None
    words: float | None = None
    emotion: float | None = None

    @property
    def first(self) -> float | None:
        """Return that of the first reading of the whole utterance, provisional or final."""
        return self.emotion if self.provisional is None else self.provisional


class UtteranceRecord(events.Record, frozen=True, kw_only=True):
    """One utterance, all its events together; times are ms of its session's audio.

    ``transcript`` is ``None`` where there was none: not transcribed, failed, or cut off;
    ``""`` where nothing was understood. ``emotion`` is ``None`` where the analysis failed
    (``fault`` says why) or the events end before it came (``final`` is false). ``provisional``
    is what the voice alone said of the whole of it, where the words were late. ``speaker`` is
    who it was after all, as far as the events go, and ``parts`` who spoke when, where several
    did; ``None`` with ``speaker_provisional``: nobody can tell. ``shift_ms``
    added to a time gives that on the meeting's clock; ``None`` where there is none.
    """

    session_id: str
    item_id: str
    start_ms: int
    end_ms: int
    reason: str | None = None
    transcript: str | None = None
    language: str | None = None
    confidence: float | None = None
    words: tuple[events.WordTiming, ...] = ()
    distrusted: str | None = None
    emotion: events.EmotionBody | None = None
    fault: events.ErrorBody | None = None
    final: bool = True
    speaker: str | None = None
    speaker_provisional: bool = False
    parts: tuple[events.SpeakerPart, ...] = ()
    lags: Lags = Lags()
    readings: tuple[Reading, ...] = ()
    provisional: Reading | None = None
    partials: tuple[PartialText, ...] = ()
    shift_ms: int | None = None

    @property
    def lag_ms(self) -> float | None:
        """Return how late its result was: the final with words, else that with the emotion."""
        return self.lags.emotion if self.lags.words is None else self.lags.words

    @property
    def text(self) -> str:
        """Return its words: the transcript, or what had been understood before it broke off."""
        if self.transcript is None and self.partials:
            return self.partials[-1].text
        return self.transcript or ""

    @property
    def judged(self) -> events.EmotionBody | None:
        """Return its emotion, or the last reading where it broke off before that."""
        if self.emotion is not None or self.final:
            return self.emotion
        if self.provisional is not None:
            return self.provisional.emotion
        return self.readings[-1].emotion if self.readings else None

    @property
    def problem(self) -> str | None:
        """Return why there is no result, in one line; ``None`` where there is one."""
        if self.fault is not None:
            return " ".join(self.fault.message.split())
        if self.final:
            return None
        alone = ", of which the voice alone was read" if self.provisional is not None else ""
        return f"the events end before its result{alone}"


class SessionRecord(events.Record, frozen=True, kw_only=True):
    """One session as far as its events go; utterances are in the order of their beginnings.

    ``info`` is how it began, ``None`` where the events begin after that. ``began`` is when,
    ms since 1970, where the file says. ``audio_ms`` is the length of its audio, or how far
    the events go. ``closed`` is ``None`` where they end before the session did. ``missing``
    counts the events that its numbers say there were and that are not here.
    """

    session_id: str
    info: events.SessionInfo | None = None
    meeting: str | None = None
    began: int | None = None
    audio_ms: int = 0
    utterances: tuple[UtteranceRecord, ...] = ()
    moods: tuple[events.MoodUpdated, ...] = ()
    losses: tuple[events.Overload, ...] = ()
    errors: tuple[events.ErrorBody, ...] = ()
    closed: events.SessionClosed | None = None
    missing: int = 0
    audio: Path | None = None
    """The sound that was kept with the events by ``--record``, else the file it was read from;
    only where it is there."""

    @property
    def models(self) -> events.ModelNames | None:
        """Return the engines that were at work, where known."""
        return None if self.info is None else self.info.models

    @property
    def source(self) -> str | None:
        """Return where the sound came from: a file or a device."""
        return None if self.info is None else self.info.source

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the labels of the scores."""
        if self.info is not None:
            return self.info.categories
        for utterance in self.utterances:
            if utterance.emotion is not None:
                return tuple(utterance.emotion.scores)
        return CATEGORIES

    @property
    def transcribed(self) -> bool:
        """Return whether speech became words in it."""
        if self.models is not None:
            return self.models.asr is not None
        return any(each.transcript is not None for each in self.utterances)

    @property
    def shifts(self) -> tuple[events.MoodUpdated, ...]:
        """Return the moods whose leading category had just changed."""
        return tuple(mood for mood in self.moods if mood.shift)


class Recording(events.Record, frozen=True, kw_only=True):
    """Everything that a file of events holds.

    ``sessions`` are in the order of their first events. ``meetings`` is the last word on each
    meeting, ``shifts`` the changes of mood in them; only what a listener has written down has
    these. ``notes`` are lines for people on what could not be read.
    """

    sessions: tuple[SessionRecord, ...] = ()
    meetings: tuple[events.MeetingUpdated, ...] = ()
    shifts: tuple[events.MoodShifted, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def utterances(self) -> tuple[UtteranceRecord, ...]:
        """Return those of all sessions, session by session."""
        return tuple(each for session in self.sessions for each in session.utterances)

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the labels of all sessions, each once."""
        return tuple(dict.fromkeys(name for each in self.sessions for name in each.categories))


def replace_audio(recording: Recording, audio: Path | None) -> Recording:
    """Return a recording whose sessions all have that sound."""
    sessions = tuple(
        msgspec.structs.replace(session, audio=audio) for session in recording.sessions
    )
    return msgspec.structs.replace(recording, sessions=sessions)


class Timeline(events.Record, frozen=True, kw_only=True):
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
