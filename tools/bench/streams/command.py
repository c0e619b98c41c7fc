"""``tools.bench load`` and ``soak``: live streams to a server that is started, or found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from streamser.audio.clip import to_ms
from streamser.cli.console import ending_soon, tell
from streamser.cli.options import Common, JsonFile, MarkdownFile, takes_settings
from streamser.client.wire import REALTIME, ServerError, endpoint
from streamser.errors import AudioError, ConfigError
from streamser.machine import usable_cores
from streamser.pipeline.build import endpointer_settings
from streamser.settings import Settings
from tools.bench import PROGRAM
from tools.bench.streams.designs import DESIGNS, designs_page, run_designs
from tools.bench.streams.disturbed import disturbed_page, run_disturbed
from tools.bench.streams.load import LoadBench, run_load
from tools.bench.streams.load_report import load_page, plot_load, read_report
from tools.bench.streams.soak import SoakBench, run_soak
from tools.bench.streams.soak_report import plot_soak, soak_page
from tools.reporting import Files, PlotFile, publish, shown_command

__all__ = ["designs", "disturbed", "load", "soak"]

_MOST_STREAMS = 10_000

RecordingsFolder = Annotated[
    Path | None,
    typer.Option(
        "--recordings",
        metavar="DIR",
        help="WAV and FLAC files to string together. [the bundled demo]",
    ),
]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="One that runs already. [starts its own]"),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", envvar="STREAMSER_TOKEN", help="Where the server wants one."
    ),
]
EmotionOnly = Annotated[
    bool, typer.Option("--emotion-only", help="No words: nothing is transcribed.")
]


class _Own(msgspec.Struct, frozen=True):
    """Say how a server is started: the arguments of ``streamser serve``.

    ``settings`` are those in force, ``changed`` those of them that are not the default.
    """

    arguments: tuple[str, ...]
    settings: Settings
    changed: dict[str, str]


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
    files = Files(json=json_file, markdown=markdown_file, plot=plot)
    files.check()
    if join is not None:
        _refuse_settings(common, "--join", "it measures nothing; leave it out.", server=server)
        names = [name.strip() for name in join.split(",") if name.strip()]
        if not names:
            raise ConfigError("--join: name JSON reports of bench load, with commas between.")
        if json_file is not None:
            raise ConfigError("--json with --join: it would hold what is in files already.")
        joined = [read_report(Path(name)) for name in names]
        publish(load_page(joined), files, None, draw=partial(plot_load, joined))
        return
    counts = _numbers("--streams", streams, least=1, most=_MOST_STREAMS)
    bench = _plan_load(common, counts, server=server, emotion_only=emotion_only, cores=cores)
    bench = replace(
        bench,
        seconds=seconds,
        bound_ms=bound,
        seed=seed,
        recordings=recordings,
        token=token,
        command=shown_command(PROGRAM, sys.argv[1:]),
    )
    try:
        with ending_soon():
            report = run_load(bench, tell)
    except AudioError as error:
        # The sound comes from nowhere else.
        raise ConfigError(f"--recordings: {error}") from None
    publish(load_page([report]), files, report, draw=partial(plot_load, [report]))


@takes_settings
def designs(
    common: Common,
    streams: Annotated[
        str, typer.Option("--streams", metavar="N,N,…", help="Streams at a time, step by step.")
    ] = "32,48,64,80,96,112,128",
    recordings: RecordingsFolder = None,
    emotion_only: EmotionOnly = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=36_000, help="Measured in each step.")
    ] = 15.0,
    bound: Annotated[
        float,
        typer.Option(
            "--bound", min=1, metavar="MS", help="p95 of the emotion, beyond the hangover."
        ),
    ] = 150.0,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="N,N,…", help="Designs, by place in the table."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Where and when streams begin.")] = 1,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
) -> None:
    """Set ways to host streams side by side: how many each holds, in one run.

    Worker processes, one or one a core; all in the server's process; a thread a stream with a
    lock around one set of models; and one core alone. Keep the machine otherwise idle.
    """
    files = Files(json=json_file, markdown=markdown_file)
    files.check()
    counts = _numbers("--streams", streams, least=1, most=_MOST_STREAMS)
    places = tuple(range(1, len(DESIGNS) + 1))
    if only is not None:
        places = _numbers("--only", only, least=1, most=len(DESIGNS))
    bench = replace(
        _plan_load(common, counts, server=None, emotion_only=emotion_only, cores=None),
        seconds=seconds,
        bound_ms=bound,
        seed=seed,
        recordings=recordings,
        command=shown_command(PROGRAM, sys.argv[1:]),
    )
    with ending_soon():
        report = run_designs(bench, tuple(DESIGNS[place - 1] for place in places), tell)
    publish(designs_page(report), files, report)


@takes_settings
def disturbed(
    common: Common,
    streams: Annotated[
        int, typer.Option("--streams", min=1, max=_MOST_STREAMS, help="Streams at a time.")
    ] = 24,
    recordings: RecordingsFolder = None,
    emotion_only: EmotionOnly = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=36_000, help="Measured each time.")
    ] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Where and when streams begin.")] = 1,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
) -> None:
    """Measure how late streams are while others make trouble, beside how late they are else.

    A listener that never reads, a client that sends sound as fast as it can, and a worker that
    is killed, all at once. Keep the machine otherwise idle.
    """
    files = Files(json=json_file, markdown=markdown_file)
    files.check()
    bench = replace(
        _plan_load(common, (streams + 8,), server=None, emotion_only=emotion_only, cores=None),
        streams=(streams,),
        seconds=seconds,
        bound_ms=1e9,
        seed=seed,
        recordings=recordings,
        command=shown_command(PROGRAM, sys.argv[1:]),
    )
    with ending_soon():
        report = run_disturbed(bench, tell)
    publish(disturbed_page(report), files, report)


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
    files = Files(json=json_file, markdown=markdown_file, plot=plot)
    files.check()
    if pid is not None and server is None:
        raise ConfigError("--pid goes with --server; a server of our own has its own.")
    own = _plan_soak(common, streams, server=server, speed=speed, emotion_only=emotion_only)
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
        command=shown_command(PROGRAM, sys.argv[1:]),
    )
    try:
        with ending_soon():
            report = run_soak(bench, tell)
    except AudioError as error:
        # The sound comes from nowhere else.
        raise ConfigError(f"--recordings: {error}") from None
    # In one line: indented, its readings would fill ten thousand.
    publish(soak_page(report), files, report, draw=partial(plot_soak, report), indent=0)
    if not report.held:
        raise typer.Exit(1)


def _plan_load(
    common: Common,
    counts: tuple[int, ...],
    *,
    server: str | None,
    emotion_only: bool,
    cores: str | None,
) -> LoadBench:
    """Say whom to measure; raises ``ConfigError`` for what does not go together."""
    if server is not None:
        _check_server(common, server)
        if cores is not None:
            raise ConfigError("--cores: the server at --server is not ours to pin; leave it out.")
    pinned = None if cores is None else _usable(_numbers("--cores", cores, least=0, most=4095))
    bench = LoadBench(
        streams=counts, seconds=0.0, bound_ms=0.0, seed=0, command="", wordless=emotion_only
    )
    if server is not None:
        return replace(bench, server=server)
    own = _plan_own(common, counts[-1], emotion_only=emotion_only)
    return replace(
        bench,
        wordless=False,
        arguments=own.arguments,
        settings=own.changed,
        tail_ms=to_ms(endpointer_settings(own.settings.endpointing).tail),
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


def _plan_soak(
    common: Common, streams: int, *, server: str | None, speed: float, emotion_only: bool
) -> _Own | None:
    """Plan a server where none is given; raises ``ConfigError`` for what does not go together."""
    if server is not None:
        _check_server(common, server)
        return None
    own = _plan_own(common, streams, emotion_only=emotion_only)
    most = own.settings.server.speed
    if speed > most:
        raise ConfigError(
            f"--speed {speed:g}: this server takes sound {most:g} times as fast as real time at"
            " most; ask for less, or for more with --set server.speed=…"
        )
    return own


def _plan_own(common: Common, streams: int, *, emotion_only: bool) -> _Own:
    """Plan a server that lets twice as many streams in; raises ``ConfigError``."""
    if emotion_only and common.flags.get("asr.engine", "none") != "none":
        raise ConfigError("--emotion-only and --asr do not go together: leave one out.")
    # What is late is what is measured: it must not keep streams out.
    flags: dict[str, Any] = {"server.port": 0, "server.late_s": 0.0, "server.token_share": 1.0}
    if emotion_only:
        flags["asr.engine"] = "none"
    limits = common.load(flags).server
    # Twice: streams that were there before may still be saying goodbye.
    if limits.max_sessions < 2 * streams:
        flags["server.max_sessions"] = 2 * streams
    effective = common.explain(flags)
    changed = {
        key: str(value)
        for key, value, origin, _ in effective.rows()
        if origin != "default" and key != "server.port"
    }
    arguments = _arguments(common.configs, flags | common.flags)
    return _Own(arguments, effective.settings, changed)


def _check_server(common: Common, server: str) -> None:
    """Raise ``ConfigError`` where a server's address is none, or settings are given for it."""
    _refuse_settings(
        common, "--server", "the server there has its own settings; leave it out.", server=None
    )
    try:
        endpoint(server, REALTIME, {})
    except ServerError as error:
        raise ConfigError(f"--server {error}") from None


def _refuse_settings(common: Common, option: str, why: str, *, server: str | None) -> None:
    """Raise ``ConfigError`` where a server is given, or settings for one."""
    given = [f"--set {key}" for key in common.flags]
    given += ["--config"] if common.configs else []
    given += ["--server"] if server is not None else []
    if given:
        raise ConfigError(f"{given[0]} with {option}: {why}")


def _arguments(configs: Sequence[str], flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Write settings as ``streamser serve`` takes them."""
    told = [part for config in configs for part in ("--config", config)]
    for key, value in flags.items():
        told += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return tuple(told)
