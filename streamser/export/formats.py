"""The formats by their names, and their files: made whole, or event by event as they happen."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, TypeAlias

from streamser.errors import ConfigError
from streamser.events import Event, SessionCreated, encode_event
from streamser.saving import replacing, writing

if TYPE_CHECKING:
    from streamser.export.records import Recording

Rendered: TypeAlias = str | dict[str, str]
"""The text of a file, or the texts of the files of a folder by their names."""


_MARK = "\ufeff"
_LONGEST_BYTES: Final = 80
"""Of a name in a file's name: systems take 255 bytes in all."""
_STEM: Final = re.compile(r"(\d{8}T\d{6}Z)_(?:.+_)?sess_[0-9a-z]+(?:\.|$)")
"""Many a recorder begins names with the time: only those of a session are ours."""
_TIME: Final = "%Y%m%dT%H%M%SZ"


class ExportFormat(StrEnum):
    """What a session can be written as; each is its name on the command line, too."""

    JSONL = "jsonl"
    CSV = "csv"
    SRT = "srt"
    VTT = "vtt"
    EMOTIONML = "emotionml"
    TEXTGRID = "textgrid"
    EAF = "eaf"
    RTTM = "rttm"
    AUDFORMAT = "audformat"

    @property
    def ending(self) -> str:
        """Return what names of its files end in; of audformat, the folder's."""
        return {
            ExportFormat.TEXTGRID: ".TextGrid",
            ExportFormat.EMOTIONML: ".emotionml",
        }.get(self, f".{self.value}")

    @property
    def holds_many(self) -> bool:
        """Return whether sessions stand in it one after another, each on its own clock."""
        return self in (ExportFormat.JSONL, ExportFormat.CSV, ExportFormat.AUDFORMAT)


_ENDINGS = {form.ending.lower(): form for form in ExportFormat} | {
    ".emotionml.xml": ExportFormat.EMOTIONML,
    ".ndjson": ExportFormat.JSONL,
}


def is_format(path: Path) -> bool:
    """Return whether a file of that name is one of the formats."""
    return _ending_of(path) is not None


def _ending_of(path: Path) -> ExportFormat | None:
    name = path.name.lower()
    for ending, form in _ENDINGS.items():
        if name.endswith(ending) and name != ending:
            return form
    return None


def format_by_ending(option: str, path: Path) -> ExportFormat:
    """Return the format that a file's name asks for; raises ``ConfigError``."""
    found = _ending_of(path)
    if found is not None:
        return found
    endings = ", ".join(form.ending for form in ExportFormat)
    raise ConfigError(f"{option} {path}: its name must end in one of {endings}.")


def format_by_name(option: str, name: str) -> ExportFormat:
    """Return a format; raises ``ConfigError`` for a name that is none."""
    try:
        return ExportFormat(name.lower())
    except ValueError:
        names = ", ".join(ExportFormat)
        raise ConfigError(f"{option} {name}: there is no such format; choose of {names}.") from None


def render(form: ExportFormat, recording: Recording, *, one_clock: bool = False) -> Rendered:
    """Write a recording in a format that is not that of the events themselves.

    CSV begins with the mark by which table programs know UTF-8.

    Raises ``StreamserError`` where its sessions cannot stand together in that format.
    ``one_clock``: see ``timeline_of``.
    """
    from streamser.export.timeline import timeline_of

    match form:
        case ExportFormat.CSV:
            from streamser.export.tables import to_csv

            return _MARK + to_csv(recording)
        case ExportFormat.AUDFORMAT:
            from streamser.export.tables import to_audformat

            return to_audformat(recording)
        case ExportFormat.SRT:
            from streamser.export.subtitles import to_srt

            return to_srt(timeline_of(recording, one_clock=one_clock))
        case ExportFormat.VTT:
            from streamser.export.subtitles import to_vtt

            return to_vtt(timeline_of(recording, one_clock=one_clock))
        case ExportFormat.EMOTIONML:
            from streamser.export.emotionml import to_emotionml

            return to_emotionml(timeline_of(recording, one_clock=one_clock))
        case ExportFormat.TEXTGRID:
            from streamser.export.tiers import to_textgrid

            return to_textgrid(timeline_of(recording, one_clock=one_clock))
        case ExportFormat.EAF:
            from streamser.export.tiers import to_eaf

            return to_eaf(timeline_of(recording, one_clock=one_clock))
        case ExportFormat.RTTM:
            from streamser.export.tiers import to_rttm

            return to_rttm(timeline_of(recording, one_clock=one_clock))
        case ExportFormat.JSONL:
            raise ValueError("events are written as they come")


