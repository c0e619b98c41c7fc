"""The report of ``python -m tools.bench soak``: did the server grow? Verdicts and tables; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from tools.bench.measure import percentile
from tools.bench.streams.server import ServerReport
from tools.bench.streams.soak_clients import Tally
from tools.reporting import COLOURS, MISSED, Page, Section, Table, drawing

__all__ = [
    "DEFINITIONS",
    "Reading",
    "SoakReport",
    "Trend",
    "judge_count",
    "judge_loss",
    "judge_memory",
    "judge_rest",
    "plot_soak",
    "soak_page",
    "trends_of",
]

DEFINITIONS = (
    "Judged are the readings after the warm-up. First and last: the medians of the first and of the"
    " last quarter of them. Slope: that of Theil and Sen, the median of the slopes between any two"
    " readings, per hour of audio a stream.",
    "Memory: the greater of last - first and slope x the time that was judged, in % of first, may"
    " not exceed the bound. Resident memory is the sum over the server's process and those it has"
    " started; private is what of it is not a mapped file, and is not judged.",
    "Threads, descriptors, tasks: clients come and go, so their number varies; last - first may"
    " not exceed the interquartile range of the first quarter. Steady growth always does.",
    "At rest: after the warm-up, and again at the end, everybody leaves; once the server counts no"
    " stream and no listener and nothing changes any more it is read. The second reading may not"
    " have one thread, descriptor or task more than the first.",
    "Lost: events whose number is missing and that no streamser.overload accounts for, and"
    " utterances without their finals, over all sessions that were not broken off for good.",
)

_LEAST = 8
"""Readings: two in each quarter."""
_NONE = "–"
_TREND_HEADS = ("measure", "first", "last", "growth", "slope an hour", "bound", "verdict")
_REST_HEADS = ("at rest", "MiB", "private MiB", "threads", "descriptors", "tasks", "kept events")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a server as it was after so many minutes of audio a stream; ``None``: not measured.

    Memory (MiB), threads and descriptors are sums over the server's process and all that it has
    started; ``each_mib`` is the memory of each. Pages that two of them share count twice.
    ``private_mib`` leaves out mapped files: what a leak adds to. The rest is what the server
    tells of itself at ``/metrics``.
    """

    minutes: float
    rss_mib: float | None = None
    private_mib: float | None = None
    each_mib: tuple[float, ...] = ()
    threads: int | None = None
    descriptors: int | None = None
    tasks: int | None = None
    streams: int | None = None
    listeners: int | None = None
    kept_events: int | None = None


