"""``streamser export``: what a session has left, in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.report_files import is_same
from streamser.cli.session_files import (
    Meeting,
    OneClock,
    SessionFiles,
    SessionIds,
    find_sessions,
    read_sessions,
)
from streamser.cli.talk import counted, tell
from streamser.errors import ConfigError, StreamserError
from streamser.export.formats import ExportFormat, format_by_name

if TYPE_CHECKING:
    from streamser.export.records import Recording

__all__ = ["export"]


def export(
    files: SessionFiles,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="FILE|FORMAT[,…]",
            help=f"{', '.join(ExportFormat)}: beside the session; or files, by their endings.",
        ),
    ] = None,
    session: SessionIds = None,
    meeting: Meeting = None,
    one_clock: OneClock = False,
    audio: Annotated[
        Path | None,
        typer.Option("--audio", metavar="F", help="The file with the sound.", readable=False),
    ] = None,
) -> None:
    """Write a recorded session in other formats.

    Several files of one meeting become one: their sessions are laid on the meeting's clock.
    Old files are replaced.
    """
    from streamser.cli.exporting import read_targets
    from streamser.export.formats import render, save
    from streamser.export.records import replace_audio

    if not to:
        raise ConfigError(
            f"say what to make: --to, with a file or one of {', '.join(ExportFormat)}."
        )
    files = find_sessions(files)
    targets = read_targets(_named(to, files[0]), fresh=False, option="--to")
    for target in targets:
        if any(is_same(target.path, file) for file in (*files, *([audio] if audio else []))):
            raise ConfigError(f"--to {target.path}: that is what is read; name another file.")
    if audio is not None and not audio.is_file():
        raise ConfigError(f"--audio {audio}: there is no such file.")
    recording = read_sessions(files, session, meeting)
    recording = replace_audio(recording, audio) if audio is not None else recording
    beside = {files[0].with_name(files[0].stem + form.ending) for form in ExportFormat}
    for target in targets:
        named = target.path not in beside
        try:
            if target.form is ExportFormat.JSONL:
                _copy(files, recording, target.path, named=named)
            else:
                made = render(target.form, recording, one_clock=one_clock)
                save(made, target.path, named=named)
        except OSError as error:
            why = error.strerror or error
            raise StreamserError(f"--to {target.path}: {why}.", code="output_failed") from None
        except StreamserError as error:
            raise StreamserError(f"{target.path}: {error}", code=error.code) from None
        tell(f"{target.path}: {_counted(recording)}.")


def _named(to: list[str], first: Path) -> list[str]:
    """Give formats that are named alone a file beside the first session's."""
    parts = [part.strip() for value in to for part in value.split(",")]
    return [
        str(first.with_name(first.stem + format_by_name("--to", part).ending))
        if part and not Path(part).suffix and "/" not in part
        else part
        for part in parts
    ]


def _counted(recording: Recording) -> str:
    utterances = counted(len(recording.utterances), "utterance")
    if len(recording.sessions) == 1:
        return utterances
    return f"{utterances} of {counted(len(recording.sessions), 'session')}"


def _copy(files: list[Path], recording: Recording, path: Path, *, named: bool) -> None:
    """Write the events of the chosen sessions, with all that stands beside them."""
    from streamser.events import Event
    from streamser.export.formats import save
    from streamser.export.read import EventFile

    chosen = {session.session_id for session in recording.sessions}
    lines = [
        line.raw.decode().rstrip("\n")
        for file in files
        for line in EventFile(file)
        if isinstance(line.event, Event) and line.event.session_id in chosen
    ]
    save("".join(f"{line}\n" for line in lines), path, named=named)
