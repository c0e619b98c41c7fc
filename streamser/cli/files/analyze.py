"""``streamser analyze``: files, as fast as the machine allows."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TextIO

import msgspec
import typer

from streamser.cli.console import as_utf8, clock, complain, for_json, leaving_at_once, signed, tell
from streamser.cli.files.batch import (
    Manner,
    analyse_files,
    find_readable,
    find_tasks,
    name_once,
    watching,
)
from streamser.cli.files.export import ExportAs, ExportFiles, FileExports, exporting_files
from streamser.cli.live.sinks import PluggedSinks, SinkNames, plugged_sinks
from streamser.cli.options import (
    Common,
    Enrolled,
    ToldApart,
    Track,
    is_same,
    read_enrolled,
    speakers_flag,
    takes_settings,
)
from streamser.errors import ConfigError, StreamserError
from streamser.events import (
    ErrorRaised,
    Event,
    SessionClosed,
    SessionCreated,
    TranscriptionFailed,
    encode_event,
)
from streamser.export.formats import is_format
from streamser.export.tables import Cell, csv_line
from streamser.export.utterances import Utterance, Utterances, likeliest, name_of, read_utterance
from streamser.saving import writing
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.text import printable, visible

if TYPE_CHECKING:
    from rich.text import Text

    from streamser.cli.files.batch import FileItem

CSV_COLUMNS = (
    "file",
    "start",
    "end",
    "category",
    "confidence",
    *(f"score_{name}" for name in CATEGORIES),
    *DIMENSIONS,
    "uncertainty",
    "modalities",
    "transcript",
    "model",
    "speaker",
)
_WIDE = 96
"""Columns of a terminal that the table has room in as it is; below, it closes up."""
_NARROW = 76
"""Below, it has no dimensions: words come before figures."""


class Format(StrEnum):
    """What ``analyze`` writes."""

    JSONL = "jsonl"
    CSV = "csv"
    TABLE = "table"


@takes_settings
def analyze(
    common: Common,
    files: Annotated[
        # Unreadable ones are told one by one, and do not keep the others back.
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Recordings; folders or tables of them.", readable=False
        ),
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
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="One reading a file, of 5 minutes at most: it is not cut where nobody speaks.",
        ),
    ] = False,
    speakers_from: Annotated[
        str | None,
        typer.Option(
            "--speakers-from",
            metavar="COLUMN|folder",
            help="Who speaks in a file, by a column of the table or the name of its folder: what is"
            " learnt of a voice is kept for their next. [each file is somebody new]",
        ),
    ] = None,
    told_apart: ToldApart = None,
    enroll: Enrolled = None,
    export: ExportFiles = None,
    export_as: ExportAs = None,
    sink: SinkNames = None,
    track: Track = None,
) -> None:
    """Analyse files as fast as the machine allows.

    Results come in the order of the files. Exit code 1 if a file could not be read or not
    to its end; the others are still done. With --export DIR/ each file has a set of its own. A
    table (.csv, .tsv) names recordings in its column audio, file or path.
    """
    if whole and partials:
        raise ConfigError("--whole and --partials exclude each other: a file is read once.")
    given, tasks = files, find_tasks(files, speakers_from)
    files = [task.file for task in tasks]
    settings = common.load(
        {"partial.every_ms": None if partials else 0} | speakers_flag(told_apart)
    )
    out = None if target is None or target == "-" else Path(target)
    if out is not None and any(is_same(out, file) for file in (*files, *given)):
        raise ConfigError(f"-o {out}: that is what is read; name another file.")
    if export is None and export_as is not None:
        raise ConfigError("--export-as goes with --export DIR/: add it.")
    if out is not None:
        _check_out(out, form)
    exports = None if export is None else FileExports(export, export_as, files, given)
    chosen = {"--channel": settings.audio.channel, "--track": track}
    only = [f"{option} {number}" for option, number in chosen.items() if number is not None]
    if enroll and speakers_from is not None:
        raise ConfigError("--enroll is for several in one file; leave out --speakers-from.")
    enrolled = read_enrolled(enroll or (), settings)
    # Before models are loaded, which takes longer.
    readable = find_readable(tasks, track)
    if not readable:
        raise typer.Exit(1)
    from streamser import Analyzer

    form = form or _format_of(out)
    manner = Manner(jobs, track, whole)
    scrolling = out is None and form is not Format.TABLE and sys.stdout.isatty()
    with (
        plugged_sinks(sink, patient=True) as plugged,
        Analyzer(settings, tell=tell, enrolled=enrolled) as analyzer,
        leaving_at_once(),
    ):
        # A missing model is told once, not once for each file.
        analyzer.models()
        with (
            watching(shown=not scrolling and sys.stderr.isatty()) as watch,
            _output(out, form) as stream,
            contextlib.closing(analyse_files(analyzer, readable, manner, watch)) as items,
            exporting_files(exports),
            contextlib.closing(plugged),
        ):
            remark = partial(_remark, only=only, whole=whole)
            outcome = _write(items, open_writer(form, stream), exports, plugged, remark)
            if not outcome.analysed:
                # An older OUT is worth more than an empty one.
                raise typer.Exit(1)
    complete = plugged.complete and (exports is None or exports.complete)
    if len(readable) < len(tasks) or outcome.faults or not complete:
        raise typer.Exit(1)


def _remark(ended: SessionClosed, only: Sequence[str], *, whole: bool) -> str | None:
    """Say what people may not expect of a file; ``only``: the choices that leave sound out."""
    length = f"{clock(ended.audio_ms)} of sound"
    if ended.utterances > 1 and whole:
        return f"{length}, read in {ended.utterances} parts: one reading has 5 minutes at most."
    if ended.utterances:
        return None
    where = f"by {' '.join(only)}, others were not heard; " if only else ""
    return f"{'too short to be read' if whole else 'nobody speaks in it'} ({where}{length})."


class _Outcome(msgspec.Struct):
    """How many files were analysed, and how many faults were met."""

    analysed: int = 0
    faults: int = 0


def _write(
    items: Iterator[FileItem],
    writer: Writer,
    exports: FileExports | None,
    plugged: PluggedSinks,
    remark: Callable[[SessionClosed], str | None],
) -> _Outcome:
    """Write what comes of all files, and tell people of faults as they are met."""
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
                if line := remark(item):
                    tell(f"{file}: {line}")
        if fault is not None:
            outcome.faults += 1
            complain(name_once(file, fault))
    return outcome


def _fault(event: Event) -> str | None:
    match event:
        case ErrorRaised():
            return event.error.message
        case TranscriptionFailed():
            return f"{clock(event.audio_start_ms)} not analysed: {event.error.message}"
    return None


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


class Writer(Protocol):
    """Take files one after another: their events, their utterances, their end."""

    def event(self, event: Event) -> None:
        """Take an event of the present file."""
        ...

    def utterance(self, file: Path, spoken: Utterance) -> None:
        """Take an utterance of the present file, right after the event that finished it."""
        ...

    def end(self, file: Path) -> None:
        """Take note that the file is done."""
        ...


def open_writer(form: Format, out: TextIO) -> Writer:
    """Return the writer of a format."""
    match form:
        case Format.JSONL:
            return _EventLines(out)
        case Format.CSV:
            return CsvRows(out)
        case Format.TABLE:
            return Tables(out)


class _EventLines:
    """Write every event as one line of JSON; each file is a session of its own."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def event(self, event: Event) -> None:
        self._out.write(encode_event(event).decode() + "\n")

    def utterance(self, file: Path, spoken: Utterance) -> None:
        pass

    def end(self, file: Path) -> None:
        self._out.flush()


