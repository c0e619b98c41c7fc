"""The report of ``tools.bench pipeline``: every figure, beside the goal it is held against."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tools.bench.cost import PartialSection
from tools.bench.front import FrontSection
from tools.bench.latency import LatencySection, Live
from tools.bench.measure import METHOD, Spread
from tools.bench.memory import MemorySection
from tools.bench.startup import StartupSection
from tools.reporting import MISSED, Goal, Page, Provenance, Section, Table

__all__ = [
    "SECTIONS",
    "Figure",
    "PipelineReport",
    "Sections",
    "figures_of",
    "pipeline_page",
]

SECTIONS = ("front", "partials", "startup", "latency", "memory")
"""The parts of the report, in the order in which they are measured."""

_FRONT = Goal(150, "× real time", at_least=True)
_GROWTH = Goal(5, "MiB growth")
_PARTIALS = Goal(10, "% of a core")
_BEYOND = {"none": Goal(30, "ms p95"), "whisper": Goal(400, "ms p95")}
_HELP = Goal(0.3, "s")
_UNWANTED = ("torch", "transformers")
_QUICK = "QUICK RUN: everything was tried, for seconds; these are not figures to quote."


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what was measured; ``None`` for what was left out."""

    front: FrontSection | None = None
    partials: PartialSection | None = None
    startup: StartupSection | None = None
    latency: LatencySection | None = None
    memory: MemorySection | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one line of the table; ``met`` is ``None`` where there is no goal or no judging it."""

    part: str
    name: str
    value: str
    goal: str = ""
    met: bool | None = None


class PipelineReport(Provenance, frozen=True, kw_only=True):
    """Hold a whole run; a ``quick`` one tries everything out and judges nothing."""

    quick: bool
    recordings: str
    lap_s: float
    sections: Sections
    figures: tuple[Figure, ...]


def figures_of(sections: Sections, *, quick: bool) -> tuple[Figure, ...]:
    """Word every measurement; a ``quick`` run is shown its goals but not judged."""
    found: list[Figure] = []
    if sections.front is not None:
        found += _front(sections.front)
    if sections.partials is not None:
        found += _partials(sections.partials)
    if sections.startup is not None:
        found += _startup(sections.startup)
    if sections.latency is not None:
        found += _latency(sections.latency)
    if sections.memory is not None:
        found += _memory(sections.memory)
    if quick:
        found = [
            Figure(part=each.part, name=each.name, value=each.value, goal=each.goal)
            for each in found
        ]
    return tuple(found)


def pipeline_page(report: PipelineReport) -> Page:
    """Set the report as people read it, what it was measured on first."""
    facts = (
        *report.origin,
        f"Sound: {report.recordings}, {report.lap_s:.1f} s, repeated with seeded pauses",
        f"Percentiles: {METHOD}",
    )
    rows = tuple(
        (each.part, each.name, each.value, each.goal, _verdict(each)) for each in report.figures
    )
    section = Section(
        facts=(_QUICK, *facts) if report.quick else facts,
        tables=(Table(("part", "figure", "measured", "goal", ""), rows),),
    )
    return Page(title="python -m tools.bench pipeline", sections=(section,))


def _front(section: FrontSection) -> Iterator[Figure]:
    where = "one core" if section.core is None else f"pinned to core {section.core}"
    part = f"front half, {where}"
    for half in section.halves:
        shares = (
            f"resample {half.resample_share:.0%}, vad {half.vad_share:.0%},"
            f" rest {half.rest_share:.0%}"
        )
        yield Figure(
            part=part,
            name=f"{half.vad}, {half.rate / 1000:g} kHz",
            value=(
                f"{half.times_real:.0f} × real time ({half.times_real_cpu:.0f} × by CPU time);"
                f" {shares}; {half.over_plain:.2f} × the time of the detector alone"
            ),
            goal=str(_FRONT),
            met=_FRONT.met_by(half.times_real),
        )
    for alone in section.plain:
        yield Figure(
            part=part,
            name=f"{alone.vad} alone, plain loop",
            value=f"{alone.times_real:.0f} × real time ({alone.times_real_cpu:.0f} × by CPU time)",
        )


def _partials(section: PartialSection) -> Iterator[Figure]:
    part = f"emotion every {section.every_ms} ms of speech ({section.model})"
    percent = 100 * section.share_of_core
    yield Figure(
        part=part,
        name="partials on minus off",
        value=f"{percent:.2f} % of a core ({section.partials} in {section.speech_s:g} s of speech)",
        goal=str(_PARTIALS),
        met=_PARTIALS.met_by(percent),
    )
    for name, windows in (("as they came", section.as_they_came), ("longest", section.longest)):
        percent = 100 * windows.share_of_core
        yield Figure(
            part=part,
            name=f"observe alone, windows {name} ({windows.mean_length_s:g} s)",
            value=f"{percent:.2f} % of a core; {_spread(windows.observe_ms)}",
            goal=str(_PARTIALS),
            met=_PARTIALS.met_by(percent),
        )


def _startup(section: StartupSection) -> Iterator[Figure]:
    yield Figure(
        part="start-up",
        name="streamser --help",
        value=(
            f"{section.help_s:.3f} s, median of {section.launches}"
            f" (python -c pass: {section.python_s:.3f} s)"
        ),
        goal=str(_HELP),
        met=_HELP.met_by(section.help_s),
    )
    loaded = ", ".join(section.loaded_by_import) or f"none of {', '.join(section.watched)}"
    yield Figure(
        part="start-up",
        name="import streamser",
        value=f"{section.import_ms:.1f} ms, loads {loaded}",
        goal="neither torch nor transformers",
        met=not set(_UNWANTED) & set(section.loaded_by_import),
    )


def _latency(section: LatencySection) -> Iterator[Figure]:
    part = f"emotion after the hangover of {section.silence_ms} ms"
    if section.together:
        part += ", all at once"
    for live in section.live:
        manner = "speculative" if live.speculative else "not speculative"
        name = f"asr {live.asr}, {manner}"
        goal = _BEYOND.get(live.asr) if live.speculative else None
        beyond = live.beyond_hangover
        if live.fault is not None or beyond is None:
            value = live.fault or "no utterance ended by a pause"
            yield Figure(part=part, name=name, value=f"not measured: {value}")
            continue
        yield Figure(
            part=part,
            name=name,
            value=_spread(beyond),
            goal="" if goal is None else str(goal),
            met=None if goal is None else goal.met_by(beyond.p95),
        )
        yield Figure(part=part, name="· on the way", value=_background(live))
        yield from _checks(part, live)


def _background(live: Live) -> str:
    ready = "" if live.ready_share is None else f"; ready at the endpoint {live.ready_share:.0%}"
    return (
        f"{live.utterances} utterances of {live.spoken} turns, {live.failed} failed{ready};"
        f" {live.discarded} of {live.jobs} jobs in vain"
    )


def _checks(part: str, live: Live) -> Iterator[Figure]:
    for name, found in (
        ("· by the events' lag_ms", live.by_lag),
        ("· beyond the true end + hangover", live.beyond_true_end),
        ("· end found minus true end", live.end_deviation),
    ):
        if found is not None:
            yield Figure(part=part, name=name, value=_spread(found))


def _memory(section: MemorySection) -> Iterator[Figure]:
    part = f"memory ({section.kind}), {section.hours:g} h of sound"
    for reading in section.readings:
        yield Figure(
            part=part,
            name=f"after {reading.audio_minutes:g} min",
            value=f"{reading.resident_mib:.1f} MiB",
        )
    if section.growth_mib is not None:
        yield Figure(
            part=part,
            name="growth, first to last",
            value=f"{section.growth_mib:+.2f} MiB ({section.utterances} utterances,"
            f" {section.events} events, {section.times_real:.0f} × real time)",
            goal=str(_GROWTH),
            met=_GROWTH.met_by(section.growth_mib),
        )


def _spread(found: Spread) -> str:
    return (
        f"p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f} ms"
        f" ({found.least:.1f} to {found.most:.1f}, n = {found.n})"
    )


def _verdict(figure: Figure) -> str:
    if figure.met is None:
        return ""
    return "met" if figure.met else MISSED
