"""Make the comparisons, each in a process of its own, one after another, into one report."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from streamser.bench.beside.case import Failed, Progress, Word
from streamser.bench.beside.report import PARTS, BesideReport, Comparison
from streamser.bench.beside.tasks import (
    EmotionTask,
    LocksTask,
    MatrixTask,
    Task,
    VadTask,
    WordsTask,
)
from streamser.bench.machine import describe_machine
from streamser.bench.random_whisper import WhisperSize
from streamser.errors import ConfigError, StreamserError

__all__ = ["QUICK_HUBERT", "BesidePlan", "check_peers", "run_beside", "tasks_of"]

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "vad": ("silero_vad", "torch"),
    "pipeline": ("transformers", "torch"),
    "whisper": ("faster_whisper",),
    "matrix": ("transformers", "torch"),
}
_PACKAGES: Final[Mapping[str, str]] = {
    "silero_vad": "silero-vad",
    "torch": "'streamser[torch]'",
    "transformers": "'streamser[torch]'",
    "faster_whisper": "faster-whisper",
}
QUICK_HUBERT: Final = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 8, 8],
    "conv_stride": [5, 8, 8],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


class BesidePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is compared; a ``quick`` run tries everything out with tiny models.

    ``whisper`` is the directory of a Whisper; without it, one of random weights is made.
    """

    command: str
    parts: tuple[str, ...] = PARTS
    recordings: Path | None = None
    whisper: Path | None = None
    seed: int = 1
    quick: bool = False


def check_peers(parts: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` where a package is missing, before minutes are spent."""
    for part in parts:
        for module in _NEEDED.get(part, ()):
            if importlib.util.find_spec(module) is None:
                raise ConfigError(
                    f"{part}: the package {module} is not here to compare with: run pip install"
                    f" {_PACKAGES[module]}, or leave {part} out with --only."
                )


def run_beside(plan: BesidePlan, tell: Callable[[str], None]) -> BesideReport:
    """Make a plan's comparisons; ``tell`` gets a line of progress now and then.

    Raises ``ConfigError`` where a package is missing, ``StreamserError`` where a comparison
    breaks off.
    """
    check_peers(plan.parts)
    comparisons: list[Comparison] = []
    for task in tasks_of(plan):
        began = time.perf_counter()
        comparison = _in_process(task, tell)
        comparisons.append(replace(comparison, took_s=round(time.perf_counter() - began, 1)))
    machine = describe_machine()
    return BesideReport(
        command=plan.command,
        quick=plan.quick,
        seed=plan.seed,
        machine=replace(machine, packages=machine.packages | dict(_versions())),
        comparisons=tuple(comparisons),
    )


def _versions() -> Iterator[tuple[str, str]]:
    for name in ("ctranslate2", "torch", "transformers", "silero-vad"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def tasks_of(plan: BesidePlan) -> list[Task]:
    """Return what a plan's parts are, in their order."""
    quick = plan.quick
    seed = plan.seed
    folder = None if plan.recordings is None else str(plan.recordings)
    whisper = None if plan.whisper is None else str(plan.whisper)
    threads = describe_machine().cores
    tasks: dict[str, Task] = {
        "locks": LocksTask(recordings=folder, seed=seed),
        "words": LocksTask(
            recordings=folder,
            seed=seed,
            asr="whisper",
            bound_ms=900.0,
            warm_s=5.0,
            seconds=20.0,
            first=2,
            most=64,
        ),
        "vad": VadTask(recordings=folder, seed=seed, seconds=300.0, passes=3),
        "pipeline": EmotionTask(recordings=folder, seed=seed, streams=16, utterances=48),
        "whisper": WordsTask(
            recordings=folder, seed=seed, streams=16, utterances=64, threads=threads, model=whisper
        ),
        "matrix": MatrixTask(),
    }
    if quick:
        tasks |= {
            "locks": LocksTask(
                recordings=folder, seed=seed, warm_s=1.0, seconds=4.0, first=1, most=1
            ),
            "words": LocksTask(
                recordings=folder,
                seed=seed,
                asr="whisper",
                bound_ms=900.0,
                warm_s=1.0,
                seconds=4.0,
                first=1,
                most=1,
            ),
            "vad": VadTask(recordings=folder, seed=seed, seconds=10.0, passes=1),
            "pipeline": EmotionTask(
                recordings=folder,
                seed=seed,
                streams=2,
                utterances=4,
                architecture=dict(QUICK_HUBERT),
                name="a tiny HuBERT",
            ),
            "whisper": WordsTask(
                recordings=folder,
                seed=seed,
                streams=2,
                utterances=4,
                threads=threads,
                model=whisper,
                size=WhisperSize(32, 1, 2),
            ),
            "matrix": MatrixTask(preset="compact", batches=(1, 2), seconds=1.0),
        }
    return [task for part, task in tasks.items() if part in plan.parts]


def _in_process(task: Task, tell: Callable[[str], None]) -> Comparison:
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            [sys.executable, "-m", "streamser.bench.beside.case"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            process.stdin.close()
            for line in process.stdout:
                match msgspec.json.decode(line, type=Word):
                    case Progress(said):
                        tell(said)
                    case Failed(message):
                        raise StreamserError(message, code="bench_failed")
                    case Comparison() as comparison:
                        return comparison
        finally:
            process.terminate()
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
    why = lines[-1] if lines else "it said nothing"
    raise StreamserError(f"the process of a comparison broke off: {why}", code="bench_failed")