def save(rendered: Rendered, path: Path, *, named: bool = False) -> None:
    """Write a file, or a folder of files, whole: no half of one takes the place of an old one.

    What people say is theirs: it is for its owner's eyes only. No link is followed, but for one
    that a user has ``named``. Raises ``OSError``.
    """
    if isinstance(rendered, dict):
        if path.is_symlink() and not named:
            raise FileExistsError(errno.EEXIST, "a link is in the way: remove it", str(path))
        fresh = not path.exists()
        path.mkdir(mode=0o700, exist_ok=True)
        try:
            for name, text in rendered.items():
                save(text, path / name)
        except OSError:
            if fresh:
                shutil.rmtree(path, ignore_errors=True)
            raise
        return
    with (writing if named else replacing)(path, private=True) as file:
        file.write(rendered.encode("utf-8", errors="backslashreplace"))


def line_of(event: Event, unix_ms: int | None = None) -> bytes:
    """Return an event as a line; with ``unix_ms``, ms since 1970, the first says when it began."""
    body = encode_event(event)
    if unix_ms is None or not isinstance(event, SessionCreated):
        return body + b"\n"
    return b'%b,"unix_ms":%d}\n' % (body[:-1], unix_ms)


class EventLog:
    """Write lines to a file, each at once and whole.

    What people say is theirs: the file is for its owner's eyes only, and marked as being
    written until it is closed. With ``fresh`` it must be a new one; else it may take the place
    of an old one. No link is followed, but for one that a user has ``named``. Raises
    ``OSError``, from ``write`` too (disk full); then no part of the line stays behind, since
    half an event is none and could not be read.
    """

    def __init__(self, path: Path, *, fresh: bool = True, named: bool = False) -> None:
        self.path = path
        over = named and not fresh
        if not fresh and not named:
            path.unlink(missing_ok=True)
        mode: Literal["xb", "wb"] = "wb" if over else "xb"
        self._file = open(path, mode, buffering=0, opener=_private)  # noqa: SIM115
        hold(self._file)
        if over and path.is_file():
            # An old one has the rights it had.
            path.chmod(0o600)
        self._kept = 0

    def write(self, line: bytes) -> None:
        """Write a line, its end included."""
        try:
            while line:
                line = line[self._file.write(line) :]
            self._kept = self._file.tell()
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._kept)
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def hold(file: IO[Any]) -> None:
    """Mark an open file as being written, until it is closed or its process ends.

    Windows refuses to replace open files by itself; some disks of networks know no marks.
    """
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Return whether somebody is writing a file; raises ``OSError`` where it cannot be read."""
    if sys.platform == "win32":
        return False
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def kept_stem(unix_s: float, meeting: str | None, speaker: str | None, session_id: str) -> str:
    """Return ``TIME_MEETING_SPEAKER_SESSION`` without what is not known; the time is UTC."""
    time = datetime.fromtimestamp(unix_s, UTC).strftime(_TIME)
    parts = [safe_part(name) for name in (meeting, speaker) if name]
    return "_".join([time, *(part for part in parts if part), session_id])


def safe_part(name: str) -> str:
    """Return a name as part of a file's name anywhere: letters, digits, hyphens; may be empty.

    Different names can become the same part.
    """
    kept = re.sub(r"[\W_]+", "-", name).strip("-")
    return kept.encode()[:_LONGEST_BYTES].decode(errors="ignore").strip("-")


def began_at(path: Path) -> float | None:
    """Return when the session of a kept file began, s since 1970; ``None`` for other files."""
    found = _STEM.match(path.name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
