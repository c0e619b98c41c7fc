"""The formats by their names, and what each of them makes of a recording."""

from __future__ import annotations

import errno
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from streamser.errors import ConfigError
from streamser.saving import replacing, writing

if TYPE_CHECKING:
    from streamser.export.records import Recording

__all__ = [
    "ExportFormat",
    "Rendered",
    "format_by_ending",
    "format_by_name",
    "is_format",
    "render",
    "save",
]

Rendered: TypeAlias = str | dict[str, str]
"""The text of a file, or the texts of the files of a folder by their names."""


_MARK = "\ufeff"


class ExportFormat(StrEnum):
    """What a session can be written as; each is its name on the command line, too."""

    JSONL = "jsonl"
    CSV = "csv"
    SRT = "srt"
    VTT = "vtt"
    EMOTIONML = "emotionml"
    TEXTGRID = "textgrid"
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
            from streamser.export.table import to_csv

            return _MARK + to_csv(recording)
        case ExportFormat.AUDFORMAT:
            from streamser.export.audformat import to_audformat

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
            from streamser.export.textgrid import to_textgrid

            return to_textgrid(timeline_of(recording, one_clock=one_clock))
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
