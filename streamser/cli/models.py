"""``streamser models``: public models and plug-ins that one setting brings, and their files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streamser.cli.console import print_json, tell, warn
from streamser.errors import ConfigError
from streamser.text import printable

if TYPE_CHECKING:
    from streamser.emotion.hub_models.registry import HubModel
    from streamser.plugins import Kind, Plugin

_WIDTH = 130

app = typer.Typer(help="List public emotion models, download and check them.")


@app.callback(invoke_without_command=True)
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


@app.command()
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


@app.command()
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
