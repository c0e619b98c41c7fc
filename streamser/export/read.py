"""Read files of events back: those of ``--json``, ``--record``, ``--export`` and of listeners."""

from __future__ import annotations

import io
import itertools
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from streamser.errors import StreamserError
from streamser.events import AnyEvent, EmotionBody, Event, decode_event
from streamser.export.gather import Gatherer, LineStamp
from streamser.export.records import SOUNDS, Recording, SessionRecord, check_meeting, listed
from streamser.export.tables import columns_of, rows_of
from streamser.export.utterances import needs_pandas

if TYPE_CHECKING:
    import pandas

_LONGEST: Final = 2**22
"""Bytes of a line; more than our clients take from a server."""
_STRANGE: Final = 1_000
"""Lines at the beginning of a file that may be no events before it is given up."""
_CODE_PAGE: Final = "not UTF-8 but in a code page of some shell; convert the file to UTF-8"
_FOREIGN: Final = "events that nobody here knows"
_STRANGE_LINE: Final = "no events"
_TOO_LONG: Final = f"longer than {_LONGEST >> 20} MiB"
_FARTHEST_MS: Final = 366 * 86_400_000
_LONGEST_MS: Final = 3_600_000
"""An utterance; settings allow ten minutes."""
_DATE_MS: Final = 2**53
_MOST: Final = 2**53
_MARGIN: Final = 1e-3


class Line(msgspec.Struct, frozen=True):
    """Hold an event, what stands beside it, and the line as it was."""

    event: AnyEvent
    place: LineStamp
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
        known = 0
        passed: dict[str, tuple[int, int]] = {}
        for number, raw in enumerate(self._lines(), 1):
            line = _TOO_LONG if raw is None else _read(raw)
            if isinstance(line, Line):
                known += 1
                yield line
            elif known and raw is not None and not raw.endswith(b"\n"):
                self.notes.append(f"{self.path}: its last line is cut off; read up to there.")
            elif line is not None:
                count, first = passed.get(line, (0, number))
                passed[line] = (count + 1, first)
            if not known and sum(count for count, _ in passed.values()) > _STRANGE:
                break
        if not known:
            what = "no events of ours are in it" if passed else "there is nothing in it"
            odd = next((why for why in passed if why not in (_STRANGE_LINE, _FOREIGN)), None)
            if _CODE_PAGE in passed:
                what = f"it is {_CODE_PAGE}"
            elif odd is not None:
                what = f"{what} (line {passed[odd][1]}: {odd})"
            raise StreamserError(
                f"{self.path}: {what}; give a file of events, as listen --json or"
                " --export x.jsonl write them.",
                code="no_session",
            )
        for why, (count, first) in passed.items():
            lines = f"line {first}" if count == 1 else f"{count} lines, the first is {first},"
            self.notes.append(f"{self.path}: {lines} passed over: {why}.")

    def _lines(self) -> Iterator[bytes | None]:
        """Yield the lines; ``None`` for one that is too long."""
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
                    if len(line) < _LONGEST or line.endswith(b"\n"):
                        yield line
                        continue
                    while line and not line.endswith(b"\n"):
                        line = file.readline(_LONGEST)
                    yield None
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
            gatherer.collect(line.event, line.place)
            if isinstance(line.event, Event):
                origins.setdefault(line.event.session_id, path)
        notes += file.notes
    recording = gatherer.recording()
    sessions = tuple(
        msgspec.structs.replace(session, audio=_sound_of(session, origins.get(session.session_id)))
        for session in recording.sessions
    )
    return msgspec.structs.replace(recording, sessions=sessions, notes=tuple(notes))


def without_folders(recording: Recording, files: Sequence[Path]) -> Recording:
    """Leave out of its notes where the files lie: what is made of it is shown to others."""
    notes = recording.notes
    for file in files:
        notes = tuple(note.replace(str(file), file.name) for note in notes)
    return msgspec.structs.replace(recording, notes=notes)


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
    check_meeting(meeting, [each.meeting for each in recording.sessions])
    return msgspec.structs.replace(
        recording,
        sessions=tuple(each for each in recording.sessions if each.meeting == meeting),
        meetings=tuple(each for each in recording.meetings if each.meeting == meeting),
        shifts=tuple(each for each in recording.shifts if each.meeting == meeting),
    )


