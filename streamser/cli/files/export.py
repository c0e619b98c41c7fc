"""``streamser export``, and ``--export`` of other commands: what a session leaves, in files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streamser.cli.console import counted, tell, warn
from streamser.cli.options import (
    Meeting,
    OneClock,
    SessionFiles,
    SessionIds,
    check_folder,
    check_writable,
    find_sessions,
    is_same,
    read_sessions,
)
from streamser.errors import ConfigError, StreamserError
from streamser.export.formats import ExportFormat, format_by_ending, format_by_name, is_format

if TYPE_CHECKING:
    from streamser.audio.clip import Samples
    from streamser.events import Event
    from streamser.export.formats import EventLog
    from streamser.export.records import Recording

_FORMATS = ", ".join(form.ending for form in ExportFormat)
ExportFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        metavar="FILE[,FILE…]",
        help=f"Write what was found to files, by their endings: {_FORMATS}.",
    ),
]
ExportAs = Annotated[
    str | None,
    typer.Option(
        "--export-as",
        metavar="FORMAT[,…]",
        help=f"With --export FOLDER: formats, of {', '.join(ExportFormat)}. [jsonl]",
    ),
]


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


class Target(msgspec.Struct, frozen=True):
    """Hold a file that is to be written, and its format; ``named``: a user has named it."""

    path: Path
    form: ExportFormat
    named: bool = True


def read_targets(values: Sequence[str], *, fresh: bool, option: str = "--export") -> list[Target]:
    """Read files to export to; raise ``ConfigError`` for what cannot be, or must not be, written.

    ``fresh``: none of them may be there already.
    """
    targets: list[Target] = []
    for part in _parts(option, values):
        path = Path(part)
        form = format_by_ending(option, path)
        if form is ExportFormat.AUDFORMAT:
            check_folder(option, path)
            if not path.absolute().parent.is_dir():
                raise ConfigError(f"{option} {path}: its folder does not exist; make it first.")
        else:
            check_writable(option, path)
        if fresh and (path.exists() or path.is_symlink()):
            raise ConfigError(f"{option} {path}: it is there already; name another file.")
        if any(path.absolute() == target.path.absolute() for target in targets):
            raise ConfigError(f"{option} {path}: it is named twice.")
        targets.append(Target(path, form))
    return targets


def read_formats(value: str | None) -> list[ExportFormat]:
    """Read ``--export-as``; raises ``ConfigError``."""
    names = _parts("--export-as", ["jsonl" if value is None else value])
    return list(dict.fromkeys(format_by_name("--export-as", name) for name in names))


class ExportSink:
    """Write the events of a session as they come, and the other formats when it is over.

    Of a session that never began nothing is written. A fault (disk full) costs one line and
    what it concerns; ``complete`` turns false, and the session goes on. ``live``: the files
    are new, and events say when the session began. All are for their owner's eyes only.
    """

    def __init__(self, targets: Sequence[Target], *, live: bool) -> None:
        from streamser.export.gather import Gatherer

        self.complete = True
        self._targets = targets
        self._live = live
        self._logs: dict[Path, EventLog | None] = {}
        others = any(target.form is not ExportFormat.JSONL for target in targets)
        self._gatherer = Gatherer() if others else None
        self._begun = False

    def take(self, event: Event) -> None:
        """Take the next event."""
        from streamser.export.formats import line_of

        if not self._begun:
            self._begun = True
            self._open()
        if self._gatherer is not None:
            self._gatherer.collect(event)
        line = line_of(event, round(time.time() * 1000) if self._live else None)
        for path, log in self._logs.items():
            if log is None:
                continue
            try:
                log.write(line)
            except OSError as error:
                self._logs[path] = None
                log.close()
                self._stop(path, error)

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Finish all files."""
        written = [str(path) for path, log in self._logs.items() if log is not None]
        for log in self._logs.values():
            if log is not None:
                log.close()
        if self._gatherer is not None and self._begun:
            from streamser.export.formats import render, save

            recording = self._gatherer.recording()
            for target in self._targets:
                if target.form is ExportFormat.JSONL:
                    continue
                try:
                    # Several sessions here are one stream whose server was restarted.
                    made = render(target.form, recording, one_clock=self._live)
                    save(made, target.path, named=target.named)
                    written.append(str(target.path))
                except (OSError, StreamserError) as error:
                    self._stop(target.path, error)
        if written:
            tell(f"Written: {', '.join(written)}.")

    def _open(self) -> None:
        from streamser.export.formats import EventLog

        for target in self._targets:
            if target.form is ExportFormat.JSONL:
                try:
                    self._logs[target.path] = EventLog(
                        target.path, fresh=self._live, named=target.named
                    )
                except OSError as error:
                    self._stop(target.path, error)

    def _stop(self, path: Path, error: OSError | StreamserError) -> None:
        self.complete = False
        why = getattr(error, "strerror", None) or error
        warn(f"--export {path} is not complete: {why}")


