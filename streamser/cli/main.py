"""The program ``streamser``: its commands, and how faults end it."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streamser import __version__
from streamser.cli.analyze import analyze
from streamser.cli.bench import app as bench_app
from streamser.cli.demo import demo
from streamser.cli.devices import devices
from streamser.cli.doctor import doctor
from streamser.cli.ending import BROKEN_PIPE, INTERRUPTED
from streamser.cli.listen import listen
from streamser.cli.protocol import protocol
from streamser.cli.show import config_app
from streamser.cli.talk import complain
from streamser.errors import ConfigError, StreamserError

__all__ = ["app", "main"]

_USAGE, _FAULT = 2, 1


class Commands(TyperGroup):
    """Run a command; a fault that a user can meet ends it with one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command: exit code 2 for wrong use, 1 for a fault, 130 for Ctrl-C."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except StreamserError as error:
            complain(str(error))
            wrong_use = isinstance(error, ConfigError) or error.code == "unknown_device"
            raise typer.Exit(_USAGE if wrong_use else _FAULT) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output has had enough; the interpreter must not try again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        return result


app = typer.Typer(
    name="streamser",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    # Rich would make `--help` prettier and several times slower.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"streamser {__version__}")
        raise typer.Exit


@app.callback()
def _streamser(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Read emotion from speech as it is spoken: sound in, typed events out."""


app.command()(listen)
app.command()(analyze)
app.command()(demo)
app.command()(devices)
app.command()(doctor)
app.command()(protocol)
app.add_typer(config_app, name="config")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the program."""
    app()
