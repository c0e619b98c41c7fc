"""What was measured, as a file that grows with every run, and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from streamser.machine import Machine
from tools.bench_peers.errors import BenchError
from tools.bench_peers.figures import HOLD_S, Figures, Spread, held
from tools.bench_peers.offline import Offline
from tools.bench_peers.use import Use
from tools.reporting import Table, table_lines

__all__ = ["Report", "Run", "Terms", "markdown", "read_report", "save"]

_TITLES = {
    "streamser": "streamser",
    "whisperlive": "WhisperLive",
    "whisperlivekit": "WhisperLiveKit",
}


_COLUMNS = (
    *("server", "streams", "utterances", "WER", "lost, cut"),
    *("last word p50, s", "p95, s", "all its words p95, s", "final p95, s", "first word p50, s"),
    *("CPU", "memory, MiB"),
)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what must be the same in all runs of a report: what is played, how, and where.

    ``weights`` is the beginning of the SHA-256 of the recogniser's. ``cores`` are the numbers of
    those that server and generator share.
    """

    seed: int
    seconds: float
    pause_s: tuple[float, float]
    stagger_s: float
    frame_ms: int
    clips: int
    weights: str
    cores: tuple[int, ...]
    machine: Machine


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one server at one count of streams; ``failed`` says why there are no figures."""

    server: str
    version: str
    command: str
    streams: int
    figures: Figures | None = None
    use: Use | None = None
    failed: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that was measured; ``command`` measures it again.

    ``offline`` is what `streamser analyze` made of the same conversations.
    """

    terms: Terms
    command: str
    definitions: tuple[str, ...]
    runs: tuple[Run, ...] = ()
    offline: Offline | None = None

    def has(self, server: str, streams: int) -> bool:
        """Say whether this has been measured."""
        return any(
            run.server == server and run.streams == streams and run.failed is None
            for run in self.runs
        )

    def has_offline(self, streams: int) -> bool:
        """Say whether so many conversations have been read as files."""
        return self.offline is not None and self.offline.wer(streams) is not None

    def with_run(self, run: Run) -> Report:
        """Return a report with one more run, in place of an older one of its kind."""
        others = [
            each for each in self.runs if (each.server, each.streams) != (run.server, run.streams)
        ]
        return msgspec.structs.replace(self, runs=(*others, run))


def read_report(path: Path, begun: Report) -> Report:
    """Go on with the file of a report, if there is one; with the one given, where there is none.

    Raises ``BenchError`` where it was measured on other terms, or is no such report.
    """
    if not path.exists():
        return begun
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchError(f"{path} is no report of this tool: {error}; name another") from None
    ours, theirs = msgspec.to_builtins(begun.terms), msgspec.to_builtins(report.terms)
    other = [name for name in ours if ours[name] != theirs[name]]
    if other:
        raise BenchError(
            f"{path} was measured with other {', '.join(other)}: name another file, or remove it"
        )
    return msgspec.structs.replace(begun, runs=report.runs, offline=report.offline)


