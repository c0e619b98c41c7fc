"""Read files of events back: those of ``--json``, ``--record``, ``--export`` and of listeners."""

from __future__ import annotations

import io
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from streamser.errors import StreamserError
from streamser.events import AnyEvent, EmotionBody, Event, decode_event
from streamser.export.gather import Gatherer, Place
from streamser.export.records import Recording, SessionRecord
from streamser.export.timeline import SOUNDS, listed

__all__ = ["EventFile", "Line", "choose_meeting", "choose_session", "read_recording"]

_LONGEST: Final = 2**24
"""Bytes of a line; more than a server lets anybody say."""
_STRANGE: Final = 1_000
"""Lines at the beginning of a file that may be no events before it is given up."""
_CODE_PAGE: Final = "not UTF-8 but in a code page of some shell; convert the file to UTF-8"
_FARTHEST_MS: Final = 2**53


class Line(msgspec.Struct, frozen=True):
    """Hold an event, what stands beside it, and the line as it was."""

    event: AnyEvent
    place: Place
    raw: bytes


class _Foreign(msgspec.Struct, frozen=True):
    """Hold what every event has, of one that nobody here knows."""

    type: str
    event_id: str


class EventFile:
    """Iterate over the events of a file; ``notes`` then says for people what was passed over.

    A last line that is cut off ends the file. Raises ``StreamserError`` where the file cannot
    be read, or where no event is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[Line]:
        self.notes.clear()
        known = strange = foreign = broken = 0
        for raw in self._lines():
            line = _read(raw)
            if isinstance(line, Line):
                known += 1
                yield line
            elif isinstance(line, _Foreign):
                foreign += 1
            elif known and not raw.endswith(b"\n"):
                self.notes.append(f"{self.path}: its last line is cut off; read up to there.")
            elif raw.lstrip().startswith(b"{") and not _is_utf8(raw):
                broken += 1
            elif raw.strip():
                strange += 1
            if not known and strange + foreign + broken > _STRANGE:
                break
        if not known:
            what = "no events of ours are in it" if strange + foreign else "there is nothing in it"
            what = f"it is {_CODE_PAGE}" if broken else what
            raise StreamserError(
                f"{self.path}: {what}; give a file of events, as listen --json or"
                " --export x.jsonl write them.",
                code="no_session",
            )
        passed = {
            "no events": strange,
            "events that nobody here knows": foreign,
            _CODE_PAGE: broken,
        }
        for what, count in passed.items():
            if count:
                lines = "1 line" if count == 1 else f"{count} lines"
                self.notes.append(f"{self.path}: {lines} passed over: {what}.")

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                # Some shells and editors put a mark before UTF-8, PowerShell 5 writes UTF-16.
                mark = file.read(len(BOM_UTF8))
                if mark.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                    file.seek(0)
                    yield from _recoded(file)
                    return
                if mark != BOM_UTF8:
                    file.seek(0)
                while line := file.readline(_LONGEST):
                    yield line
        except OSError as error:
            why = error.strerror or error
            raise StreamserError(f"{self.path}: {why}.", code="no_session") from None


def read_recording(*paths: Path | str) -> Recording:
    """Read files of events, one after another, as if they were one.

    Raises ``StreamserError`` where one cannot be read or holds no events.
    """
    gatherer = Gatherer()
    notes: list[str] = []
    origins: dict[str, Path] = {}
    for path in map(Path, paths):
        file = EventFile(path)
        for line in file:
            gatherer.take(line.event, line.place)
            if isinstance(line.event, Event):
                origins.setdefault(line.event.session_id, path)
        notes += file.notes
    recording = gatherer.recording()
    sessions = tuple(
        msgspec.structs.replace(session, audio=_sound_of(session, origins.get(session.session_id)))
        for session in recording.sessions
    )
    return msgspec.structs.replace(recording, sessions=sessions, notes=tuple(notes))


def choose_session(recording: Recording, session_ids: Sequence[str]) -> Recording:
    """Return a recording with these sessions alone; ``StreamserError`` where one is not in it."""
    known = [session.session_id for session in recording.sessions]
    for session_id in session_ids:
        if session_id not in known:
            raise StreamserError(
                f"there is no session {session_id}; there are {listed(known)}.",
                code="unknown_session",
            )
    chosen = tuple(each for each in recording.sessions if each.session_id in session_ids)
    return msgspec.structs.replace(recording, sessions=chosen)


def choose_meeting(recording: Recording, meeting: str) -> Recording:
    """Return a recording with one meeting alone; ``StreamserError`` where it is not in it."""
    known = dict.fromkeys(each.meeting for each in recording.sessions if each.meeting)
    if meeting not in known:
        there = f"there are {listed(list(known))}" if known else "there is none"
        raise StreamserError(f"there is no meeting {meeting}; {there}.", code="unknown_session")
    return msgspec.structs.replace(
        recording,
        sessions=tuple(each for each in recording.sessions if each.meeting == meeting),
        meetings=tuple(each for each in recording.meetings if each.meeting == meeting),
        shifts=tuple(each for each in recording.shifts if each.meeting == meeting),
    )


def _recoded(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of UTF-16 as UTF-8."""
    with io.TextIOWrapper(file, encoding="utf-16", errors="replace") as text:
        while line := text.readline(_LONGEST):
            yield line.encode("utf-8", "replace")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(raw: bytes) -> Line | _Foreign | None:
    """Read a line: an event, one of a type or form that nobody knows, or neither."""
    if not _is_utf8(raw):
        return None
    try:
        event = decode_event(raw)
        place = msgspec.json.decode(raw, type=Place)
    except msgspec.DecodeError:
        try:
            return msgspec.json.decode(raw, type=_Foreign)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return None
    if any(abs(time) > _FARTHEST_MS for time in _times_of(event, place)):
        return None
    return Line(event, place, raw)


def _times_of(event: AnyEvent, place: Place) -> Iterator[float]:
    for name in ("at_ms", "unix_ms"):
        yield getattr(place, name) or 0
    for name in ("audio_start_ms", "audio_end_ms", "audio_ms", "since_ms", "lag_ms", "at_ms"):
        yield getattr(event, name, None) or 0
    for word in getattr(event, "words", ()):
        yield word.start_ms
        yield word.end_ms
    emotion = getattr(event, "emotion", None)
    if isinstance(emotion, EmotionBody):
        yield emotion.window.start_ms
        yield emotion.window.end_ms


def _sound_of(session: SessionRecord, origin: Path | None) -> Path | None:
    """Find the sound that ``--record`` kept beside the events, else the file that was read."""
    kept = None if origin is None else origin.with_name("audio.flac")
    if origin is not None and origin.name == "session.jsonl" and kept and kept.is_file():
        return kept
    if session.source is None:
        return None
    source = Path(session.source)
    try:
        # Events may come from anybody: what they name is no sound just because it is there.
        return source if source.suffix.lower() in SOUNDS and source.is_file() else None
    except (OSError, ValueError):
        return None
