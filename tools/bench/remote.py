"""When a model elsewhere pays: what the way costs beside what the model costs here.

    python -m tools.bench.random_checkpoint base /tmp/base
    serve run streamser.emotion.remote.serving:app model=/tmp/base &
    python -m tools.bench.remote --url http://127.0.0.1:8000/ --here compact --here /tmp/base

Clips of the bundled conversation, cut to length, with a sentence of words.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import soundfile

import streamser
from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.choose import choose_model
from streamser.emotion.model import EmotionModel, Segment
from streamser.emotion.remote.link import RemoteLink
from streamser.emotion.remote.wire import ModelCard, ReadClips, ask_about, from_bytes, to_bytes
from streamser.machine import describe_machine
from streamser.settings import EmotionSettings
from tools.bench.measure import percentile
from tools.reporting import Table, table_lines

__all__ = ["Asked", "clips", "measure_here", "measure_remote"]

_DEMO: Final = Path(streamser.__file__).parent / "assets" / "demo.flac"
_WORDS: Final = "i have wonderful news we won the prize and everyone in the office is so very happy"
_HEADS: Final = (
    "model",
    "where it runs",
    "clips",
    "KiB",
    "ms",
    "p95",
    "in the model",
    "the way",
    "CPU of who asks",
)
_WITHIN_S: Final = 120.0
_WARM_UP: Final = 3


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a batch takes, in ms, medians but for ``p95``; ``cpu`` is this process's.

    ``inside`` is the time in the model, ``kib`` what is sent; of a model here, all the time, and 0.
    """

    p50: float
    p95: float
    cpu: float
    inside: float
    kib: float


def clips(seconds: float, count: int) -> list[Segment]:
    """Cut clips of one length out of the bundled conversation, each another."""
    samples, _ = soundfile.read(_DEMO, dtype="float32")
    size = round(seconds * SAMPLE_RATE)
    starts = [SAMPLE_RATE * (1 + place) for place in range(count)]
    return [Segment(samples[start : start + size].copy(), _WORDS) for start in starts]


def measure_here(model: EmotionModel, batch: Sequence[Segment], runs: int) -> Asked:
    """Time both halves of a model in this process."""
    speaker = model.new_speaker()

    def read() -> float:
        began = time.perf_counter()
        for found in model.extract(batch):
            speaker.predict(found)
        return 1000 * (time.perf_counter() - began)

    return _timed(read, runs, 0.0)


def measure_remote(link: RemoteLink, batch: Sequence[Segment], runs: int) -> Asked:
    """Time questions to a model elsewhere, from sound to readings."""
    size = len(to_bytes(ask_about(batch)))

    def ask() -> float:
        answer = link.wait_for(to_bytes(ask_about(batch)), _WITHIN_S)
        return from_bytes(answer, ReadClips).took_ms

    return _timed(ask, runs, size / 1024)


def _timed(ask: Callable[[], float], runs: int, kib: float) -> Asked:
    for _ in range(_WARM_UP):
        ask()
    took, inside, cpu = [], [], []
    for _ in range(runs):
        began, before = time.perf_counter(), time.process_time()
        inside.append(ask())
        took.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - before))
    return Asked(
        p50=percentile(took, 0.5),
        p95=percentile(took, 0.95),
        cpu=percentile(cpu, 0.5),
        inside=percentile(inside, 0.5),
        kib=kib,
    )


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.remote")
    parser.add_argument("--url", action="append", default=[], help="a model elsewhere")
    parser.add_argument("--here", action="append", default=[], help="a model in this process")
    parser.add_argument("--threads", type=int, default=0, help="of a checkpoint here")
    parser.add_argument("--precision", default="float32", help="of a checkpoint here")
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 5.0, 10.0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="clips at once")
    parser.add_argument("--runs", type=int, default=30)
    asked = parser.parse_args()
    rows: list[tuple[str, ...]] = []

    def add(name: str, where: str, measure: Callable[[list[Segment], int], Asked]) -> None:
        for count in asked.batches:
            for seconds in asked.seconds:
                found = measure(clips(seconds, count), asked.runs)
                way = f"{found.p50 - found.inside:.1f}" if found.kib else "–"
                times = [f"{each:.1f}" for each in (found.p50, found.p95, found.inside)]
                size = f"{count} × {seconds:g} s"
                rows.append(
                    (name, where, size, f"{found.kib:.0f}", *times, way, f"{found.cpu:.1f}")
                )

    for name in asked.here:
        model = choose_model(
            EmotionSettings(
                model=name, device="cpu", precision=asked.precision, threads=asked.threads
            )
        )
        add(model.name, "here", partial(measure_here, model))
    for url in asked.url:
        link = RemoteLink(url)
        card = from_bytes(link.wait_for(None, _WITHIN_S), ModelCard)
        add(card.model, "elsewhere", partial(measure_remote, link))
    machine = describe_machine()
    print(f"{machine.cpu}, {machine.cores} cores; {asked.runs} runs a row, medians but for p95\n")
    print("\n".join(table_lines(Table(_HEADS, tuple(rows), align="lllrrrrrr"))))


if __name__ == "__main__":
    _main()
