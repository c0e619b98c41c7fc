"""The report of ``python -m tools.bench load``, and what it makes of each step; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamser.errors import ConfigError
from tools.bench.streams.load_figures import Figures, Hangover, Latency
from tools.bench.streams.server import ServerReport, Use
from tools.reporting import COLOURS, MARKS, MISSED, Page, Section, Table, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "LATE_MS",
    "LoadReport",
    "Step",
    "Verdict",
    "joined_table",
    "judge",
    "largest_held",
    "load_page",
    "plot_load",
    "read_report",
    "tables_of",
]

LATE_MS = 20.0
"""A generator whose sends are later than this (p99) has no say against a server."""

_NONE = "not measured"
_LATENCIES: tuple[tuple[str, Callable[[Figures], Latency | None]], ...] = (
    ("Speech end → emotion, beyond the hangover, ms", lambda f: f.emotion_beyond),
    ("Speech end → emotion, ms", lambda f: f.emotion),
    ("Speech end → transcript, beyond the hangover, ms", lambda f: f.transcript_beyond),
    ("Speech end → transcript, ms", lambda f: f.transcript),
    ("Partial lag, ms", lambda f: f.partial),
    ("How late the generator itself sent, ms", lambda f: f.late_ms),
)
_SHARES = ("p50", "p90", "p95", "p99", "max")
_STEP_HEADS = (
    *("streams", "utterances", "cut", "failed", "finals lost", "events lost", "drops"),
    *("left out", "verdict"),
)
_COST_HEADS = (
    *("streams", "server cores", "front cores", "cost of a stream", "RSS MiB", "peak MiB"),
    *("real-time factor", "batch mean", "generator cores"),
)


class Verdict(msgspec.Struct, frozen=True):
    """Say whether a server held a step; ``None``: it was not judged, and ``why``."""

    held: bool | None
    why: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what so many streams gave.

    ``relative_cost`` is the processor time a stream costs, over that in the step of the fewest
    streams. ``generator_cores`` is what the generator itself used.
    """

    streams: int
    figures: Figures
    use: Use
    relative_cost: float | None = None
    generator_cores: float
    verdict: Verdict


class LoadReport(ServerReport, frozen=True, kw_only=True):
    """Hold a whole run: one configuration under more and more streams.

    What is measured is said by the settings, as ``streamser serve`` takes them::

        python -m tools.bench load --emotion-only
        python -m tools.bench load --config embedded --bound 900
        python -m tools.bench load --asr whisper --asr-model DIR --set asr.threads=2
        python -m tools.bench load --emotion-only --model CHECKPOINT --set emotion.device=cuda
        python -m tools.bench load --emotion-only --set worker.max_batch=16 --cores 0,1
        python -m tools.bench load --server wss://host --token TOKEN

    Each is a report of its own; ``--join a.json,b.json --plot F.png`` draws several together.
    DIR is a CTranslate2 model as faster-whisper wants it; one with random weights costs what a
    trained one of its size does per step of the decoder, though not the same number of steps.

    ``settings`` are those that are not the default, by dotted key; ``label`` names the
    configuration in plots. ``cores`` are those the server was kept to, ``generator_cores``
    those of the generator; ``None``: neither was kept to any. ``relative_to`` is the number of
    streams whose cost is 1.
    """

    label: str
    cores: tuple[int, ...] | None
    generator_cores: tuple[int, ...] | None
    lap_s: float
    block_ms: int
    warm_s: float
    seconds: float
    bound_ms: float
    late_limit_ms: float
    hangover: Hangover
    definitions: tuple[str, ...]
    percentiles: str
    steps: tuple[Step, ...]
    largest_held: int | None
    relative_to: int | None
    stopped: str


def judge(figures: Figures, bound_ms: float) -> Verdict:
    """Judge a step by what was lost and by p95 beyond the hangover, in ms.

    A generator that was late itself excuses the server: its lateness only adds to what it
    measures, so a step that held holds all the same, and one that did not is not judged.
    """
    late = figures.late_ms
    beyond = figures.emotion_beyond
    fault = None
    if figures.losses:
        fault = ", ".join(figures.losses)
    elif beyond is not None and beyond.p95 > bound_ms:
        fault = f"p95 {beyond.p95:.0f} ms > {bound_ms:g} ms"
    excused = late is None or late.p99 > LATE_MS
    if fault is not None and excused:
        own = "unknown" if late is None else f"p99 {late.p99:.0f} ms"
        return Verdict(None, f"not judged ({fault}): the generator was late itself, {own}")
    if fault is not None:
        return Verdict(False, fault)
    if beyond is None:
        return Verdict(None, "not judged: no utterance ended in it; measure longer (--seconds)")
    return Verdict(True, "held, though the generator was late" if excused else "held")