class FileExports:
    """Export recordings that are analysed one after another.

    Into files that hold all of them, or into a folder with a set of files for each, called
    after it. Raises ``ConfigError`` for what cannot be, before anything is analysed.
    """

    def __init__(
        self,
        values: Sequence[str],
        formats: str | None,
        recordings: Sequence[Path],
        tables: Sequence[Path] = (),
    ) -> None:
        folder = _folder_of(values, formats)
        self._names: dict[Path, str] = {}
        self._folder = folder
        self._formats = read_formats(formats)
        self._sink: ExportSink | None = None
        self._file: Path | None = None
        self.complete = True
        if folder is not None:
            check_folder("--export", folder)
            return
        targets = read_targets(values, fresh=False)
        for target in targets:
            if any(is_same(target.path, each) for each in (*recordings, *tables)):
                raise ConfigError(f"--export {target.path}: that is what is read.")
            if len(recordings) > 1 and not target.form.holds_many:
                raise ConfigError(
                    f"--export {target.path}: it holds one recording, and there are"
                    f" {len(recordings)}; name a folder: --export DIR/ --export-as {target.form}."
                )
        self._sink = ExportSink(targets, live=False)

    def take(self, file: Path, event: Event) -> None:
        """Take the next event of a recording."""
        if self._folder is not None and file != self._file:
            self._finish()
            self._sink = ExportSink(self._targets_for(file), live=False)
        self._file = file
        assert self._sink is not None
        self._sink.take(event)

    def close(self) -> None:
        """Finish all files."""
        self._finish()

    def _finish(self) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.close()
            self.complete = self.complete and sink.complete

    def _targets_for(self, file: Path) -> list[Target]:
        assert self._folder is not None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise StreamserError(f"--export {self._folder}: {why}.", code="output_failed") from None
        name = base = file.stem
        number = 2
        while name in self._names.values():
            name, number = f"{base}-{number}", number + 1
        self._names[file] = name
        return [
            Target(self._folder / f"{name}{form.ending}", form, named=False)
            for form in self._formats
        ]


@contextmanager
def exporting_files(exports: FileExports | None) -> Iterator[None]:
    """Finish the files when the block ends, also where Ctrl-C ends it."""
    try:
        yield
    finally:
        if exports is not None:
            exports.close()


def _parts(option: str, values: Sequence[str]) -> list[str]:
    parts = [part.strip() for value in values for part in value.split(",")]
    if not all(parts):
        raise ConfigError(f"{option}: there is an empty name in it; leave it out.")
    return parts


def _folder_of(values: Sequence[str], formats: str | None) -> Path | None:
    """Return the folder that is meant, if one is."""
    if len(values) == 1 and "," not in values[0] and not is_format(Path(values[0])):
        folder = Path(values[0])
        # Else it is a file whose name says no format, which is told.
        if values[0].endswith("/") or folder.is_dir() or formats is not None:
            return folder
    if formats is not None:
        raise ConfigError("--export-as goes with one folder: --export DIR/.")
    return None
