"""How fast and how late, on this machine: ``python -m tools.bench``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from streamser.cli.console import ending_soon, mend_streams, tell
from streamser.cli.main import Commands
from streamser.cli.options import JsonFile, MarkdownFile
from tools.bench import PROGRAM
from tools.bench.compact import compact_page, measure_compact
from tools.bench.figures import pipeline_page
from tools.bench.pipeline import FULL, QUICK, run_pipeline
from tools.bench.streams.command import designs, disturbed, load, soak
from tools.reporting import Files, publish, shown_command

__all__ = ["app", "main"]

app = typer.Typer(
    name=PROGRAM,
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
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
    files = Files(json=json_file, markdown=markdown_file)
    files.check()
    given: dict[str, Any] = {
        "recordings": recordings,
        "utterances": utterances,
        "hours": hours,
        "live_rate": live_rate,
        "parts": tuple(part.value for part in only) if only else None,
        "command": shown_command(PROGRAM, sys.argv[1:]),
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    with ending_soon():
        report = run_pipeline(replace(QUICK if quick else FULL, **chosen), tell)
    publish(pipeline_page(report), files, report)


@app.command()
def compact(json_file: JsonFile = None, markdown_file: MarkdownFile = None) -> None:
    """Measure the bundled emotion model: bytes, start, memory, time an utterance; one core.

    Takes about half a minute.
    """
    files = Files(json=json_file, markdown=markdown_file)
    files.check()
    report = measure_compact(shown_command(PROGRAM, sys.argv[1:]), tell)
    publish(compact_page(report), files, report)


app.command()(load)
app.command()(designs)
app.command()(disturbed)
app.command()(soak)


def main() -> None:
    """Run the measurements."""
    mend_streams()
    app(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