_COUNTS: Final[tuple[tuple[str, Callable[[Reading], int | None]], ...]] = (
    ("threads", lambda reading: reading.threads),
    ("file descriptors", lambda reading: reading.descriptors),
    ("asyncio tasks", lambda reading: reading.tasks),
)


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one measure and its verdict; ``None``: not judged, and ``why``.

    ``first`` and ``last`` are medians of quarters, or single readings. ``percent`` is growth in
    % of ``first``, ``an_hour`` the slope, in the measure's own unit per hour of audio.
    """

    name: str
    unit: str
    first: float
    last: float
    percent: float | None
    an_hour: float | None
    bound: str
    held: bool | None
    why: str


class SoakReport(ServerReport, frozen=True, kw_only=True):
    """Hold a whole soak; lengths in minutes of audio a stream, ``seconds`` as the clock has it.

    ``rests`` are the readings at rest, after the warm-up and at the end. Readings up to
    ``warm_minutes`` are told, not judged.
    """

    streams: int
    listeners: int
    speed: float
    warm_minutes: float
    minutes: float
    renew_minutes: float
    every_s: float
    seconds: float
    trends: tuple[Trend, ...]
    tally: Tally
    rests: tuple[Reading, Reading]
    readings: tuple[Reading, ...]
    definitions: tuple[str, ...] = DEFINITIONS

    @property
    def held(self) -> bool:
        """Return whether no measure broke its bound."""
        return all(trend.held is not False for trend in self.trends)


def trends_of(
    readings: Sequence[Reading],
    rests: tuple[Reading, Reading],
    tally: Tally,
    bound_percent: float,
) -> Iterator[Trend]:
    """Judge every measure that was taken; what could not be measured has no verdict."""
    for name, memory, bound in (
        ("resident memory", [each.rss_mib for each in readings], bound_percent),
        ("private memory", [each.private_mib for each in readings], None),
    ):
        minutes, sizes = _there(readings, memory)
        if sizes:
            yield judge_memory(name, minutes, sizes, bound)
    for name, pick in _COUNTS:
        minutes, counts = _there(readings, [pick(each) for each in readings])
        if counts:
            yield judge_count(name, minutes, counts)
        at_rest = judge_rest(name, pick(rests[0]), pick(rests[1]))
        if at_rest is not None:
            yield at_rest
    left = sum((each.streams or 0) + (each.listeners or 0) for each in rests)
    yield judge_loss("clients counted though they had left", left)
    yield judge_loss("events lost", tally.lost_events)
    yield judge_loss("finals lost", tally.lost_finals)
    yield judge_loss("utterances failed", tally.failed)
    yield judge_loss("sessions broken", tally.broken)


def judge_memory(
    name: str, minutes: Sequence[float], values: Sequence[float], bound_percent: float | None
) -> Trend:
    """Judge memory in MiB at so many minutes of audio; without a bound it is only told."""
    first, last = _ends(values)
    slope = _slope(minutes, values)
    grown = max(last - first, slope * (max(minutes) - min(minutes)) if minutes else 0.0)
    percent = 100 * grown / first if first else 0.0
    held: bool | None = None
    why, bound = "told, not judged", "–"
    if bound_percent is not None:
        bound = f"≤ {bound_percent:g} %"
        held, why = _few(values) or (
            percent <= bound_percent,
            f"{percent:+.2f} %" + ("" if percent <= bound_percent else f" > {bound_percent:g} %"),
        )
    return Trend(
        name=name,
        unit="MiB",
        first=round(first, 2),
        last=round(last, 2),
        percent=round(percent, 3),
        an_hour=round(60 * slope, 3),
        bound=bound,
        held=held,
        why=why,
    )


def judge_count(name: str, minutes: Sequence[float], values: Sequence[float]) -> Trend:
    """Judge a number that varies as clients come and go."""
    first, last = _ends(values)
    quarter = _quarter(values)
    spread = percentile(quarter, 0.75) - percentile(quarter, 0.25) if quarter else 0.0
    held, why = _few(values) or (
        last - first <= spread,
        f"{last - first:+g}" + ("" if last - first <= spread else f" > {spread:g}"),
    )
    return Trend(
        name=name,
        unit="",
        first=first,
        last=last,
        percent=round(100 * (last - first) / first, 3) if first else None,
        an_hour=round(60 * _slope(minutes, values), 3),
        bound=f"≤ {spread:g} more",
        held=held,
        why=why,
    )


def judge_rest(name: str, before: float | None, after: float | None) -> Trend | None:
    """Judge a number at rest; ``None`` where it was not read."""
    if before is None or after is None:
        return None
    grown = after - before
    return Trend(
        name=f"{name}, at rest",
        unit="",
        first=before,
        last=after,
        percent=round(100 * grown / before, 3) if before else None,
        an_hour=None,
        bound="≤ 0 more",
        held=grown <= 0,
        why=f"{grown:+g}",
    )


def judge_loss(name: str, lost: int) -> Trend:
    """Judge what was lost: nothing may be."""
    return Trend(
        name=name,
        unit="",
        first=0,
        last=lost,
        percent=None,
        an_hour=None,
        bound="0",
        held=lost == 0,
        why="none" if lost == 0 else f"{lost} lost",
    )


def soak_page(report: SoakReport) -> Page:
    """Set a report as people read it."""
    rests = zip(("after the warm-up", "at the end"), report.rests, strict=True)
    tables = [
        Table(_TREND_HEADS, tuple(_trend_row(each) for each in report.trends), "Growth"),
        Table(_REST_HEADS, tuple(_rest_row(*each) for each in rests), "Nobody there"),
    ]
    if processes := tuple(_process_rows(report)):
        heads = ("process", "first, MiB", "last, MiB")
        tables.append(Table(heads, processes, "Memory at rest, by process"))
    section = Section(
        facts=(*report.origin, *_circumstances(report)),
        tables=tuple(tables),
        verdict=_conclusion(report),
    )
    return Page(
        title="python -m tools.bench soak",
        sections=(section,),
        notes=report.definitions,
        picture="memory, threads, descriptors and tasks, by minutes of audio",
    )


def plot_soak(report: SoakReport, file: Path) -> None:
    """Draw memory, threads, descriptors and tasks; raises ``StreamserError``."""
    with drawing(file, 10.0, 7.0) as figure:
        memory, counts = figure.subplots(2, 1, sharex=True)
        readings = report.readings
        minutes = [reading.minutes for reading in readings]
        for axes, name, colour, values in (
            (memory, "resident, all processes", COLOURS[0], [each.rss_mib for each in readings]),
            (memory, "private, all processes", COLOURS[5], [each.private_mib for each in readings]),
            (counts, "threads", COLOURS[1], [each.threads for each in readings]),
            (counts, "file descriptors", COLOURS[2], [each.descriptors for each in readings]),
            (counts, "asyncio tasks", COLOURS[3], [each.tasks for each in readings]),
        ):
            shown = [float("nan") if value is None else float(value) for value in values]
            axes.plot(minutes, shown, color=colour, label=name, linewidth=1)
        for axes in (memory, counts):
            axes.axvspan(0, report.warm_minutes, color="grey", alpha=0.15, label="warm-up")
            axes.legend(loc="lower right", frameon=False)
        memory.set_ylabel("MiB")
        counts.set_ylabel("count")
        counts.set_xlabel("minutes of audio a stream")


def _there(
    readings: Sequence[Reading], values: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    found = [
        (reading.minutes, value)
        for reading, value in zip(readings, values, strict=True)
        if value is not None
    ]
    return [minutes for minutes, _ in found], [value for _, value in found]


def _few(values: Sequence[float]) -> tuple[None, str] | None:
    if len(values) >= _LEAST:
        return None
    return None, f"not judged: {len(values)} readings, {_LEAST} are the least"


def _quarter(values: Sequence[float]) -> Sequence[float]:
    return values[: max(1, len(values) // 4)]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    first, last = _quarter(values), _quarter(values[::-1])
    return percentile(first, 0.5), percentile(last, 0.5)


def _slope(minutes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of Theil (1950) and Sen (1968), per minute; 0 for less than two places."""
    early, late = np.triu_indices(len(values), 1)
    x, y = np.asarray(minutes, float), np.asarray(values, float)
    apart = x[late] - x[early]
    usable = apart > 0
    if not usable.any():
        return 0.0
    return float(np.median((y[late] - y[early])[usable] / apart[usable]))


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
        trend.why if held else f"{MISSED}: {trend.why}",
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
        return f"{MISSED}: {', '.join(missed)}."
    left = [trend.name for trend in report.trends if trend.held is None and trend.bound != _NONE]
    return "Held." if not left else f"Held, as far as judged; not judged: {', '.join(left)}."


def _circumstances(report: SoakReport) -> Iterator[str]:
    tally = report.tally
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
