"""What the model that comes with the program costs: bytes, start, memory, time an utterance."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from streamser.audio.clip import Samples
from streamser.bench.growing import Growing, growing_lines, measure_growing
from streamser.bench.machine import Machine, describe_machine, pinned
from streamser.bench.report import Goal
from streamser.bench.spread import Spread, spread
from streamser.errors import StreamserError

__all__ = ["GOALS", "CompactReport", "Timing", "compact_markdown", "measure_compact"]

GOALS: Final = {
    "bytes": Goal(30.0, "MB"),
    "load": Goal(1.0, "s"),
    "both": Goal(40.0, "ms"),
    "memory": Goal(400.0, "MiB"),
}
_FOLDER: Final = Path(__file__).parents[1] / "assets" / "models" / "compact"
_DEMO: Final = Path(__file__).parents[1] / "assets" / "demo.flac"
_SECONDS: Final = (1.0, 2.0, 5.0, 10.0)
_WORDS: Final = "i have wonderful news we won the prize and everyone in the office is so very happy"
_RUNS: Final = 60
_GROWING: Final = (5.0, 15.0)
_GROWING_RUNS: Final = 15
_WARM_UP: Final = 5
# A process of its own: what else is loaded must not count.
_LOAD: Final = """
import json, time
from streamser.bench.machine import resident_mib
before = resident_mib()
began = time.perf_counter()
from streamser.settings import EmotionSettings
from streamser.emotion.choose import choose_model
model = choose_model(EmotionSettings(model="compact"))
print(json.dumps([time.perf_counter() - began, before, resident_mib()]))
"""
_LISTEN: Final = """
import json, sys, threading
from streamser.bench.machine import resident_mib
from streamser import Analyzer, load_settings
most = 0.0
settings = load_settings("embedded", flags={"emotion.model": "compact"})
with Analyzer(settings) as analyzer:
    for event in analyzer.stream(sys.argv[1]):
        most = max(most, resident_mib() or 0.0)
print(json.dumps([most]))
"""
_TORCH: Final = """
import json, time
from streamser.bench.machine import resident_mib
before = resident_mib()
began = time.perf_counter()
import torch
print(json.dumps([time.perf_counter() - began, before, resident_mib()]))
"""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the time of utterances of one length, in ms: what ``observe`` and ``interpret`` took."""

    seconds: float
    words: bool
    observe: Spread
    interpret: Spread


class CompactReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole run.

    ``load_s`` is from a bare interpreter to a model that answers, onnxruntime's import included;
    ``load_mib`` what that adds; ``listen_mib`` the most that a session with Whisper tiny.en takes;
    ``torch_s`` and ``torch_mib`` what importing torch alone would cost, where it is installed.
    """

    machine: Machine
    bytes: int
    load_s: float
    load_mib: float
    listen_mib: float
    torch_s: float | None
    torch_mib: float | None
    timings: tuple[Timing, ...]
    growing: tuple[Growing, ...]


def measure_compact(tell: Callable[[str], None]) -> CompactReport:
    """Measure the bundled model on one core; raises ``StreamserError`` where it fails to run."""
    tell("start")
    load_s, before, after = _alone(_LOAD)
    tell("a session with Whisper tiny.en")
    (most,) = _alone(_LISTEN, str(_DEMO))
    tell("torch")
    try:
        torch_s, torch_before, torch_after = _alone(_TORCH)
        torch_cost = (round(torch_s, 3), round(torch_after - torch_before, 1))
    except StreamserError:  # not installed
        torch_cost = None
    return CompactReport(
        machine=describe_machine(),
        bytes=sum(path.stat().st_size for path in _FOLDER.iterdir()),
        load_s=round(load_s, 3),
        load_mib=round(after - before, 1),
        listen_mib=round(most, 1),
        torch_s=torch_cost[0] if torch_cost else None,
        torch_mib=torch_cost[1] if torch_cost else None,
        timings=tuple(_timings(tell)),
        growing=tuple(_growing(tell)),
    )


def compact_markdown(report: CompactReport) -> str:
    """Write the report as Markdown."""
    machine = report.machine
    both = next(t for t in report.timings if t.seconds == 5.0 and t.words)
    total = both.observe.p50 + both.interpret.p50
    rows = [
        ("bytes in the package", f"{report.bytes / 1e6:.1f} MB", "bytes", report.bytes / 1e6),
        ("load, onnxruntime included", f"{report.load_s:.2f} s", "load", report.load_s),
        ("5 s of voice and 17 words, p50", f"{total:.1f} ms", "both", total),
        (
            "most memory of a session with Whisper tiny.en",
            f"{report.listen_mib:.0f} MiB",
            "memory",
            report.listen_mib,
        ),
    ]
    lines = [
        "# streamser bench compact",
        "",
        f"- {machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}",
        "- on one core",
        f"- the model itself adds {report.load_mib:.0f} MiB",
    ]
    if report.torch_s is not None:
        lines.append(
            f"- importing torch alone would take {report.torch_s:.2f} s and {report.torch_mib:.0f}"
            " MiB here, before any model is loaded"
        )
    lines += ["", "| | measured | goal | |", "|---|---:|---:|---|"]
    for name, value, goal, number in rows:
        met = "met" if GOALS[goal].met_by(number) else "missed"
        lines.append(f"| {name} | {value} | {GOALS[goal]} | {met} |")
    lines += [
        "",
        "| sound | words | observe p50 / p95 | interpret p50 / p95 |",
        "|---:|---|---:|---:|",
    ]
    for timing in report.timings:
        lines.append(
            f"| {timing.seconds:g} s | {'17' if timing.words else 'none'}"
            f" | {timing.observe.p50:.1f} / {timing.observe.p95:.1f} ms"
            f" | {timing.interpret.p50:.1f} / {timing.interpret.p95:.1f} ms |"
        )
    lines += ["", *growing_lines(report.growing)]
    return "\n".join(lines) + "\n"


def _growing(tell: Callable[[str], None]) -> list[Growing]:
    from streamser.emotion.choose import choose_model
    from streamser.settings import EmotionSettings

    model = choose_model(EmotionSettings(model="compact"))
    found = []
    with pinned():
        for seconds in _GROWING:
            tell(f"an utterance of {seconds:g} s while it is spoken")
            found.append(measure_growing(model, _demo(seconds), _GROWING_RUNS))
    return found


def _demo(seconds: float) -> Samples:
    import soundfile

    samples: Samples
    samples, _ = soundfile.read(_DEMO, start=8000, frames=round(seconds * 16_000), dtype="float32")
    return samples


def _timings(tell: Callable[[str], None]) -> list[Timing]:
    from streamser.emotion.choose import choose_model
    from streamser.emotion.model import Spoken
    from streamser.settings import EmotionSettings

    model = choose_model(EmotionSettings(model="compact"))
    listener = model.listener()
    found = []
    with pinned():
        for seconds in _SECONDS:
            samples = _demo(seconds)
            for words in (False, True):
                tell(f"{seconds:g} s, {'with' if words else 'without'} words")
                spoken = Spoken(samples, _WORDS if words else None)
                observe, interpret = [], []
                for run in range(_WARM_UP + _RUNS):
                    began = time.perf_counter()
                    (finding,) = model.observe([spoken])
                    between = time.perf_counter()
                    listener.interpret(finding)
                    ended = time.perf_counter()
                    if run >= _WARM_UP:
                        observe.append((between - began) * 1e3)
                        interpret.append((ended - between) * 1e3)
                heard, judged = spread(observe), spread(interpret)
                assert heard is not None, "every run is timed"
                assert judged is not None, "every run is timed"
                found.append(Timing(seconds=seconds, words=words, observe=heard, interpret=judged))
    return found


def _alone(script: str, *arguments: str) -> list[float]:
    """Run a script in a fresh interpreter; return the numbers that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise StreamserError(f"a measurement in a process of its own failed: {reason}")
    numbers: list[float] = json.loads(done.stdout.splitlines()[-1])
    return numbers
