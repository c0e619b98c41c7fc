"""The program ``streamser``: its commands, and how faults end it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streamser import __version__
from streamser.cli.choices import config_app, models_app
from streamser.cli.cluster import cluster_app
from streamser.cli.console import BROKEN_PIPE, INTERRUPTED, Stopped, complain, mend_streams, mute
from streamser.cli.corpus import app as corpus_app
from streamser.cli.doctor import devices, doctor
from streamser.cli.evaluate import crossval, evaluate
from streamser.cli.files.analyze import analyze
from streamser.cli.files.export import export
from streamser.cli.files.recordings import forget, report
from streamser.cli.live.demo import demo
from streamser.cli.live.listen import listen
from streamser.cli.live.replay import replay
from streamser.cli.mcp import mcp
from streamser.cli.serve import serve
from streamser.cli.train import train
from streamser.errors import ConfigError, StreamserError

_USAGE, _FAULT = 2, 1


_Context: Any = TyperGroup.context_class
_TYPE = re.compile(r" <(?:list\[)?(?:str|[Pp]ath|int|float)\]?>$")
_RANGE = re.compile(r"(?:([\d.]+)<=)?\bx(?:([<>])=([\d.]+))?(?=[];])")


class _Help(_Context.formatter_class):  # type: ignore[misc]
    """Write help for people: no names of Python's types, and ranges in words."""

    def write_dl(self, rows: Any, *sizes: Any, **named: Any) -> None:
        """Write a list of terms with what is to say about them."""
        worded = [(_TYPE.sub("", term), _RANGE.sub(_in_words, said)) for term, said in rows]
        super().write_dl(worded, *sizes, **named)


def _in_words(found: re.Match[str]) -> str:
    least, sign, bound = found.groups()
    if sign == ">":
        return f"{bound} or more"
    if bound is not None:
        return f"{bound} at most" if least is None else f"{least} to {bound}"
    return found[0]


class _PlainContext(_Context):  # type: ignore[misc]
    """Have help written so."""

    formatter_class = _Help


class Commands(TyperGroup):
    """Run a command; a fault that a user can meet ends it with one line."""

    context_class = _PlainContext

    def __init__(self, *, commands: Mapping[str, Any], **named: Any) -> None:
        super().__init__(commands=dict(commands), **named)
        below = list(self.commands.values())
        while below:
            command = below.pop()
            command.context_class = _PlainContext
            below += getattr(command, "commands", {}).values()

    def invoke(self, ctx: Any) -> Any:
        """Run the command: exit code 2 for wrong use, 1 for a fault, 130 for Ctrl-C."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except StreamserError as error:
            complain(str(error))
            wrong_use = isinstance(error, ConfigError) or error.code == "unknown_device"
            raise typer.Exit(_USAGE if wrong_use else _FAULT) from None
        except Stopped as stopped:
            raise typer.Exit(stopped.code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            raise typer.Exit(_end_unwritten(error)) from None


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
app.command()(serve)
app.command()(export)
app.command()(report)
app.command()(replay)
app.command()(forget)
app.command()(demo)
app.command()(mcp)
app.command()(devices)
app.command()(doctor)
app.command()(evaluate)
app.command()(train)
app.command()(crossval)
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")
app.add_typer(corpus_app, name="corpus")
app.add_typer(cluster_app, name="cluster")


def main() -> None:
    """Run the program."""
    mend_streams()
    try:
        app()
    except OSError as error:
        # The help is printed before any command is run.
        sys.exit(_end_unwritten(error))


def _end_unwritten(error: OSError) -> int:
    """Say that stdout takes no more, unless its reader has just had enough; return the code."""
    if error.errno is None:
        raise error
    mute(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    what = "cannot write to stdout" if error.filename is None else str(error.filename)
    complain(f"{what}: {error.strerror}.")
    return _FAULT
