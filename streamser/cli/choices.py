"""What there is to choose from, and what is chosen: ``streamser models``, ``streamser config``.

Public models and plug-ins that one setting brings, and their files; settings and presets.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streamser.cli.console import print_json, tell, warn
from streamser.cli.options import Common, takes_settings
from streamser.errors import ConfigError
from streamser.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from streamser.emotion.hub_models.registry import HubModel
    from streamser.plugins import Kind, Plugin
    from streamser.settings_loader import EffectiveSettings

_WIDTH = 130
_ROOMY = 110
_TIGHT = 70

models_app = typer.Typer(help="List public emotion models, download and check them.")
config_app = typer.Typer(
    help="Show settings and presets.", no_args_is_help=True, rich_markup_mode=None
)


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="A list of models as JSON.")] = False,
) -> None:
    """List the public models that --model can name, also several with + between; and plug-ins."""
    if context.invoked_subcommand is not None:
        return
    from streamser.emotion.hub_models.registry import HUB_MODELS

    if as_json:
        rows = [_row(ready) for ready in HUB_MODELS.values()] + _plugin_rows()
        print_json(rows)
        return
    _print_table(list(HUB_MODELS.values()))
    for row in _plugin_rows():
        typer.echo(printable("plug-in {name} of {package} {version}".format(**row)))
        if row["fault"]:
            warn(row["fault"])


@models_app.command()
def pull(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Models, also with + between.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again what is there, should it be damaged.")
    ] = False,
) -> None:
    """Download public models into the hub's cache; what a broken download left is gone on with."""
    from streamser.emotion.hub_models.registry import caveats, named
    from streamser.emotion.hub_models.registry import pull as fetch

    wanted = dict.fromkeys(ready for name in names for ready in named(name))
    for ready in wanted:
        for line in caveats(ready.name):
            tell(line)
        typer.echo(fetch(ready, force=force))


@models_app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model, or several with +.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Table that `streamser corpus` wrote.")
    ],
    split: Annotated[
        str,
        typer.Option(
            "--split", metavar="SPLIT", help="train, dev, test or all; all where none is marked."
        ),
    ] = "test",
    offline: Annotated[
        bool, typer.Option("--offline", help="Take the model from the cache alone.")
    ] = False,
) -> None:
    """Measure a model on labelled utterances, and print what was published beside it."""
    from streamser.emotion.choose import choose_model
    from streamser.emotion.hub_models.registry import caveats, is_hub_model, named
    from streamser.settings import EmotionSettings
    from streamser.training.evaluation.metrics import check_model
    from streamser.training.manifest import chosen, read_manifest

    items = chosen(read_manifest(manifest), split)
    for line in caveats(name):
        tell(line)
    found = check_model(choose_model(EmotionSettings(model=name), offline=offline), items)
    if found.skipped:
        warn(f"{found.skipped} of {len(items)} utterances could not be read, left out.")
    for what, value, count in found.rows():
        typer.echo(f"{what:<16} {value:.3f}   ({count} utterances)")
    for ready in named(name) if is_hub_model(name) else ():
        typer.echo(f"published, {ready.name}: {ready.figures}")


def _row(ready: HubModel) -> dict[str, Any]:
    import msgspec

    from streamser.emotion.hub_models.registry import held
    from streamser.hub import snapshot_revision

    row: dict[str, Any] = msgspec.to_builtins(ready)
    revision = snapshot_revision(ready.repository)
    return row | {"modality": ready.modality, "cached": held(ready), "revision": revision}


def _plugin_rows() -> list[dict[str, Any]]:
    from streamser.plugins import EMOTION_MODELS

    return [
        {
            "name": plugin.name,
            "kind": "plugin",
            "package": plugin.package,
            "version": plugin.version,
            "fault": fault,
        }
        for plugin, fault in check_plugins(EMOTION_MODELS)
    ]


def _print_table(models: Sequence[HubModel]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from streamser.emotion.hub_models.registry import held, size_of
    from streamser.hub import snapshot_revision

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    table.add_column("reads", no_wrap=True)
    table.add_column("gives", overflow="fold")
    table.add_column("licence", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for ready in models:
        table.add_row(
            ready.name,
            {"audio": "voice", "text": "words"}[ready.modality],
            Text(_gives(ready)),
            Text(ready.licence + (", non-commercial" if ready.non_commercial else "")),
            size_of(ready),
            " ".join((held(ready), (snapshot_revision(ready.repository) or "")[:12])).strip(),
        )
    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    Console(highlight=False, width=width).print(table)


def _gives(ready: HubModel) -> str:
    if ready.multi_label:
        return f"{len(ready.labels)} labels of GoEmotions"
    return ", ".join(ready.labels or ready.dimensions)


class CheckedPlugin(NamedTuple):
    """Hold a plug-in, and in one line what is wrong with it; nothing if it is well."""

    plugin: Plugin
    fault: str


def check_plugins(kind: Kind) -> Iterator[CheckedPlugin]:
    """Import each plug-in of a kind and say what is wrong with it."""
    from streamser.plugins import fault_of, installed

    for plugin in installed(kind):
        yield CheckedPlugin(plugin, _twice(plugin) or _overruled(plugin) or fault_of(plugin))


def _twice(plugin: Plugin) -> str:
    from streamser.plugins import find_plugin

    try:
        find_plugin(plugin.kind, plugin.name)
    except ConfigError as error:
        return str(error)
    return ""


def _overruled(plugin: Plugin) -> str:
    from streamser.emotion.choose import comes_with_us
    from streamser.plugins import EMOTION_MODELS, TRANSCRIBERS, overruled
    from streamser.settings import ASR_ENGINES

    ours = {
        TRANSCRIBERS: plugin.name in ASR_ENGINES,
        EMOTION_MODELS: comes_with_us(plugin.name),
    }
    return next(overruled(plugin.kind, plugin.name)) if ours.get(plugin.kind) else ""


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
        _print_settings(effective)


@config_app.command("presets")
def presets() -> None:
    """List the presets for --config, each with what it is for."""
    from streamser.settings_loader import preset_names

    names = preset_names()
    width = max(map(len, names), default=0)
    for name in names:
        typer.echo(f"{name:<{width}}  {_purpose(name)}")


def _print_settings(effective: EffectiveSettings) -> None:
    """Print a table, or plain lines where its columns would be a few letters wide."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.width >= _TIGHT:
        _tabulate_settings(effective, console)
        return
    for key, value, origin, _ in effective.rows():
        typer.echo(f"{key} = {_written(value)}  ({origin})")


def _tabulate_settings(effective: EffectiveSettings, console: Console) -> None:
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
