"""``streamser bench load``: how many live streams a server holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.bench_server import (
    EmotionOnly,
    PlotFile,
    RecordingsFolder,
    ServerUrl,
    Token,
    check_files,
    check_server,
    plan_own,
    refuse_settings,
    shown_command,
)
from streamser.cli.options import Common, JsonFile, MarkdownFile, save_report, takes_settings
from streamser.errors import AudioError, ConfigError
from streamser.machine import usable_cores

if TYPE_CHECKING:
    from streamser.bench.load import LoadBench
    from streamser.bench.load_report import LoadReport

__all__ = ["load"]

_WIDTH = 160
_MOST_STREAMS = 10_000


@takes_settings
def load(
    common: Common,
    streams: Annotated[
        str, typer.Option("--streams", metavar="N,N,…", help="Streams at a time, step by step.")
    ] = "1,2,4,8,16,32,64",
    recordings: RecordingsFolder = None,
    server: ServerUrl = None,
    token: Token = None,
    emotion_only: EmotionOnly = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=36_000, help="Measured in each step.")
    ] = 30.0,
    bound: Annotated[
        float,
        typer.Option(
            "--bound", min=1, metavar="MS", help="p95 of the emotion, beyond the hangover."
        ),
    ] = 150.0,
    cores: Annotated[
        str | None,
        typer.Option(
            "--cores", metavar="N,N,…", help="Keep the server to these, the load to the others."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Where and when streams begin.")] = 1,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    plot: PlotFile = None,
    join: Annotated[
        str | None,
        typer.Option(
            "--join", metavar="FILE,…", help="Measure nothing; set JSON reports side by side."
        ),
    ] = None,
) -> None:
    """Measure how many live streams a server holds, in real time, step by step.

    The server runs in a process of its own, with the settings given here (--config embedded;
    --asr whisper --asr-model DIR; --model CHECKPOINT; --set worker.max_batch=16; …), or is one
    that runs already. Stops where p95 exceeds the bound or anything is lost. Keep the machine
    otherwise idle.
    """
    files = {"--json": json_file, "--markdown": markdown_file, "--plot": plot}
    check_files(files)
    from streamser.cli.console import tell
    from streamser.cli.signals import ending_soon

    if join is not None:
        refuse_settings(common, "--join", "it measures nothing; leave it out.", server=server)
        from streamser.bench.load_report import read_report

        names = [name.strip() for name in join.split(",") if name.strip()]
        if not names:
            raise ConfigError("--join: name JSON reports of bench load, with commas between.")
        if json_file is not None:
            raise ConfigError("--json with --join: it would hold what is in files already.")
        _write([read_report(Path(name)) for name in names], files)
        return
    counts = _numbers("--streams", streams, least=1, most=_MOST_STREAMS)
    bench = _plan(common, counts, server=server, emotion_only=emotion_only, cores=cores)
    from msgspec.structs import replace

    from streamser.bench.load import run_load

    bench = replace(
        bench,
        seconds=seconds,
        bound_ms=bound,
        seed=seed,
        recordings=recordings,
        token=token,
        command=shown_command(sys.argv[1:]),
    )
    try:
        with ending_soon():
            report = run_load(bench, tell)
    except AudioError as error:
        # The sound comes from nowhere else.
        raise ConfigError(f"--recordings: {error}") from None
    _write([report], files)


def _plan(
    common: Common,
    counts: tuple[int, ...],
    *,
    server: str | None,
    emotion_only: bool,
    cores: str | None,
) -> LoadBench:
    """Say whom to measure; raises ``ConfigError`` for what does not go together."""
    if server is not None:
        check_server(common, server)
        if cores is not None:
            raise ConfigError("--cores: the server at --server is not ours to pin; leave it out.")
    pinned = None if cores is None else _usable(_numbers("--cores", cores, least=0, most=4095))
    from streamser.bench.load import LoadBench

    bench = LoadBench(
        streams=counts, seconds=0.0, bound_ms=0.0, seed=0, command="", wordless=emotion_only
    )
    from msgspec.structs import replace

    if server is not None:
        return replace(bench, server=server)
    from streamser.audio.clip import to_ms
    from streamser.runtime.assembly import segmenter_settings

    own = plan_own(common, counts[-1], emotion_only=emotion_only)
    return replace(
        bench,
        wordless=False,
        arguments=own.arguments,
        settings=own.changed,
        tail_ms=to_ms(segmenter_settings(own.settings.endpointing).tail),
        cores=pinned,
    )


def _numbers(option: str, text: str, *, least: int, most: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    usable = all(part.isascii() and part.isdecimal() and len(part) < 9 for part in parts)
    if not usable or not all(least <= int(part) <= most for part in parts):
        raise ConfigError(
            f"{option} {text}: write numbers of {least} to {most} with commas, such as 1,2,4."
        )
    return tuple(sorted({int(part) for part in parts}))


def _usable(cores: Sequence[int]) -> frozenset[int]:
    there = usable_cores()
    if not there:
        raise ConfigError("--cores: this system keeps no process to its cores; leave it out.")
    if missing := sorted(set(cores) - there):
        usable = ",".join(map(str, sorted(there)))
        raise ConfigError(f"--cores: there is no core {missing[0]} for us; there are {usable}.")
    return frozenset(cores)


def _write(reports: Sequence[LoadReport], files: Mapping[str, Path | None]) -> None:
    import msgspec
    from rich.console import Console

    from streamser.bench.load_tables import load_markdown, print_load

    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    plot, markdown_file, json_file = files["--plot"], files["--markdown"], files["--json"]
    try:
        print_load(reports, Console(highlight=False, width=width))
    finally:
        # A full stdout does not cost the report.
        if json_file is not None:
            encoded = msgspec.json.format(msgspec.json.encode(reports[0]), indent=2)
            save_report("--json", json_file, encoded + b"\n")
        if markdown_file is not None:
            picture = None
            if plot is not None:
                picture = Path(os.path.relpath(plot, markdown_file.parent)).as_posix()
            save_report("--markdown", markdown_file, load_markdown(reports, picture).encode())
        if plot is not None:
            from streamser.bench.load_plot import plot_load

            plot_load(reports, plot)
