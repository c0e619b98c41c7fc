"""Let parts of a cluster die, and see what is told: ``python -m tools.cluster``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from streamser.cli.console import tell
from streamser.errors import ConfigError
from tools.cluster.chaos import Chaos, Standstill, run_chaos, run_standstill
from tools.cluster.measures import (
    a_server_joins,
    listeners_elsewhere,
    many_meetings,
    two_beside_one,
)
from tools.cluster.scenes import SCENES, Scene, Witnessed, write

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


_MEASURES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (a_server_joins, many_meetings, listeners_elsewhere, two_beside_one)
}
_ALL = {**SCENES, **_MEASURES}


@app.command()
def run(
    scenes: Annotated[list[str] | None, typer.Argument(help=", ".join(_ALL))] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Keep what was seen.")] = None,
) -> None:
    """Run scenes, each with a cluster of its own; the exit code is 1 where anything is wrong."""
    wanted = scenes or list(_ALL)
    if unknown := [name for name in wanted if name not in _ALL]:
        raise ConfigError(f"there is no scene {unknown[0]}: {', '.join(_ALL)}.")
    _see([(name, _ALL[name]) for name in wanted], json)


@app.command()
def chaos(
    seconds: Annotated[float, typer.Option("--seconds", min=60)] = 600.0,
    meetings: Annotated[int, typer.Option("--meetings", min=1)] = 20,
    nodes: Annotated[int, typer.Option("--nodes", min=2, max=8)] = 2,
    kill: Annotated[float, typer.Option("--kill", min=5, help="A server dies every S.")] = 40.0,
    cut: Annotated[float, typer.Option("--cut", min=1, help="A connection lives for S.")] = 60.0,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    json: Annotated[Path | None, typer.Option("--json", help="Keep what was seen.")] = None,
) -> None:
    """Kill servers, cut connections and let them stall while people speak."""
    given = Chaos(
        seconds=seconds, meetings=meetings, nodes=nodes, kill_s=kill, cut_s=cut, seed=seed
    )
    _see([("chaos", lambda: run_chaos(given, tell))], json)


@app.command()
def standstill(
    seconds: Annotated[float, typer.Option("--seconds", min=30)] = 90.0,
    meetings: Annotated[int, typer.Option("--meetings", min=1)] = 4,
    longest: Annotated[float, typer.Option("--longest", min=0.5, help="Of each, s.")] = 5.0,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    json: Annotated[Path | None, typer.Option("--json", help="Keep what was seen.")] = None,
) -> None:
    """Let Redis stand still or lose all, and servers stand still, while people speak."""
    given = Standstill(seconds=seconds, meetings=meetings, longest_s=longest, seed=seed)
    _see([("standstill", lambda: run_standstill(given, tell))], json)


def _see(scenes: Sequence[tuple[str, Scene]], json: Path | None) -> None:
    found: list[Witnessed] = []
    for name, scene in scenes:
        seen = asyncio.run(scene())
        found.append(seen)
        figures = ", ".join(f"{key} {value:g}" for key, value in seen.figures.items())
        tell(f"{name}: {'; '.join(seen.wrong) or 'as it should be'} {figures}".rstrip())
    if json is not None:
        write(found, json)
    if any(seen.wrong for seen in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
