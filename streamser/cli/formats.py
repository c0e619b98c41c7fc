"""The three forms in which ``analyze`` writes what it found."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from streamser.cli.talk import clock, signed
from streamser.cli.utterance import Utterance, likeliest
from streamser.events import Event, encode_event
from streamser.export.table import Cell, csv_line
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.visible import printable, visible

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["CSV_COLUMNS", "CsvRows", "Format", "Tables", "Writer", "open_writer"]

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
    """Write one row an utterance, times in seconds; what was not measured is left empty."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        out.write(csv_line(CSV_COLUMNS))

    def event(self, event: Event) -> None:
        """Need no events."""

    def utterance(self, file: Path, spoken: Utterance) -> None:
        """Write a row; one that could not be analysed has no row."""
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
        )
        self._out.write(csv_line(row))

    def end(self, file: Path) -> None:
        """Let the rows go."""
        self._out.flush()


class Tables:
    """Draw one table a file when it is done."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console

        self._out = out
        # A file has no width of its own: one that fits most screens and printers.
        width = None if out.isatty() else 120
        self._console = Console(file=out, width=width, highlight=False)
        self._utterances: list[Utterance] = []

    def event(self, event: Event) -> None:
        """Need no events."""

    def utterance(self, file: Path, spoken: Utterance) -> None:
        """Keep a row for the file's table."""
        self._utterances.append(visible(spoken))

    def end(self, file: Path) -> None:
        """Draw the file's table, unless nobody spoke in it."""
        utterances, self._utterances = self._utterances, []
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

    from streamser.cli.gauges import category_text

    span: list[Text | str] = [clock(spoken.start_ms), clock(spoken.end_ms)]
    emotion = spoken.emotion
    if emotion is None:
        return [*span, Text(f"not analysed: {spoken.fault}", style="red"), *[""] * (2 + len(named))]
    category, best = category_text(emotion.category), likeliest(emotion)
    if best != emotion.category:
        category.append(f" ({best})", style="bright_black")
    return [
        *span,
        Text(spoken.transcript or "–"),
        category,
        f"{emotion.confidence:.0%}",
        *(signed(getattr(emotion.dimensions, name)) for name in named),
    ]
