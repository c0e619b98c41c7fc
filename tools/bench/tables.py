"""The report as people read it: on a terminal, or as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.bench.measure import METHOD
from tools.bench.report import Figure, PipelineReport

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["markdown", "print_report"]

_QUICK = "QUICK RUN: everything was tried, for seconds; these are not figures to quote."
_HEADS = ("part", "figure", "measured", "goal", "")


def print_report(report: PipelineReport, console: Console) -> None:
    """Print the report as a table, what it was measured on first."""
    from rich import box
    from rich.table import Table

    for line in _preamble(report):
        console.print(line, markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for head in _HEADS:
        table.add_column(head, overflow="fold", no_wrap=head in ("goal", ""))
    part = ""
    for figure in report.figures:
        if figure.part != part and part:
            table.add_section()
        table.add_row(
            "" if figure.part == part else figure.part,
            figure.name,
            figure.value,
            figure.goal,
            _verdict(figure),
            style="red" if figure.met is False else None,
        )
        part = figure.part
    console.print(table)


def markdown(report: PipelineReport) -> str:
    """Write the report as Markdown."""
    lines = [
        "# python -m tools.bench pipeline",
        "",
        *(f"- {line}" for line in _preamble(report)),
        "",
    ]
    lines += [_row(*_HEADS), _row(*("---" for _ in _HEADS))]
    lines += [
        _row(figure.part, figure.name, figure.value, figure.goal, _verdict(figure))
        for figure in report.figures
    ]
    return "\n".join(lines) + "\n"


def _preamble(report: PipelineReport) -> list[str]:
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines = [
        f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}",
        f"streamser {machine.streamser}; {packages}",
        f"Sound: {report.recordings}, {report.lap_s:.1f} s, repeated with seeded pauses",
        f"Percentiles: {METHOD}",
    ]
    return [_QUICK, *lines] if report.quick else lines


def _verdict(figure: Figure) -> str:
    if figure.met is None:
        return ""
    return "met" if figure.met else "MISSED"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
