"""``streamser bench load``: how many live streams a server holds."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamser.cli.common import Common, takes_settings
from streamser.cli.report_files import JsonFile, MarkdownFile, check_writable, save_report
from streamser.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from streamser.bench.load import LoadBench
    from streamser.bench.load_report import LoadReport

__all__ = ["load"]

_WIDTH = 160
_MOST_STREAMS = 10_000
_PICTURES = (".png", ".svg", ".pdf")


@takes_settings
def load(
    common: Common,
    streams: Annotated[
        str, typer.Option("--streams", metavar="N,N,…", help="Streams at a time, step by step.")
    ] = "1,2,4,8,16,32,64",
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            metavar="DIR",
            help="WAV and FLAC files to string together. [the bundled demo]",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", help="One that runs already. [starts its own]"),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", metavar="TOKEN", envvar="STREAMSER_TOKEN", help="Where the server wants one."
        ),
    ] = None,
    emotion_only: Annotated[
        bool, typer.Option("--emotion-only", help="No words: nothing is transcribed.")
    ] = False,
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
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf.", readable=False),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            "--join", metavar="FILE,…", help="Measure nothing; set JSON reports side by side."
        ),
    ] = None,
) -> None:
    """Measure how many live streams a server holds, in real time, step by step.

    The server runs in a process of its own, with the settings given here (--asr pocketsphinx;
    --asr whisper --asr-model DIR; --model CHECKPOINT; --set worker.max_batch=16; …), or is one
    that runs already. Stops where p95 exceeds the bound or anything is lost. Keep the machine
    otherwise idle.
    """
    files = {"--json": json_file, "--markdown": markdown_file, "--plot": plot}
    _check_files(files)
    from streamser.cli.ending import ending_soon
    from streamser.cli.talk import tell

    if join is not None:
        _refuse(common, "--join", "it measures nothing; leave it out.", server=server)
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
        command=_command(sys.argv[1:]),
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
        _refuse(common, "--server", "the server there has its own settings; leave it out.")
        if cores is not None:
            raise ConfigError("--cores: the server at --server is not ours to pin; leave it out.")
        from streamser.client.address import REALTIME, address
        from streamser.client.errors import ServerError

        try:
            address(server, REALTIME, {})
        except ServerError as error:
            raise ConfigError(f"--server {error}") from None
    pinned = None if cores is None else _usable(_numbers("--cores", cores, least=0, most=4095))
    if emotion_only and common.flags.get("asr.engine", "none") != "none":
        raise ConfigError("--emotion-only and --asr do not go together: leave one out.")
    from streamser.bench.load import LoadBench

    bench = LoadBench(
        streams=counts, seconds=0.0, bound_ms=0.0, seed=0, command="", wordless=emotion_only
    )
    from msgspec.structs import replace

    if server is not None:
        return replace(bench, server=server)
    flags: dict[str, Any] = {"server.port": 0}
    if emotion_only:
        flags["asr.engine"] = "none"
    limits = common.load(flags).settings.server
    for limit in ("max_sessions", "max_token_sessions"):
        # Twice: the streams of the step before may still be saying goodbye.
        if getattr(limits, limit) < 2 * counts[-1]:
            flags[f"server.{limit}"] = 2 * counts[-1]
    effective = common.load(flags)
    from streamser.audio.clip import to_ms
    from streamser.runtime.assembly import segmenter_settings

    changed = {
        key: str(value)
        for key, value, origin, _ in effective.rows()
        if origin != "default" and key != "server.port"
    }
    return replace(
        bench,
        wordless=False,
        arguments=_arguments(common.configs, flags | common.flags),
        settings=changed,
        tail_ms=to_ms(segmenter_settings(effective.settings.endpointing).tail),
        cores=pinned,
    )


def _arguments(configs: Sequence[str], flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Write settings as ``streamser serve`` takes them."""
    told = [part for config in configs for part in ("--config", config)]
    for key, value in flags.items():
        told += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return tuple(told)


def _command(arguments: Sequence[str]) -> str:
    """Write the command line as it may be shown: no token."""
    told: list[str] = []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if told and told[-1] == "--token":
            argument = "…"
        elif name == "--token" and equals:
            argument = "--token=…"
        told.append(argument)
    return shlex.join(["streamser", *told])


def _refuse(common: Common, option: str, why: str, *, server: str | None = None) -> None:
    given = [f"--set {key}" for key in common.flags]
    given += ["--config"] if common.configs else []
    given += ["--server"] if server is not None else []
    if given:
        raise ConfigError(f"{given[0]} with {option}: {why}")


def _numbers(option: str, text: str, *, least: int, most: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    usable = all(part.isascii() and part.isdecimal() and len(part) < 9 for part in parts)
    if not usable or not all(least <= int(part) <= most for part in parts):
        raise ConfigError(
            f"{option} {text}: write numbers of {least} to {most} with commas, such as 1,2,4."
        )
    return tuple(sorted({int(part) for part in parts}))


def _usable(cores: Sequence[int]) -> frozenset[int]:
    if not hasattr(os, "sched_getaffinity"):
        raise ConfigError("--cores: this system keeps no process to its cores; leave it out.")
    there = os.sched_getaffinity(0)
    if missing := sorted(set(cores) - there):
        usable = ",".join(map(str, sorted(there)))
        raise ConfigError(f"--cores: there is no core {missing[0]} for us; there are {usable}.")
    return frozenset(cores)


def _check_files(files: Mapping[str, Path | None]) -> None:
    for option, file in files.items():
        if file is not None:
            check_writable(option, file)
    plot = files["--plot"]
    if plot is None:
        return
    if plot.suffix.lower() not in _PICTURES:
        raise ConfigError(f"--plot {plot}: name a {', '.join(_PICTURES)} file.")
    from streamser.bench.load_plot import check_plotting

    check_plotting()


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
