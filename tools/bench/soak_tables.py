"""The report of a soak as people read it: on a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tools.bench.load_tables import Sheet, print_sheet, write_sheet
from tools.bench.soak_judge import Trend
from tools.bench.soak_report import SoakReport
from tools.bench.soak_watch import Reading

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_soak", "soak_markdown", "soak_sheets"]

_NONE = "–"
_TREND_HEADS = ("measure", "first", "last", "growth", "slope an hour", "bound", "verdict")
_REST_HEADS = ("at rest", "MiB", "private MiB", "threads", "descriptors", "tasks", "kept events")


def soak_sheets(report: SoakReport) -> list[Sheet]:
    """Set a report in tables."""
    rests = zip(("after the warm-up", "at the end"), report.rests, strict=True)
    found = [
        Sheet("Growth", _TREND_HEADS, tuple(_trend_row(each) for each in report.trends)),
        Sheet("Nobody there", _REST_HEADS, tuple(_rest_row(*each) for each in rests)),
    ]
    numbered = list(_process_rows(report))
    if numbered:
        heads = ("process", "first, MiB", "last, MiB")
        found.append(Sheet("Memory at rest, by process", heads, tuple(numbered)))
    return found


def print_soak(report: SoakReport, console: Console) -> None:
    """Print a report."""
    for line in _preamble(report):
        console.print(line, markup=False, soft_wrap=True)
    for sheet in soak_sheets(report):
        print_sheet(sheet, console)
    console.print(_conclusion(report), markup=False, soft_wrap=True)


def soak_markdown(report: SoakReport, plot: str | None = None) -> str:
    """Write a report as Markdown; ``plot`` is the picture's address, seen from the file."""
    lines = ["# python -m tools.bench soak", ""]
    if plot is not None:
        lines += [f"![memory, threads, descriptors and tasks, by minutes of audio]({plot})", ""]
    lines += [_conclusion(report), "", *(f"- {line}" for line in _preamble(report)), ""]
    for sheet in soak_sheets(report):
        lines += write_sheet(sheet)
    lines += ["## What is measured", "", *(f"- {line}" for line in report.definitions)]
    return "\n".join(lines) + "\n"


def _trend_row(trend: Trend) -> tuple[str, ...]:
    unit = f", {trend.unit}" if trend.unit else ""
    held = trend.held is not False
    return (
        trend.name + unit,
        f"{trend.first:g}",
        f"{trend.last:g}",
        _NONE if trend.percent is None else f"{trend.percent:+.2f} %",
        _NONE if trend.an_hour is None else f"{trend.an_hour:+.2f}",
        trend.bound,
        trend.why if held else f"MISSED: {trend.why}",
    )


def _rest_row(name: str, reading: Reading) -> tuple[str, ...]:
    counts = (reading.threads, reading.descriptors, reading.tasks, reading.kept_events)
    sizes = (reading.rss_mib, reading.private_mib)
    return (
        name,
        *(_NONE if each is None else f"{each:.1f}" for each in sizes),
        *(_NONE if each is None else str(each) for each in counts),
    )


def _process_rows(report: SoakReport) -> Iterator[tuple[str, ...]]:
    first, last = (reading.each_mib for reading in report.rests)
    for number in range(max(len(first), len(last))):
        name = "server" if number == 0 else f"child {number}"
        sizes = (each[number] if number < len(each) else None for each in (first, last))
        yield (name, *(_NONE if size is None else f"{size:.1f}" for size in sizes))


def _conclusion(report: SoakReport) -> str:
    missed = [trend.name for trend in report.trends if trend.held is False]
    if missed:
        return f"MISSED: {', '.join(missed)}."
    left = [trend.name for trend in report.trends if trend.held is None and trend.bound != _NONE]
    return "Held." if not left else f"Held, as far as judged; not judged: {', '.join(left)}."


def _preamble(report: SoakReport) -> Iterator[str]:
    machine, tally = report.machine, report.tally
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    yield f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}"
    yield f"streamser {machine.streamser}; {packages}"
    models = ", ".join(f"{what} {name or 'none'}" for what, name in report.models.items())
    yield f"Server: {report.server}; {models}"
    if report.settings:
        changed = ", ".join(f"{key}={value}" for key, value in report.settings.items())
        yield f"Settings that are not the default: {changed}"
    yield f"Command: {report.command} (seed {report.seed})"
    yield (
        f"{report.streams} streams, {report.warm_minutes:g} minutes of audio each of warm-up and"
        f" {report.minutes:g} judged, at {report.speed:g} times real time, in"
        f" {report.seconds / 60:.1f} minutes; sound: {report.sound},"
        f" speech {100 * report.speech_share:.0f} %"
    )
    yield (
        f"Sessions: {tally.sessions} begun, of {report.renew_minutes:g} minutes of audio each, half"
        f" more or less: {tally.finished} finished, {tally.vanished} gone for good in the middle of"
        f" an utterance, {tally.resumed} gone likewise and taken up again; each sent a message that"
        f" cannot be understood; {tally.refused} refused"
    )
    yield (
        f"Listeners: {report.listeners} at a time; {tally.listeners} came,"
        f" {tally.listeners_vanished} went without a word; one read nothing {tally.pauses} times"
        f" for {2 * report.renew_minutes:g} minutes of audio and was sent away {tally.too_slow}"
        " times for it"
    )
    yield f"Events: {tally.events} came to senders; {tally.left_out} were left out, and said to be"
