"""``streamser analyze``: files, as fast as the machine allows."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import msgspec
import typer

from streamser.cli.common import Common, takes_settings
from streamser.cli.ending import leaving_at_once
from streamser.cli.exporting import ExportAs, ExportFiles, FileExports, exporting_files
from streamser.cli.formats import Format, Writer, open_writer
from streamser.cli.plugged import PluggedSinks, SinkNames, plugged_sinks
from streamser.cli.report_files import is_same
from streamser.cli.streams import as_utf8, for_json
from streamser.cli.talk import clock, complain, tell
from streamser.cli.tracks import Track
from streamser.cli.utterance import read_utterance
from streamser.errors import ConfigError, StreamserError
from streamser.events import ErrorRaised, Event, SessionClosed, SessionCreated, TranscriptionFailed
from streamser.export.formats import is_format
from streamser.saving import writing
from streamser.visible import printable

if TYPE_CHECKING:
    from streamser.cli.batch import FileItem

__all__ = ["analyze"]


@takes_settings
def analyze(
    common: Common,
    files: Annotated[
        # Unreadable ones are told one by one, and do not keep the others back.
        list[Path], typer.Argument(metavar="FILE...", help="Recordings.", readable=False)
    ],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="jsonl: every event; csv: a row an utterance; table: for people."
            " [by the ending of OUT, else table on a terminal, else jsonl]",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="OUT", help="Write to a file; -: to stdout."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Files read at once.")
    ] = 2,
    partials: Annotated[
        bool, typer.Option("--partials", help="Also tell what is told while somebody speaks.")
    ] = False,
    export: ExportFiles = None,
    export_as: ExportAs = None,
    sink: SinkNames = None,
    track: Track = None,
) -> None:
    """Analyse files as fast as the machine allows.

    Results come in the order of the files. Exit code 1 if a file could not be read or not
    to its end; the others are still done. With --export DIR/ each file has a set of its own.
    """
    settings = common.load({"partial.every_ms": None if partials else 0}).settings
    out = None if target is None or target == "-" else Path(target)
    if out is not None and any(is_same(out, file) for file in files):
        raise ConfigError(f"-o {out}: that is one of the recordings; name another file.")
    if export is None and export_as is not None:
        raise ConfigError("--export-as goes with --export DIR/: add it.")
    if out is not None:
        _check_out(out, form)
    exports = None if export is None else FileExports(export, export_as, files)
    from streamser import Analyzer
    from streamser.cli.batch import analyse_files
    from streamser.cli.progress import watching

    chosen = {"--channel": settings.audio.channel, "--track": track}
    only = [f"{option} {number}" for option, number in chosen.items() if number is not None]
    form = form or _format_of(out)
    scrolling = out is None and form is not Format.TABLE and sys.stdout.isatty()
    with (
        plugged_sinks(sink, patient=True) as plugged,
        Analyzer(settings, tell=tell) as analyzer,
        leaving_at_once(),
    ):
        # A missing model is told once, not once for each file.
        analyzer.models()
        with (
            watching(shown=not scrolling and sys.stderr.isatty()) as watch,
            _output(out, form) as stream,
            contextlib.closing(analyse_files(analyzer, files, jobs, watch, track)) as items,
            exporting_files(exports),
            contextlib.closing(plugged),
        ):
            outcome = _write(items, open_writer(form, stream), exports, plugged, only)
            if not outcome.analysed:
                # An older OUT is worth more than an empty one.
                raise typer.Exit(1)
    if outcome.faults or not (plugged.complete and (exports is None or exports.complete)):
        raise typer.Exit(1)


class _Outcome(msgspec.Struct):
    """How many files were analysed, and how many faults were met."""

    analysed: int = 0
    faults: int = 0


def _write(
    items: Iterator[FileItem],
    writer: Writer,
    exports: FileExports | None,
    plugged: PluggedSinks,
    only: Sequence[str],
) -> _Outcome:
    """Write what comes of all files, and tell people of faults as they are met.

    ``only`` names the choices of sound that leave other sound of a file out.
    """
    outcome = _Outcome()
    transcribed = True
    for file, item in items:
        fault: str | None = None
        if isinstance(item, StreamserError):
            fault = str(item)
        else:
            if isinstance(item, SessionCreated):
                transcribed = item.session.models.asr is not None
            writer.event(item)
            plugged.take(item)
            if exports is not None:
                exports.take(file, item)
            if spoken := read_utterance(item, transcribed=transcribed):
                writer.utterance(file, spoken)
            fault = _fault(item)
            if isinstance(item, SessionClosed):
                outcome.analysed += 1
                writer.end(file)
                if not item.utterances:
                    where = f"by {' '.join(only)}, others were not heard; " if only else ""
                    tell(f"{file}: nobody speaks in it ({where}{clock(item.audio_ms)} of sound).")
        if fault is not None:
            outcome.faults += 1
            complain(_naming(file, fault))
    return outcome


def _fault(event: Event) -> str | None:
    match event:
        case ErrorRaised():
            return event.error.message
        case TranscriptionFailed():
            return f"{clock(event.audio_start_ms)} not analysed: {event.error.message}"
    return None


def _naming(file: Path, message: str) -> str:
    """Name the file once, with its own line ends and blanks, which messages do not keep."""
    flat = " ".join(str(file).split())
    if flat and flat in message:
        return message.replace(flat, printable(str(file)), 1)
    return f"{file}: {message}"


def _format_of(out: Path | None) -> Format:
    if out is None:
        return Format.TABLE if sys.stdout.isatty() else Format.JSONL
    return {".csv": Format.CSV, ".txt": Format.TABLE}.get(out.suffix.lower(), Format.JSONL)


def _check_out(out: Path, form: Format | None) -> None:
    """Raise ``ConfigError`` for a file that cannot be written, or would hold what nobody means."""
    if out.is_dir() or not Path(os.path.realpath(out)).parent.is_dir():
        what = "is a folder" if out.is_dir() else "lies in a folder that does not exist"
        raise ConfigError(f"-o {out}: it {what}; name a file in a folder that exists.")
    other = form is None and out.suffix.lower() not in (".csv", ".jsonl", ".ndjson")
    if other and is_format(out):
        raise ConfigError(
            f"-o {out}: it would hold JSON lines; write --export {out}, or add --format."
        )
    if other and out.suffix.lower() in (".htm", ".html"):
        raise ConfigError(
            f"-o {out}: it would hold JSON lines; for a page write --export {out.stem}.jsonl, and"
            f" then `streamser report {out.stem}.jsonl`."
        )


def _stdout(form: Format) -> TextIO:
    match form:
        case Format.JSONL:
            return for_json(sys.stdout)
        case Format.CSV:
            return as_utf8(sys.stdout)
        case Format.TABLE:
            return sys.stdout


@contextlib.contextmanager
def _output(out: Path | None, form: Format) -> Iterator[TextIO]:
    """Open stdout, or a file that takes its name only when it is complete.

    What is there but is no regular file (a named pipe, a device) is written as it is. A file
    of CSV begins with the mark by which table programs know UTF-8.
    """
    if out is None:
        yield _stdout(form)
        return
    try:
        with _whole(out, form) as stream:
            yield stream
    except OSError as error:
        why = error.strerror or error
        raise StreamserError(f"-o {out}: {why}.", code="output_failed") from None


@contextlib.contextmanager
def _whole(out: Path, form: Format) -> Iterator[TextIO]:
    """Write beside a regular file, or the one a link leads to; then replace it, not its mode.

    A new one is for its owner's eyes only: what people say is theirs.
    """
    encoding = "utf-8-sig" if form is Format.CSV else "utf-8"
    with writing(out, private=True) as file:
        if out.is_file():
            os.chmod(file.name, stat.S_IMODE(out.stat().st_mode))
        with io.TextIOWrapper(file, encoding, errors="backslashreplace", newline="") as stream:
            yield stream