def save(path: Path, report: Report) -> None:
    """Write a report beside its tables (``.md``); a half-written one never takes its place.

    Raises ``BenchError`` where that cannot be done.
    """
    for where, content in (
        (path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"),
        (path.with_suffix(".md"), markdown(report).encode()),
    ):
        part = where.with_name(where.name + ".part")
        try:
            part.write_bytes(content)
            part.replace(where)
        except OSError as error:
            raise BenchError(f"{where} cannot be written: {error.strerror}") from None


def markdown(report: Report) -> str:
    """Word a report as Markdown: a table for each server, what each holds, and what is meant."""
    terms = report.terms
    lines = [
        "# The servers of others",
        "",
        f"`{report.command}`",
        "",
        f"{terms.machine.cpu}, cores {', '.join(map(str, terms.cores))} for server and generator"
        f" together, {terms.machine.system}, {terms.machine.python}. Weights: SHA-256"
        f" {terms.weights}… . The generator was late by {_latest(report.runs)} s at most."
        f" {terms.clips} clips of `data/speech`, seed {terms.seed}, {terms.seconds:g} s a stream,"
        f" pauses {terms.pause_s[0]:g} to {terms.pause_s[1]:g} s, frames of {terms.frame_ms} ms.",
        "",
        *_held_table(report.runs),
        "",
        *_all_table(report.runs),
        "",
        *_offline_line(report),
        *_own_table(report.runs),
        "What is meant:",
        "",
        *(f"- {each}" for each in report.definitions),
    ]
    return "\n".join(lines) + "\n"


def _servers(runs: Sequence[Run]) -> list[str]:
    return [name for name in _TITLES if any(run.server == name for run in runs)]


def _held_table(runs: Sequence[Run]) -> list[str]:
    heads = ("server", f"streams held (p95 ≤ {HOLD_S:g} s)", "WER there", "started by")
    rows = []
    for name in _servers(runs):
        mine = [run for run in runs if run.server == name]
        best = held(run.figures for run in mine if run.figures is not None)
        count, wer = ("none", "") if best is None else (f"**{best.streams}**", _rate(best.wer))
        title = f"{_TITLES[name]} {mine[0].version}"
        rows.append((title, count, wer, f"`{mine[0].command}`"))
    return table_lines(Table(heads, tuple(rows)))


def _all_table(runs: Sequence[Run]) -> list[str]:
    rows = []
    for name in _servers(runs):
        for run in sorted((r for r in runs if r.server == name), key=lambda run: run.streams):
            start = (_TITLES[name], f"{run.streams}")
            if run.figures is None:
                empty = ("",) * (len(_COLUMNS) - len(start) - 1)
                rows.append((*start, f"not measured: {run.failed}", *empty))
                continue
            found, use = run.figures, run.use or Use(None, None)
            broken = f" ({len(found.faults)} unfinished)" if found.faults else ""
            cells = (
                f"{found.utterances}",
                _rate(found.wer),
                f"{found.lost}, {found.cut}{broken}",
                _time(found.last_word.p50, found.last_word),
                _time(found.last_word.p95, found.last_word),
                _time(found.all_words.p95, found.all_words),
                _time(found.final.p95, found.final),
                _time(found.first_word.p50, found.first_word),
                "" if use.cpu is None else f"{use.cpu:.2f}",
                "" if use.pss_mib is None else f"{use.pss_mib:.0f}",
            )
            rows.append((*start, *cells))
    return table_lines(Table(_COLUMNS, tuple(rows)))


def _offline_line(report: Report) -> list[str]:
    offline = report.offline
    if offline is None:
        return []
    counts = sorted({run.streams for run in report.runs})
    rates = {count: offline.wer(count) for count in counts}
    told = ", ".join(f"{_rate(rate)} ({n})" for n, rate in rates.items() if rate is not None)
    return [
        f"`streamser analyze` reads the same conversations as files at {offline.times_real:g} times"
        f" real time, WER (streams): {told}.",
        "",
    ]


def _latest(runs: Sequence[Run]) -> str:
    late = [run.figures.late_s for run in runs if run.figures is not None]
    return f"{max(late, default=0.0):.2f}"


def _own_table(runs: Sequence[Run]) -> list[str]:
    """Show what only this server tells: the voice."""
    mine = [run for run in runs if run.figures is not None and run.figures.emotion is not None]
    if not mine:
        return []
    heads = (
        "streams",
        "emotion after speech p50, s",
        "p95, s",
        "beyond the hangover p95, s",
        "readings while one speaks",
        "partial texts",
    )
    rows = []
    for run in sorted(mine, key=lambda run: run.streams):
        found = run.figures
        assert found is not None
        assert found.emotion is not None
        beyond = found.emotion_beyond
        told = (
            _time(found.emotion.p50, found.emotion),
            _time(found.emotion.p95, found.emotion),
            "" if beyond is None else _time(beyond.p95, beyond),
        )
        rows.append((f"{run.streams}", *told, f"{found.readings}", f"{found.partials}"))
    return ["What only streamser tells:", "", *table_lines(Table(heads, tuple(rows))), ""]


def _time(seconds: float | None, of: Spread) -> str:
    if not of.n:
        return ""
    return "never" if seconds is None else f"{seconds:.2f}"


def _rate(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
