"""``streamser bench``: how fast and how late, on this machine."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from streamser.cli.bench_beside import beside
from streamser.cli.bench_compact import compact
from streamser.cli.bench_load import load
from streamser.cli.bench_model import model
from streamser.cli.bench_soak import soak
from streamser.cli.options import JsonFile, MarkdownFile, check_writable, save_report

__all__ = ["app"]

_WIDTH = 160

app = typer.Typer(
    help="Measure how fast this machine is and how late events come.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Part(StrEnum):
    """A part of the measurement."""

    FRONT = "front"
    PARTIALS = "partials"
    STARTUP = "startup"
    LATENCY = "latency"
    MEMORY = "memory"


@app.callback()
def _bench() -> None:
    """Measure how fast this machine is and how late events come."""


@app.command()
def pipeline(
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            metavar="DIR",
            help="WAV and FLAC files to measure with. [the bundled demo]",
        ),
    ] = None,
    utterances: Annotated[
        int | None,
        typer.Option(
            "--utterances", min=1, metavar="N", help="Turns played live to each recogniser. [48]"
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours", min=0.005, max=1000, metavar="H", help="Stream that memory is read on. [3]"
        ),
    ] = None,
    only: Annotated[
        list[Part] | None, typer.Option("--only", help="Measure only this part; repeat.")
    ] = None,
    live_rate: Annotated[
        int | None,
        typer.Option(
            "--live-rate",
            min=8000,
            max=192_000,
            metavar="HZ",
            help="Rate of the sound played live. [16000]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Try everything for seconds; no figures to quote."),
    ] = False,
) -> None:
    """Measure the pipeline: speed, cost, latency, memory, start-up, each beside its goal.

    Takes about twenty minutes, most of it sound played in real time and a stream of three
    hours. Keep the machine otherwise idle.
    """
    for option, file in (("--json", json_file), ("--markdown", markdown_file)):
        if file is not None:
            check_writable(option, file)
    import msgspec
    from msgspec.structs import replace
    from rich.console import Console

    from streamser.bench.pipeline import FULL, QUICK, run_pipeline
    from streamser.bench.tables import markdown, print_report
    from streamser.cli.console import tell
    from streamser.cli.signals import ending_soon

    given: dict[str, Any] = {
        "recordings": recordings,
        "utterances": utterances,
        "hours": hours,
        "live_rate": live_rate,
        "parts": tuple(part.value for part in only) if only else None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    with ending_soon():
        report = run_pipeline(replace(QUICK if quick else FULL, **chosen), tell)
    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    try:
        print_report(report, Console(highlight=False, width=width))
    finally:
        # A full stdout does not cost the report of twenty minutes.
        if json_file is not None:
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
            save_report("--json", json_file, encoded + b"\n")
        if markdown_file is not None:
            save_report("--markdown", markdown_file, markdown(report).encode())


app.command()(model)
app.command()(compact)
app.command()(load)
app.command()(soak)
app.command()(beside)
