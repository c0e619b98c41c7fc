"""``streamser config``: the settings in force, and the presets there are."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamser.cli.console import print_json
from streamser.cli.options import Common, takes_settings

if TYPE_CHECKING:
    from rich.console import Console

    from streamser.settings_loader import EffectiveSettings

_ROOMY = 110
_TIGHT = 70

config_app = typer.Typer(
    help="Show settings and presets.", no_args_is_help=True, rich_markup_mode=None
)


@config_app.command("show")
@takes_settings
def show(
    common: Common,
    as_json: Annotated[bool, typer.Option("--json", help="A list of settings as JSON.")] = False,
) -> None:
    """Print every setting in force and where its value comes from.

    Later wins: default, preset or file (--config), environment (STREAMSER_ASR_ENGINE), flag.
    """
    effective = common.explain()
    if as_json:
        names = ("key", "value", "origin", "description")
        rows = [dict(zip(names, row, strict=True)) for row in effective.rows()]
        print_json(rows)
    else:
        _print(effective)


@config_app.command("presets")
def presets() -> None:
    """List the presets for --config, each with what it is for."""
    from streamser.settings_loader import preset_names

    names = preset_names()
    width = max(map(len, names), default=0)
    for name in names:
        typer.echo(f"{name:<{width}}  {_purpose(name)}")


def _print(effective: EffectiveSettings) -> None:
    """Print a table, or plain lines where its columns would be a few letters wide."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.width >= _TIGHT:
        _print_table(effective, console)
        return
    for key, value, origin, _ in effective.rows():
        typer.echo(f"{key} = {_written(value)}  ({origin})")


def _print_table(effective: EffectiveSettings, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("key", "value", "origin"):
        table.add_column(name, no_wrap=name == "key", overflow="fold")
    roomy = console.width >= _ROOMY
    if roomy:
        table.add_column("what it is", overflow="fold", style="dim")
    for key, value, origin, description in effective.rows():
        style = "" if origin == "default" else "bold"
        cells: list[Text | str] = [key, Text(_written(value), style), Text(origin, style)]
        table.add_row(*cells, *([Text(description)] if roomy else []))
    console.print(table)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _purpose(preset: str) -> str:
    """Return the first sentence of the comment at the head of a preset."""
    from streamser.settings_loader import preset_path

    lines = preset_path(preset).read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    whole = " ".join(line.lstrip("# ") for line in comment)
    return re.split(r"(?<=\.) ", whole)[0]
