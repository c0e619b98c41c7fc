"""The report as people read it: on a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamser.bench.beside.report import BesideReport, Comparison, Ratio

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["beside_markdown", "print_beside"]

_QUICK = "QUICK RUN: everything was tried, for seconds; these are not figures to quote."


def print_beside(report: BesideReport, console: Console) -> None:
    """Print each comparison as a table, with its conditions before and its ratios after."""
    from rich import box
    from rich.table import Table

    for line in _preamble(report):
        console.print(line, markup=False, soft_wrap=True)
    for comparison in report.comparisons:
        console.print(f"\n{_title(comparison)}", style="bold", markup=False, soft_wrap=True)
        for line in comparison.conditions:
            console.print(f"  {line}", markup=False, soft_wrap=True)
        heads, *rows = _rows(comparison)
        table = Table(box=box.SIMPLE_HEAD)
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        for ratio in comparison.ratios:
            style = "red" if _judged(report, ratio) == "MISSED" else None
            console.print(_told(report, ratio), markup=False, soft_wrap=True, style=style)


def beside_markdown(report: BesideReport) -> str:
    """Write the report as Markdown."""
    lines = ["# streamser bench beside", "", *(f"- {line}" for line in _preamble(report))]
    for comparison in report.comparisons:
        lines += ["", f"## {_title(comparison)}", ""]
        lines += [f"- {line}" for line in comparison.conditions]
        heads, *rows = _rows(comparison)
        lines += ["", _row(heads), _row(["---", *("---:" for _ in heads[1:])])]
        lines += [_row(row) for row in rows]
        lines += ["", *(f"- {_told(report, ratio)}" for ratio in comparison.ratios)]
    return "\n".join(lines) + "\n"


def _preamble(report: BesideReport) -> Iterator[str]:
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    if report.quick:
        yield _QUICK
    yield f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}"
    yield f"streamser {machine.streamser}; {packages}"
    yield f"{report.command}; seed {report.seed}"


def _title(comparison: Comparison) -> str:
    return f"{comparison.part}: {comparison.title} ({comparison.took_s:.0f} s)"


def _rows(comparison: Comparison) -> list[list[str]]:
    names = list(dict.fromkeys(name for each in comparison.contenders for name in each.figures))
    rows = [["", *names]]
    for contender in comparison.contenders:
        figures = (contender.figures.get(name) for name in names)
        rows.append([contender.name, *map(_number, figures)])
    return rows


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def _told(report: BesideReport, ratio: Ratio) -> str:
    value = "not measured" if ratio.value is None else f"{ratio.value:.2f}"
    goal = "" if ratio.goal is None else f" (goal ≥ {ratio.goal:g})"
    return f"{ratio.name}: {value}{goal} {_judged(report, ratio)}".rstrip()


def _judged(report: BesideReport, ratio: Ratio) -> str:
    if report.quick or ratio.met is None:
        return ""
    return "met" if ratio.met else "MISSED"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
