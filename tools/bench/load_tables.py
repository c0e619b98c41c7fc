"""A load report as people read it: on a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from tools.bench.load_figures import Figures, Latency
from tools.bench.load_report import LoadReport, Step

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Sheet",
    "joined_sheet",
    "load_markdown",
    "print_load",
    "print_sheet",
    "sheets",
    "write_sheet",
]

_NONE = "not measured"
_LATENCIES: tuple[tuple[str, Callable[[Figures], Latency | None]], ...] = (
    ("Speech end → emotion, beyond the hangover, ms", lambda f: f.emotion_beyond),
    ("Speech end → emotion, ms", lambda f: f.emotion),
    ("Speech end → transcript, beyond the hangover, ms", lambda f: f.transcript_beyond),
    ("Speech end → transcript, ms", lambda f: f.transcript),
    ("Partial lag, ms", lambda f: f.partial),
    ("How late the generator itself sent, ms", lambda f: f.late_ms),
)


class Sheet(msgspec.Struct, frozen=True):
    """Hold one table."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(report: LoadReport) -> list[Sheet]:
    """Set a report in tables; a latency that was never measured has none."""
    found = [Sheet("Steps", _STEP_HEADS, tuple(_step_row(step) for step in report.steps))]
    found.append(Sheet("Cost", _COST_HEADS, tuple(_cost_row(step) for step in report.steps)))
    for title, pick in _LATENCIES:
        rows = tuple(_latency_row(step.streams, pick(step.figures)) for step in report.steps)
        if any(pick(step.figures) is not None for step in report.steps):
            found.append(Sheet(title, ("streams", "n", *_SHARES), rows))
    return found


def joined_sheet(reports: Sequence[LoadReport]) -> Sheet:
    """Set several reports in one table: p95 beyond the hangover by streams, and what was held."""
    counts = sorted({step.streams for report in reports for step in report.steps})
    rows = []
    for report in reports:
        by_count = {step.streams: step.figures.emotion_beyond for step in report.steps}
        cells = [_p95(by_count.get(count)) for count in counts]
        rows.append((report.label, *cells, str(report.largest_held or "none")))
    heads = ("p95 beyond the hangover, ms, at streams", *map(str, counts), "held")
    return Sheet("Configurations", heads, tuple(rows))


def print_load(reports: Sequence[LoadReport], console: Console) -> None:
    """Print reports: one in full, several side by side."""
    if len(reports) > 1:
        print_sheet(joined_sheet(reports), console)
        return
    for report in reports:
        for line in _preamble(report):
            console.print(line, markup=False, soft_wrap=True)
        for sheet in sheets(report):
            print_sheet(sheet, console)
        console.print(_conclusion(report), markup=False, soft_wrap=True)


def load_markdown(reports: Sequence[LoadReport], plot: str | None = None) -> str:
    """Write reports as Markdown; ``plot`` is the picture's address, seen from the file."""
    lines = ["# python -m tools.bench load", ""]
    if plot is not None:
        lines += [f"![p95 beyond the hangover and cost, by streams]({plot})", ""]
    if len(reports) > 1:
        lines += [*write_sheet(joined_sheet(reports))]
    for report in reports:
        lines += [f"## {report.label}", "", _conclusion(report), ""]
        lines += [*(f"- {line}" for line in _preamble(report)), ""]
        for sheet in sheets(report):
            lines += write_sheet(sheet)
    lines += ["## What is measured", ""]
    lines += [f"- {line}" for line in dict.fromkeys(d for r in reports for d in r.definitions)]
    return "\n".join(lines) + "\n"


_SHARES = ("p50", "p90", "p95", "p99", "max")
_STEP_HEADS = (
    *("streams", "utterances", "cut", "failed", "finals lost", "events lost", "drops"),
    *("left out", "verdict"),
)
_COST_HEADS = (
    *("streams", "server cores", "cost of a stream", "RSS MiB", "peak MiB", "real-time factor"),
    *("batch mean", "generator cores"),
)


