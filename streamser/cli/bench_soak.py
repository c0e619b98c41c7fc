"""``streamser bench soak``: whether a server grows over hours."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.bench_server import (
    EmotionOnly,
    OwnPlan,
    PlotFile,
    RecordingsFolder,
    ServerUrl,
    Token,
    check_files,
    check_server,
    plan_own,
    shown_command,
)
from streamser.cli.options import Common, JsonFile, MarkdownFile, save_report, takes_settings
from streamser.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from streamser.bench.soak_report import SoakReport

__all__ = ["soak"]

_WIDTH = 160


@takes_settings
def soak(
    common: Common,
    streams: Annotated[
        int, typer.Option("--streams", min=1, max=1000, help="Streams at a time, always.")
    ] = 8,
    minutes: Annotated[
        float,
        typer.Option("--minutes", min=0.05, max=100_000, help="Audio of each stream that counts."),
    ] = 60.0,
    warm_up: Annotated[
        float,
        typer.Option("--warm-up", min=0.05, max=100_000, help="Minutes of audio before that."),
    ] = 30.0,
    speed: Annotated[
        float,
        typer.Option(
            "--speed", min=0.1, max=100, help="Times real time; a server takes server.speed (8)."
        ),
    ] = 1.0,
    renew: Annotated[
        float,
        typer.Option("--renew", min=0.02, max=10_000, help="Minutes of audio a session lasts."),
    ] = 4.0,
    every: Annotated[
        float, typer.Option("--every", min=0.5, max=3600, help="Seconds of audio between readings.")
    ] = 10.0,
    bound: Annotated[
        float, typer.Option("--bound", min=0, metavar="PERCENT", help="Growth of memory.")
    ] = 1.0,
    recordings: RecordingsFolder = None,
    server: ServerUrl = None,
    pid: Annotated[
        int | None,
        typer.Option("--pid", min=1, help="Process of the server at --server, for its size."),
    ] = None,
    token: Token = None,
    emotion_only: EmotionOnly = False,
    seed: Annotated[int, typer.Option("--seed", help="Who comes and goes when.")] = 1,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure whether a server's memory, threads, files or tasks grow while clients come and go.

    Sessions end and begin all the time: finished, vanished in the middle of a word, resumed.
    Listeners join and leave, one reads slowly. The server runs in a process of its own, with the
    settings given here, or is one that runs already. Exit code 1 where a bound was broken.
    """
    files = {"--json": json_file, "--markdown": markdown_file, "--plot": plot}
    check_files(files)
    if pid is not None and server is None:
        raise ConfigError("--pid goes with --server; a server of our own has its own.")
    own = _plan_own(common, streams, server=server, speed=speed, emotion_only=emotion_only)
    from streamser.bench.soak import SoakBench, run_soak
    from streamser.cli.console import tell
    from streamser.cli.signals import ending_soon

    bench = SoakBench(
        streams=streams,
        warm_min=warm_up,
        minutes=minutes,
        speed=speed,
        renew_min=renew,
        every_s=every,
        bound_percent=bound,
        seed=seed,
        recordings=recordings,
        server=server,
        pid=pid,
        token=token,
        wordless=emotion_only and server is not None,
        arguments=() if own is None else own.arguments,
        settings={} if own is None else own.changed,
        command=shown_command(sys.argv[1:]),
    )
    try:
        with ending_soon():
            report = run_soak(bench, tell)
    except AudioError as error:
        # The sound comes from nowhere else.
        raise ConfigError(f"--recordings: {error}") from None
    _write(report, files)
    if not report.held:
        raise typer.Exit(1)


def _plan_own(
    common: Common, streams: int, *, server: str | None, speed: float, emotion_only: bool
) -> OwnPlan | None:
    """Plan a server where none is given; raises ``ConfigError`` for what does not go together."""
    if server is not None:
        check_server(common, server)
        return None
    own = plan_own(common, streams, emotion_only=emotion_only)
    most = own.settings.server.speed
    if speed > most:
        raise ConfigError(
            f"--speed {speed:g}: this server takes sound {most:g} times as fast as real time at"
            " most; ask for less, or for more with --set server.speed=…"
        )
    return own


def _write(report: SoakReport, files: Mapping[str, Path | None]) -> None:
    import msgspec
    from rich.console import Console

    from streamser.bench.soak_tables import print_soak, soak_markdown

    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    plot, markdown_file, json_file = files["--plot"], files["--markdown"], files["--json"]
    try:
        print_soak(report, Console(highlight=False, width=width))
    finally:
        # A full stdout does not cost the report of an hour.
        if json_file is not None:
            # In one line: indented, its readings would fill ten thousand.
            save_report("--json", json_file, msgspec.json.encode(report) + b"\n")
        if markdown_file is not None:
            picture = None
            if plot is not None:
                picture = Path(os.path.relpath(plot, markdown_file.parent)).as_posix()
            save_report("--markdown", markdown_file, soak_markdown(report, picture).encode())
        if plot is not None:
            from streamser.bench.soak_plot import plot_soak

            plot_soak(report, plot)