class CsvRows:
    """Write one row an utterance, times in seconds; what was not measured is left empty.

    Where voices are told apart rows wait for the end of their file: whose they are may change.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waits = False
        self._waiting = Utterances()
        out.write(csv_line(CSV_COLUMNS))

    def event(self, event: Event) -> None:
        """Follow who spoke after all."""
        if isinstance(event, SessionCreated):
            self._waits = event.session.speakers != "off"
        self._waiting.follow(event)

    def utterance(self, file: Path, spoken: Utterance) -> None:
        """Write a row, or keep it; one that could not be analysed has no row."""
        if self._waits:
            self._waiting.append(spoken)
        else:
            self._write(file, spoken)

    def end(self, file: Path) -> None:
        """Let the rows go."""
        for spoken in self._waiting:
            self._write(file, spoken)
        self._waiting.clear()
        self._out.flush()

    def _write(self, file: Path, spoken: Utterance) -> None:
        emotion = spoken.emotion
        if emotion is None:
            return
        row: tuple[Cell, ...] = (
            str(file),
            spoken.start_ms / 1000,
            spoken.end_ms / 1000,
            emotion.category,
            emotion.confidence,
            *(emotion.scores.get(name) for name in CATEGORIES),
            *(getattr(emotion.dimensions, name) for name in DIMENSIONS),
            emotion.uncertainty,
            "+".join(emotion.modalities),
            spoken.transcript,
            emotion.model,
            emotion.speaker,
        )
        self._out.write(csv_line(row))


class Tables:
    """Draw one table a file when it is done."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console

        self._out = out
        # A file has no width of its own: one that fits most screens and printers.
        width = None if out.isatty() else 120
        self._console = Console(file=out, width=width, highlight=False)
        self._utterances = Utterances()

    def event(self, event: Event) -> None:
        """Follow who spoke after all."""
        self._utterances.follow(visible(event))

    def utterance(self, file: Path, spoken: Utterance) -> None:
        """Keep a row for the file's table."""
        self._utterances.append(visible(spoken))

    def end(self, file: Path) -> None:
        """Draw the file's table, unless nobody spoke in it."""
        utterances, self._utterances = self._utterances, Utterances()
        if not utterances:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        width = self._console.width
        wide = width >= _WIDE
        named = DIMENSIONS if width >= _NARROW else ()
        table = Table(
            title=Text(printable(str(file)), style="bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1) if wide else 0,
        )
        for name in ("start", "end"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("words", ratio=1, overflow="fold", min_width=16)
        table.add_column("emotion", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
        for name in named:
            head = name if wide else name[0].upper()
            table.add_column(head, justify="right", no_wrap=True)
        for spoken in utterances:
            table.add_row(*_cells(spoken, named))
        with self._console.capture() as drawn:
            self._console.print(table)
        # Through the stream's own write, so that a progress bar on the same terminal gives way.
        self._out.write(drawn.get())
        self._out.flush()


def _cells(spoken: Utterance, named: Sequence[str]) -> list[Text | str]:
    """Return the cells of an utterance, with the dimensions that are named."""
    from rich.text import Text

    from streamser.cli.live.live_view import category_text

    span: list[Text | str] = [clock(spoken.start_ms), clock(spoken.end_ms)]
    emotion = spoken.emotion
    if emotion is None:
        return [*span, Text(f"not analysed: {spoken.fault}", style="red"), *[""] * (2 + len(named))]
    who = name_of(emotion) if emotion.speaker_provisional else None
    category, best = category_text(emotion.category), likeliest(emotion)
    if best != emotion.category:
        category.append(f" ({best})", style="bright_black")
    return [
        *span,
        Text.assemble((f"{who}: " if who else "", "bold"), spoken.transcript or "–"),
        category,
        f"{emotion.confidence:.0%}",
        *(signed(getattr(emotion.dimensions, name)) for name in named),
    ]
