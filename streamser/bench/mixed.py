"""What padding and number formats cost: clips of mixed lengths through an emotion checkpoint.

    python -m streamser.bench.random_checkpoint base /tmp/base
    OMP_NUM_THREADS=1 python -m streamser.bench.mixed --model /tmp/base

Prints Markdown. Every figure is the least of some runs that take turns: of CPU time on a
processor, of time on CUDA. With several threads CPU time counts their waiting for one another.
Only ratios within a table mean something elsewhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.bench.machine import describe_machine
from streamser.emotion.model import Spoken
from streamser.errors import ModelError
from streamser.fastest import least_times

__all__ = ["format_rows", "lengths", "pass_rows"]

_SHORTEST_S, _LONGEST_S = 0.5, 10.0
_ROUNDS = 5

Row = tuple[str, ...]


def lengths(clips: int, seed: int) -> list[float]:
    """Draw how many seconds clips last, evenly from 0.5 to 10."""
    drawn = np.random.default_rng(seed).uniform(_SHORTEST_S, _LONGEST_S, clips)
    return [round(float(seconds), 2) for seconds in drawn]


def pass_rows(
    where: str, device: str, clips: int, seed: int, clock: Callable[[], float]
) -> Iterator[Row]:
    """Time one padded batch, the passes that the program makes of it, and clips one by one."""
    from msgspec.structs import replace

    from streamser.emotion.fused.checkpoint import load_checkpoint
    from streamser.emotion.fused.model import FusedEmotionModel
    from streamser.emotion.fused.running import CUDA, ONE_BY_ONE, PROCESSOR, groups

    usual = CUDA if device == "cuda" else PROCESSOR
    ways = {
        "one batch, padded": replace(usual, forward_s=1e9, few=False),
        "passes as made": usual,
        "one by one": replace(ONE_BY_ONE, few=usual.few),
    }
    checkpoint = load_checkpoint(where, offline=True, device=device)
    seconds = lengths(clips, seed)
    spoken = [Spoken(samples=_noise(each), text=None) for each in seconds]
    models = {
        name: FusedEmotionModel(checkpoint, "bench", shapes=shapes) for name, shapes in ways.items()
    }
    runs = {name: partial(model.observe, spoken) for name, model in models.items()}
    taken = least_times(runs, clock=clock, budget_s=60.0, rounds=3)
    first = taken["one batch, padded"]
    for name, shapes in ways.items():
        parts = groups(seconds, shapes)
        padded = sum(len(part) * max(seconds[i] for i in part) for part in parts)
        waste = f"{padded / sum(seconds) - 1:.0%}"
        yield name, str(len(parts)), waste, _ms(taken[name]), f"{taken[name] / first:.2f}"


def format_rows(where: str, device: str, clock: Callable[[], float]) -> Iterator[Row]:
    """Time a clip of 2 s, and one of 8 s, in every number format that the device has."""
    from streamser.emotion.fused.model import load_fused
    from streamser.emotion.fused.running import CANDIDATES

    clips = [[Spoken(samples=_noise(seconds), text="so it is said")] for seconds in (2.0, 8.0)]
    found: dict[str, list[float]] = {}
    for kind in sorted(CANDIDATES[device], key=lambda each: each != "float32"):
        model = load_fused(where, device=_device(device), precision=kind, offline=True)
        for clip in clips:
            model.observe(clip)
            runs = {"it": partial(model.observe, clip)}
            taken = least_times(runs, clock=clock, budget_s=10.0, rounds=_ROUNDS)
            found.setdefault(kind, []).append(taken["it"])
    for name, times in found.items():
        ratios = [
            f"{each / plain:.2f}" for each, plain in zip(times, found["float32"], strict=True)
        ]
        yield name, _ms(times[0]), ratios[0], _ms(times[1]), ratios[1]


def _noise(seconds: float) -> Samples:
    samples = round(seconds * SAMPLE_RATE)
    noise: Samples = 0.1 * np.random.default_rng(0).standard_normal(samples, dtype=np.float32)
    return noise


def _device(name: str) -> Any:
    return name


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"


def _table(title: str, heads: Sequence[str], rows: Iterable[Row]) -> None:
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n| {' | '.join('---' for _ in heads)} |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m streamser.bench.mixed")
    parser.add_argument(
        "--model", type=Path, required=True, help="an emotion checkpoint, a directory"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--clips", type=int, default=8, help="clips of mixed lengths [8]")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    clock = time.perf_counter if asked.device == "cuda" else time.process_time
    machine = describe_machine()
    system = f"{machine.system}, {machine.python}"
    print(f"{machine.cpu}, {machine.cores} cores, {system}; seed {asked.seed}")
    try:
        where = str(asked.model)
        drawn = ", ".join(f"{each:g}" for each in sorted(lengths(asked.clips, asked.seed)))
        _table(
            f"A batch of clips of {drawn} s, float32",
            ("way", "passes", "padding", "ms", "of one batch"),
            pass_rows(where, asked.device, asked.clips, asked.seed, clock),
        )
        _table(
            "Number formats, one clip with words",
            ("precision", "2 s: ms", "of float32", "8 s: ms", "of float32"),
            format_rows(where, asked.device, clock),
        )
    except ModelError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    _main()