def _recoded(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of UTF-16 as UTF-8; ``None`` for one that is too long."""
    with io.TextIOWrapper(file, encoding="utf-16", errors="replace") as text:
        while line := text.readline(_LONGEST):
            if len(line) < _LONGEST or line.endswith("\n"):
                yield line.encode("utf-8", "replace")
                continue
            while line and not line.endswith("\n"):
                line = text.readline(_LONGEST)
            yield None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(raw: bytes) -> Line | str | None:
    """Read a line: an event, or why it is none; ``None`` for an empty one."""
    if not raw.strip():
        return None
    if not _is_utf8(raw):
        return _CODE_PAGE if raw.lstrip().startswith(b"{") else _STRANGE_LINE
    try:
        event = decode_event(raw)
        place = msgspec.json.decode(raw, type=LineStamp)
    except msgspec.DecodeError:
        try:
            msgspec.json.decode(raw, type=_Foreign)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return _STRANGE_LINE
        return _FOREIGN
    why = _implausible(event, place)
    return Line(event, place, raw) if why is None else why


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


def _implausible(event: AnyEvent, place: LineStamp) -> str | None:
    """Say what of an event cannot be: times, lengths or shares; ``None``: all can."""
    if any(abs(time) > _FARTHEST_MS for time in _times_of(event, place)):
        return "a time beyond a year"
    numbers = (getattr(event, name) for name in event.__struct_fields__)
    if any(isinstance(each, int | float) and abs(each) > _MOST for each in numbers):
        return "a number beyond all counting"
    if abs(place.unix_ms or 0) > _DATE_MS:
        return "a date that is none"
    for start, end in _spans_of(event):
        if not -_MARGIN <= end - start <= _LONGEST_MS:
            return "an utterance of more than an hour, or less than nothing"
    if any(not -_MARGIN <= share <= 1 + _MARGIN for share in _shares_of(event)):
        return "a share that is not between 0 and 1"
    if any(abs(value) > 1 + _MARGIN for value in _values_of(event)):
        return "a dimension that is not between -1 and 1"
    return None


def _times_of(event: AnyEvent, place: LineStamp) -> Iterator[float]:
    yield place.at_ms or 0
    for name in ("audio_start_ms", "audio_end_ms", "audio_ms", "speech_ms", "since_ms", "lag_ms"):
        yield getattr(event, name, None) or 0
    yield getattr(event, "at_ms", None) or 0
    for word in getattr(event, "words", ()):
        yield word.start_ms
        yield word.end_ms
    yield from itertools.chain.from_iterable(_spans_of(event))


def _spans_of(event: AnyEvent) -> Iterator[tuple[float, float]]:
    emotion = getattr(event, "emotion", None)
    if isinstance(emotion, EmotionBody):
        yield emotion.window.start_ms, emotion.window.end_ms
    parts = [each for change in getattr(event, "changes", ()) for each in change.parts]
    for part in (*getattr(event, "parts", ()), *parts):
        yield part.start_ms, part.end_ms
    start, end = (getattr(event, name, None) for name in ("audio_start_ms", "audio_end_ms"))
    if start is not None and end is not None:
        yield start, end


def _judged_in(event: AnyEvent) -> Iterator[Any]:
    """Yield whatever in an event may have scores and dimensions."""
    yield from (event, getattr(event, "emotion", None), getattr(event, "mood", None))
    changed = (change.parts for change in getattr(event, "changes", ()))
    for part in itertools.chain(getattr(event, "parts", ()), *changed):
        yield part.emotion


def _shares_of(event: AnyEvent) -> Iterator[float]:
    for judged in _judged_in(event):
        yield getattr(judged, "confidence", None) or 0.0
        yield from (getattr(judged, "scores", None) or {}).values()


def _values_of(event: AnyEvent) -> Iterator[float]:
    for judged in _judged_in(event):
        dimensions = getattr(judged, "dimensions", None)
        for name in ("valence", "arousal", "dominance"):
            yield getattr(dimensions, name, None) or 0.0


def read_session(*paths: str | Path, session: str | None = None) -> pandas.DataFrame:
    """Read what a session left: files of events, as ``listen --json`` or ``--export`` write them.

    Returns a table with one row an utterance, times in s, what was not measured missing; its
    ``attrs["notes"]`` say what could not be read. ``session`` chooses one of several by its id.
    ``read_recording`` gives typed records of utterances, readings, moods and losses instead.
    Raises ``StreamserError`` where a file cannot be read or holds no events, and
    ``ModuleNotFoundError`` without pandas.
    """
    pandas = needs_pandas("read_session() (read_recording() does not)")
    recording = read_recording(*paths)
    if session is not None:
        recording = choose_session(recording, [session])
    frame = pandas.DataFrame(list(rows_of(recording)), columns=list(columns_of(recording)))
    frame.attrs["notes"] = list(recording.notes)
    return frame
