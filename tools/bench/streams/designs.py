"""Streams held by several ways to host them, one after the other in one run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec.structs import replace

from streamser.machine import describe_machine, usable_cores
from tools.bench.streams.load import LoadBench, run_load
from tools.bench.streams.load_report import LoadReport, Step
from tools.reporting import Page, Provenance, Section, Table

__all__ = ["DESIGNS", "Design", "DesignsReport", "designs_page", "run_designs"]


class Design(msgspec.Struct, frozen=True):
    """Name a way to host streams; ``cores`` is how many it has, the generator included.

    ``module`` is the program that serves so, with ``arguments`` of its own.
    """

    name: str
    module: str = "streamser"
    arguments: tuple[str, ...] = ()
    cores: int | None = None


def _workers(number: int) -> tuple[str, ...]:
    return ("--set", f"worker.processes={number}")


DESIGNS: Final = (
    Design("a worker a core"),
    Design("one worker", arguments=_workers(1)),
    Design("in the server's own process", arguments=_workers(0)),
    Design("a thread a stream, a lock around one set of models", "tools.bench.streams.locked"),
    Design("a worker a core, of one core", cores=1),
)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how far one design came: its last step that held, and the first that did not."""

    design: str
    cores: int
    held: int | None
    last: Step | None
    first_missed: Step | None


class DesignsReport(Provenance, frozen=True, kw_only=True):
    """Hold a run of several designs; ``bound_ms`` is p95 of the emotion beyond the hangover."""

    models: dict[str, str | None]
    bound_ms: float
    seconds: float
    held: tuple[Held, ...]


def run_designs(
    bench: LoadBench, designs: tuple[Design, ...], tell: Callable[[str], None]
) -> DesignsReport:
    """Let each design climb the same steps; raises what ``run_load`` raises."""
    found: list[Held] = []
    report: LoadReport | None = None
    for design in designs:
        tell(f"{design.name}:")
        with _kept_to(design.cores):
            own = replace(
                bench, module=design.module, arguments=(*bench.arguments, *design.arguments)
            )
            report = run_load(own, tell)
            cores = design.cores or len(usable_cores())
        held = [step for step in report.steps if step.verdict.held]
        missed = [step for step in report.steps if not step.verdict.held]
        found.append(
            Held(
                design=design.name,
                cores=cores,
                held=report.largest_held,
                last=held[-1] if held else None,
                first_missed=missed[0] if missed else None,
            )
        )
    assert report is not None, "there is a design at least"
    return DesignsReport(
        command=bench.command,
        seed=bench.seed,
        machine=describe_machine(),
        models=report.models,
        bound_ms=bench.bound_ms,
        seconds=bench.seconds,
        held=tuple(found),
    )


def designs_page(report: DesignsReport) -> Page:
    """Set designs side by side."""
    heads = ("design", "cores", "streams held", "p95 there, ms", "server cores", "RSS, MiB")
    rows = tuple(
        (
            each.design,
            str(each.cores),
            "none" if each.held is None else str(each.held),
            *_cells(each.last),
            "" if each.first_missed is None else _missed(each.first_missed),
        )
        for each in report.held
    )
    table = Table((*heads, "not held"), rows, align="lrrrrrl")
    facts = (
        f"p95 of speech end → emotion, beyond the hangover: at most {report.bound_ms:g} ms;"
        f" {report.seconds:g} s a step, generator on the same cores.",
    )
    section = Section(facts=(*report.origin, *facts), tables=(table,))
    return Page(title="Ways to host streams, side by side", sections=(section,))


def _cells(step: Step | None) -> tuple[str, str, str]:
    if step is None:
        return "", "", ""
    beyond = step.figures.emotion_beyond
    return (
        "" if beyond is None else f"{beyond.p95:.0f}",
        "" if step.use.cores is None else f"{step.use.cores:.2f}",
        "" if step.use.rss_mib is None else f"{step.use.rss_mib:.0f}",
    )


def _missed(step: Step) -> str:
    beyond = step.figures.emotion_beyond
    p95 = "" if beyond is None else f" ({beyond.p95:.0f} ms)"
    return f"{step.streams}{p95}"


@contextmanager
def _kept_to(cores: int | None) -> Iterator[None]:
    """Keep this process, and all it starts, to so many cores."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:cores]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        sys.stdout.flush()
