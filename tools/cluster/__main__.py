"""Let parts of a cluster die, and see what is told: ``python -m tools.cluster``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from streamser.cli.console import tell
from streamser.errors import ConfigError
from tools.cluster.scenes import SCENES, write

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def run(
    scenes: Annotated[list[str] | None, typer.Argument(help=", ".join(SCENES))] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Keep what was seen.")] = None,
) -> None:
    """Run scenes, each with a cluster of its own; the exit code is 1 where anything is wrong."""
    wanted = scenes or list(SCENES)
    if unknown := [name for name in wanted if name not in SCENES]:
        raise ConfigError(f"there is no scene {unknown[0]}: {', '.join(SCENES)}.")
    found = []
    for name in wanted:
        seen = asyncio.run(SCENES[name]())
        found.append(seen)
        figures = ", ".join(f"{key} {value:g}" for key, value in seen.figures.items())
        tell(f"{name}: {'; '.join(seen.wrong) or 'as it should be'} {figures}".rstrip())
    if json is not None:
        write(found, json)
    if any(seen.wrong for seen in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
