"""``streamser devices``: the inputs of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streamser.visible import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamser.audio.microphone import InputDevice

__all__ = ["devices"]

NOTHING_FOUND = (
    "no sound input was found: connect a microphone and see that the sound server runs"
    " (on Linux: PipeWire or PulseAudio)."
)


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="A list of inputs as JSON.")] = False,
) -> None:
    """List the inputs that `listen --device` can use."""
    from streamser.audio.microphone import list_inputs
    from streamser.cli.talk import tell

    inputs = list_inputs()
    if as_json:
        from streamser.cli.streams import print_json

        print_json(inputs)
    elif inputs:
        _print_table(inputs)
    if not inputs:
        tell(NOTHING_FOUND)


def _print_table(inputs: Sequence[InputDevice]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("device", justify="right", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("host API", overflow="fold")
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for device in inputs:
        table.add_row(
            str(device.index),
            Text(printable(device.name)),
            Text(printable(device.host_api)),
            str(device.channels),
            f"{device.default_rate} Hz",
            "default" if device.is_default else "",
        )
    Console(highlight=False).print(table)
