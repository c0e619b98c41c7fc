"""All figures of docs/remote-models.md, as they stand there; under four minutes on two idle cores.

    python -m tools.bench.remote_report --ray .venv-peers/ray/bin/python

A checkpoint of full size with random weights is made, read here on one core, and deployed in Ray
on this machine; of a small one in Ray, eight clips at once.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamser.emotion.choose import choose_model
from streamser.emotion.remote.link import RemoteLink
from streamser.machine import describe_machine
from streamser.settings import EmotionSettings
from tools.bench.random_checkpoint import write_random_checkpoint
from tools.bench.ray_deployment import deployed_in_ray
from tools.bench.remote import Asked, clips, measure_here, measure_remote
from tools.reporting import Table, table_lines

__all__ = ["Figures", "report_lines"]

_SECONDS: Final = (2.0, 5.0, 10.0)
_TOGETHER: Final = 8
_SMALL: Final = "compact"
_QUICK: Final = 30
"""Runs of what takes little, so that its median says something."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a clip of each length takes: the bundled model, a big one here and elsewhere.

    ``together`` is that of eight clips at once, with a small model elsewhere.
    """

    compact: Sequence[Asked]
    here: Sequence[Asked]
    elsewhere: Sequence[Asked]
    together: Sequence[Asked]


def report_lines(figures: Figures, big: str, seconds: Sequence[float] = _SECONDS) -> list[str]:
    """Write the table of the page, and a line on eight clips at once; ms."""

    def row(name: str, values: Sequence[float]) -> tuple[str, ...]:
        return (name, *(f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in values))

    def way(asked: Sequence[Asked]) -> list[float]:
        return [each.p50 - each.inside for each in asked]

    rows = (
        row("`compact`, here", [each.p50 for each in figures.compact]),
        row(f"`{big}`, here", [each.p50 for each in figures.here]),
        row(f"`{big}`, elsewhere, on one core too", [each.p50 for each in figures.elsewhere]),
        row("of which the way", way(figures.elsewhere)),
        row("CPU of who asks: `compact` here", [each.cpu for each in figures.compact]),
        row(f"CPU of who asks: `{big}` here", [each.cpu for each in figures.here]),
        row(f"CPU of who asks: `{big}` elsewhere", [each.cpu for each in figures.elsewhere]),
    )
    heads = ("one clip of", *(f"{each:g} s" for each in seconds))
    eight = (
        f"{each:g} s ({asked.kib / 1024:.1f} MiB): {value:.0f}"
        for each, asked, value in zip(seconds, figures.together, way(figures.together), strict=True)
    )
    return [
        *table_lines(Table(heads, rows, align="l" + "r" * len(seconds))),
        "",
        f"The way of {_TOGETHER} clips at once, ms: {'; '.join(eight)}.",
    ]


def _measure(python: Path, preset: str, runs: int, folder: Path) -> Figures:
    write_random_checkpoint(preset, folder / preset)
    options = ("device=cpu", "precision=float32", "threads=1")

    def here(model: str, times: int) -> list[Asked]:
        settings = EmotionSettings(model=model, device="cpu", precision="float32", threads=1)
        loaded = choose_model(settings)
        return [measure_here(loaded, clips(each, 1), times) for each in _SECONDS]

    def elsewhere(model: Path, count: int, times: int) -> list[Asked]:
        with deployed_in_ray(python, folder, f"model={model}", *options) as (url, _):
            link = RemoteLink(url)
            return [measure_remote(link, clips(each, count), times) for each in _SECONDS]

    compact, big = here("compact", _QUICK), here(str(folder / preset), runs)
    far = elsewhere(folder / preset, 1, runs)
    if preset != _SMALL:
        write_random_checkpoint(_SMALL, folder / _SMALL)
    together = elsewhere(folder / _SMALL, _TOGETHER, min(runs * 3, _QUICK))
    return Figures(compact=compact, here=big, elsewhere=far, together=together)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.remote_report")
    parser.add_argument("--ray", type=Path, required=True, help="a Python that has Ray")
    parser.add_argument("--preset", default="base", help=f"its size; {_SMALL}: the short form")
    parser.add_argument("--runs", type=int, default=5, help="of the big one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Not resolved: that would be the Python without the packages of its environment.
        figures = _measure(asked.ray.absolute(), asked.preset, asked.runs, Path(folder).resolve())
    machine = describe_machine()
    ray = subprocess.check_output(
        [asked.ray, "-c", "import ray; print(ray.__version__)"], text=True
    ).strip()
    print(
        f"{machine.cpu}, {machine.cores} cores; {asked.preset} with random weights, float32, one"
        f" thread; medians of {asked.runs} ({_QUICK} of compact); Ray {ray}\n"
    )
    print("\n".join(report_lines(figures, asked.preset)))


if __name__ == "__main__":
    _main()
