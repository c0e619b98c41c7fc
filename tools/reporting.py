"""How a measurement reports: on the terminal, as Markdown, as JSON and as a picture.

A report is a record of its own that is a ``Provenance``, which goes to JSON as it is; people read
it as a ``Page`` of ``Section``s of ``Table``s.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from streamser.cli.options import check_writable, save_report
from streamser.errors import ConfigError, ModelError, StreamserError
from streamser.machine import Machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

__all__ = [
    "COLOURS",
    "MARKS",
    "MISSED",
    "Files",
    "Goal",
    "Page",
    "PlotFile",
    "Provenance",
    "Section",
    "Table",
    "drawing",
    "markdown",
    "print_section",
    "publish",
    "shown_command",
    "table_lines",
]

MISSED: Final = "MISSED"
"""What a cell begins with where a goal was missed; its row is red on a terminal."""
# Okabe & Ito: told apart by readers with any colour vision.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
MARKS: Final = "osv^Dxp"

_WIDTH: Final = 160
_DPI: Final = 120
_PICTURES: Final = (".png", ".svg", ".pdf")

PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf.", readable=False),
]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Hold where figures come from: what was typed, what chance was drawn by, and the machine."""

    command: str
    seed: int
    machine: Machine

    @property
    def origin(self) -> tuple[str, ...]:
        """Say it in lines."""
        machine = self.machine
        packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
        return (
            f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}",
            f"streamser {machine.streamser}; {packages}",
            f"Command: {self.command} (seed {self.seed})",
        )


class Goal(msgspec.Struct, frozen=True):
    """Hold the limit that a figure should keep."""

    limit: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"

    def met_by(self, value: float) -> bool:
        """Tell whether a value keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


class Table(msgspec.Struct, frozen=True):
    """Hold one table; a column is set right where ``align`` has an ``r`` at its place."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    align: str = ""

    def side(self, column: int) -> str:
        """Return ``left`` or ``right``."""
        return "right" if self.align[column : column + 1] == "r" else "left"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one configuration gave: facts, tables, and what they come to."""

    title: str = ""
    facts: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    verdict: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a report as people read it; ``notes`` say what the words mean."""

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    picture: str = ""
    """What a picture of it shows."""


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the files that a report goes to; refused before the work, written after it."""

    json: Path | None = None
    markdown: Path | None = None
    plot: Path | None = None

    def check(self) -> None:
        """Refuse files that cannot be written or drawn, before minutes are spent on them.

        Raises ``ConfigError``, and ``ModelError`` where nothing can be drawn.
        """
        for name in self.__struct_fields__:
            file = getattr(self, name)
            if file is not None:
                check_writable(f"--{name}", file)
        if self.plot is not None:
            if self.plot.suffix.lower() not in _PICTURES:
                raise ConfigError(f"--plot {self.plot}: name a {', '.join(_PICTURES)} file.")
            _check_plotting()


def publish(
    page: Page,
    files: Files,
    record: msgspec.Struct | None,
    *,
    draw: Callable[[Path], None] | None = None,
    indent: int = 2,
) -> None:
    """Print a page and write the files; a full stdout does not cost the files.

    ``record`` is what goes to JSON, with so much ``indent``; 0: in one line. Raises
    ``StreamserError`` where a file cannot be written after all.
    """
    from rich.console import Console

    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    try:
        for section in page.sections:
            print_section(section, console)
    finally:
        if files.json is not None and record is not None:
            encoded = msgspec.json.encode(record)
            if indent:
                encoded = msgspec.json.format(encoded, indent=indent)
            save_report("--json", files.json, encoded + b"\n")
        if files.markdown is not None:
            picture = None
            if files.plot is not None:
                picture = Path(os.path.relpath(files.plot, files.markdown.parent))
            save_report("--markdown", files.markdown, markdown(page, picture).encode())
        if files.plot is not None and draw is not None:
            draw(files.plot)


def print_section(section: Section, console: Console) -> None:
    """Print facts, tables and, last, what they come to."""
    from rich import box
    from rich.table import Table as Printed

    for line in section.facts:
        console.print(line, markup=False, soft_wrap=True)
    for table in section.tables:
        printed = Printed(box=box.SIMPLE_HEAD, title=table.title or None, title_justify="left")
        for column, head in enumerate(table.heads):
            printed.add_column(
                head, overflow="fold", justify="right" if table.side(column) == "right" else "left"
            )
        for row in table.rows:
            missed = any(cell.startswith(MISSED) for cell in row)
            printed.add_row(*row, style="red" if missed else None)
        console.print(printed)
    if section.verdict:
        console.print(section.verdict, markup=False, soft_wrap=True)


def markdown(page: Page, picture: Path | None = None) -> str:
    """Write a page as Markdown; ``picture`` is seen from the file."""
    lines = [f"# {page.title}", ""]
    if picture is not None:
        lines += [f"![{page.picture}]({picture.as_posix()})", ""]
    for section in page.sections:
        lines += [f"## {section.title}", ""] if section.title else []
        lines += [section.verdict, ""] if section.verdict else []
        lines += [*(f"- {line}" for line in section.facts), ""] if section.facts else []
        for table in section.tables:
            lines += [f"### {table.title}", ""] if table.title else []
            lines += [*table_lines(table), ""]
    if page.notes:
        lines += ["## What is measured", "", *(f"- {line}" for line in page.notes), ""]
    return "\n".join(lines).rstrip() + "\n"


def table_lines(table: Table) -> list[str]:
    """Write a table as lines of Markdown, without its title."""
    sides = (table.side(column) for column in range(len(table.heads)))
    rules = ["---:" if side == "right" else "---" for side in sides]
    return [_row(row) for row in (table.heads, rules, *table.rows)]


def shown_command(program: str, arguments: Sequence[str]) -> str:
    """Write a command line as it may be shown: no token."""
    told: list[str] = []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if told and told[-1] == "--token":
            argument = "…"
        elif name == "--token" and equals:
            argument = "--token=…"
        told.append(argument)
    return f"{program} {shlex.join(told)}".rstrip()


@contextmanager
def drawing(file: Path, width: float, height: float) -> Iterator[Figure]:
    """Draw a figure, in inches, in the one style, and save it when the block ends.

    The format is what the file's name asks for. Raises ``ModelError`` without matplotlib, and
    ``StreamserError`` where the file cannot be written.
    """
    _check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    try:
        figure.savefig(file, dpi=_DPI, format=file.suffix.lstrip(".").lower() or "png")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StreamserError(f"--plot {file}: {why}.", code="output_failed") from None


def _check_plotting() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ModelError("--plot needs matplotlib: run pip install matplotlib.") from None


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