def largest_held(steps: Sequence[Step]) -> int | None:
    """Return the largest number of streams that was held."""
    return max((step.streams for step in steps if step.verdict.held), default=None)


def read_report(file: Path) -> LoadReport:
    """Read a report that was written as JSON; raises ``ConfigError`` for anything else."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=LoadReport)
    except OSError as error:
        raise ConfigError(f"--join {file}: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--join {file}: it is no report of bench load ({error}).") from None


def load_page(reports: Sequence[LoadReport]) -> Page:
    """Set reports as people read them; several begin with a table that joins them."""
    sections = [
        Section(
            title=report.label,
            facts=(*report.origin, *_circumstances(report)),
            tables=tuple(tables_of(report)),
            verdict=_conclusion(report),
        )
        for report in reports
    ]
    if len(reports) > 1:
        sections.insert(0, Section(tables=(joined_table(reports),)))
    return Page(
        title="python -m tools.bench load",
        sections=tuple(sections),
        notes=tuple(dict.fromkeys(d for report in reports for d in report.definitions)),
        picture="p95 beyond the hangover and cost, by streams",
    )


def tables_of(report: LoadReport) -> list[Table]:
    """Set a report in tables; a latency that was never measured has none."""
    steps = report.steps
    found = [
        Table(_STEP_HEADS, tuple(_step_row(step) for step in steps), "Steps"),
        Table(_COST_HEADS, tuple(_cost_row(step) for step in steps), "Cost"),
    ]
    for title, pick in _LATENCIES:
        rows = tuple(_latency_row(step.streams, pick(step.figures)) for step in steps)
        if any(pick(step.figures) is not None for step in steps):
            found.append(Table(("streams", "n", *_SHARES), rows, title))
    return found


def joined_table(reports: Sequence[LoadReport]) -> Table:
    """Set several reports in one table: p95 beyond the hangover by streams, and what was held."""
    counts = sorted({step.streams for report in reports for step in report.steps})
    rows = []
    for report in reports:
        by_count = {step.streams: step.figures.emotion_beyond for step in report.steps}
        cells = [_p95(by_count.get(count)) for count in counts]
        rows.append((report.label, *cells, str(report.largest_held or "none")))
    heads = ("p95 beyond the hangover, ms, at streams", *map(str, counts), "held")
    return Table(heads, tuple(rows), "Configurations")


def plot_load(reports: Sequence[LoadReport], file: Path) -> None:
    """Draw p95 beyond the hangover and the cores used; raises ``StreamserError``."""
    with drawing(file, 11.0, 5.0) as figure:
        late, cost = figure.subplots(1, 2)
        for number, report in enumerate(reports):
            colour = COLOURS[number % len(COLOURS)]
            mark = MARKS[number % len(MARKS)]
            held = f"{report.label} (held: {report.largest_held or 'none'})"
            latency = [
                (step.streams, step.figures.emotion_beyond.p95)
                for step in report.steps
                if step.figures.emotion_beyond is not None
            ]
            late.plot(*_columns(latency), color=colour, marker=mark, label=held)
            used = [(step.streams, step.use.cores) for step in report.steps if step.use.cores]
            cost.plot(*_columns(used), color=colour, marker=mark)
        for bound in sorted({report.bound_ms for report in reports}):
            late.axhline(bound, color="grey", linestyle="--", linewidth=1)
            late.annotate(
                f"{bound:g} ms", (1.0, bound), xycoords=("axes fraction", "data"), ha="right"
            )
        late.set(ylabel="speech end → emotion, p95 beyond the hangover, ms")
        cost.set(ylabel="processor cores used by the server")
        counts = sorted({step.streams for report in reports for step in report.steps})
        for axes in (late, cost):
            _count_streams(axes, counts)
        figure.legend(loc="outside lower center", ncols=1, frameon=False)


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
        _number(use.front_cores, 2),
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
    return f"{MISSED}: {step.verdict.why}" if step.verdict.held is False else step.verdict.why


def _conclusion(report: LoadReport) -> str:
    held = f"{report.largest_held} streams" if report.largest_held else "no step"
    return (
        f"Held: {held}, by p95 ≤ {report.bound_ms:g} ms beyond the hangover and nothing lost."
        f" Stopped: {report.stopped}."
    )


def _circumstances(report: LoadReport) -> Iterator[str]:
    hangover = report.hangover
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


def _count_streams(axes: Axes, counts: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("streams")


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _p95(found: Latency | None) -> str:
    return "–" if found is None else f"{found.p95:.0f}"


def _listed(cores: tuple[int, ...] | None) -> str:
    return _NONE if cores is None else ",".join(map(str, cores))