def _step_row(step: Step) -> tuple[str, ...]:
    figures = step.figures
    drops = ", ".join(f"{kind} {count}" for kind, count in sorted(figures.drops.items()))
    counts = (step.streams, figures.utterances, figures.cut, figures.failed)
    lost = (figures.lost_finals, figures.lost_events)
    row = (*map(str, counts + lost), drops or "0", str(figures.left_out))
    return (*row, _verdict(step))


def _cost_row(step: Step) -> tuple[str, ...]:
    use = step.use
    return (
        str(step.streams),
        _number(use.cores, 2),
        _number(step.relative_cost, 2),
        _number(use.rss_mib, 0),
        _number(use.peak_mib, 0),
        _number(use.real_time_factor, 4),
        _number(use.batch_mean, 2),
        _number(step.generator_cores, 2),
    )


def _latency_row(streams: int, found: Latency | None) -> tuple[str, ...]:
    if found is None:
        return (str(streams), "0", *("–" for _ in _SHARES))
    shown = (found.p50, found.p90, found.p95, found.p99, found.most)
    return (str(streams), str(found.n), *(f"{each:.1f}" for each in shown))


def _verdict(step: Step) -> str:
    return "MISSED: " + step.verdict.why if step.verdict.held is False else step.verdict.why


def _conclusion(report: LoadReport) -> str:
    held = f"{report.largest_held} streams" if report.largest_held else "no step"
    return (
        f"Held: {held}, by p95 ≤ {report.bound_ms:g} ms beyond the hangover and nothing lost."
        f" Stopped: {report.stopped}."
    )


def _preamble(report: LoadReport) -> Iterator[str]:
    machine, hangover = report.machine, report.hangover
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    yield f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}"
    yield f"streamser {machine.streamser}; {packages}"
    models = ", ".join(f"{what} {name or 'none'}" for what, name in report.models.items())
    yield f"Server: {report.server}; {models}"
    if report.settings:
        changed = ", ".join(f"{key}={value}" for key, value in report.settings.items())
        yield f"Settings that are not the default: {changed}"
    yield f"Command: {report.command} (seed {report.seed})"
    if report.cores is not None:
        yield f"Cores: server {_listed(report.cores)}, generator {_listed(report.generator_cores)}"
    speech = 100 * report.speech_share
    yield (
        f"Sound: {report.sound}, {report.lap_s:g} s a lap, every stream from a place of its own:"
        f" speech {speech:.0f} %, silence {100 - speech:.0f} %"
        " (windows of the detector); real time, in blocks of"
        f" {report.block_ms} ms; {report.warm_s:g} s of warm-up, {report.seconds:g} s measured"
    )
    yield (
        f"Hangover: silence_ms {hangover.silence_ms}, heard in whole windows: {hangover.heard_ms}"
        f" ms; tail {hangover.tail_ms} ms"
    )
    if report.relative_to is not None:
        yield f"Cost of a stream: processor time over that of a stream among {report.relative_to}"
    yield (
        f"The generator may be {report.late_limit_ms:g} ms late (p99); beyond that no server is"
        " blamed"
    )
    yield f"Percentiles: {report.percentiles}"


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=sheet.title, title_justify="left")
    for head in sheet.heads:
        table.add_column(head, overflow="fold")
    for row in sheet.rows:
        table.add_row(*row)
    console.print(table)


def write_sheet(sheet: Sheet) -> list[str]:
    """Write a table as lines of Markdown."""
    lines = [f"### {sheet.title}", "", _row(sheet.heads), _row("---" for _ in sheet.heads)]
    return [*lines, *(_row(row) for row in sheet.rows), ""]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _p95(found: Latency | None) -> str:
    return "–" if found is None else f"{found.p95:.0f}"


def _listed(cores: tuple[int, ...] | None) -> str:
    return _NONE if cores is None else ",".join(map(str, cores))
