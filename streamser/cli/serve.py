"""``streamser serve``: many live streams, and those who listen to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streamser.cli.console import (
    INTERRUPTED,
    EndRequest,
    catching,
    counted,
    leave_at_once,
    on_signal,
    tell,
    warn,
)
from streamser.cli.files.export import ExportAs, read_formats
from streamser.cli.live.sinks import PluggedSinks, SinkNames, plugged_sinks
from streamser.cli.options import Common, ToldApart, check_folder, speakers_flag, takes_settings
from streamser.errors import ConfigError, StreamserError
from streamser.export.formats import is_format
from streamser.logs import LogFormat, logs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine

    from streamser.export.formats import ExportFormat
    from streamser.server.app import EmotionServer
    from streamser.server.recorder import SessionRecorder
    from streamser.settings import Settings

logger = logging.getLogger(__name__)

LogAs = Annotated[
    LogFormat,
    typer.Option("--log-format", help="How connections and faults are logged, on stderr."),
]


class Exports(NamedTuple):
    """Say where what sessions leave is kept, in which formats, and for how many days."""

    folder: Path
    formats: list[ExportFormat]
    days: int | None = None


@takes_settings
def serve(
    common: Common,
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Address to listen on.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="Port; 0: any that is free. [8377]")
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option("--token-file", metavar="F", help="Tokens, a line each: name, roles, token."),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option("--tls-cert", metavar="F", help="Certificate chain (PEM).")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="F", help="Its key (PEM).")
    ] = None,
    origins: Annotated[
        str | None,
        typer.Option("--origins", metavar="URL,…", help="Pages of other sites that may connect."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without tokens or TLS.")
    ] = False,
    told_apart: ToldApart = None,
    export: Annotated[
        str | None,
        typer.Option("--export", metavar="DIR", help="Keep the events of each session there."),
    ] = None,
    export_as: ExportAs = None,
    keep_days: Annotated[
        int | None,
        typer.Option(
            "--keep-days", min=1, max=36_500, metavar="N", help="Remove what --export kept before."
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="N|auto",
            help="Processes that host streams with their models; auto: one a core. [auto]",
        ),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option("--redis", metavar="URL", help="Be one of several servers; their Redis."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="URL", help="How the other servers reach this one."),
    ] = None,
    sink: SinkNames = None,
    log_format: LogAs = LogFormat.TEXT,
) -> None:
    """Serve live streams and listeners on one port, with a page for meetings.

    Send sound to /v1/realtime (OpenAI's Realtime transcription protocol) or /v1/listen
    (Deepgram's), that of meeting bots to /v1/ingest/attendee or /v1/ingest/recall; post files to
    /v1/audio/transcriptions; listen at /v1/events. SIGTERM or Ctrl-C ends it well: what was said is
    still analysed and told. SIGTERM first lets streams go on for server.drain_s, and no new ones
    in; SIGHUP has tokens and certificate read anew. No sound is stored; what is told only with
    --export, as DIR/TIME_MEETING_SPEAKER_ID.jsonl and in the other formats once a session is over;
    where some of that is lost, the exit code is 1. The page says so before anybody's microphone
    opens, and what server.purpose, server.responsible and server.contact are set to.
    """
    # To the very end: what went wrong is told last.
    context.find_root().with_resource(logs(log_format))
    if export is None and export_as is not None:
        raise ConfigError("--export-as goes with --export DIR: add it.")
    if export is None and keep_days is not None:
        raise ConfigError("--keep-days goes with --export DIR: add it.")
    formats = read_formats(export_as)
    keep = None if export is None else _read_folder(export)
    settings = common.load(
        {
            "server.host": host,
            "server.port": port,
            "server.token_file": token_file,
            "server.tls_cert": tls_cert,
            "server.tls_key": tls_key,
            "server.origins": origins,
            "server.insecure": True if insecure else None,
            "cluster.redis": redis,
            "cluster.address": address,
            **speakers_flag(told_apart),
            "worker.processes": None if workers is None else _read_workers(workers),
        }
    )
    with _faults_told(log_format), plugged_sinks(sink) as plugged:
        exports = None if keep is None else Exports(keep, formats, keep_days)
        whole = run_server(settings, export=exports, plugged=plugged)
    # What sinks have not taken shows once they are closed.
    if not (whole and plugged.complete):
        raise typer.Exit(1)


@contextmanager
def _faults_told(form: LogFormat) -> Iterator[None]:
    """Log a fault of our own as a line, where a traceback would be none of the log."""
    try:
        yield
    except (StreamserError, OSError):
        raise
    except Exception as error:
        if form is LogFormat.TEXT:
            raise
        logger.critical("the server has ended by a fault of its own", exc_info=error)
        raise typer.Exit(1) from None


def run_server(
    settings: Settings,
    beside: Callable[[EmotionServer], Awaitable[None]] | None = None,
    export: Exports | None = None,
    plugged: PluggedSinks | None = None,
) -> bool:
    """Serve until a signal asks for the end; ``beside`` runs once streams are let in.

    Returns whether all was kept that is to be. ``export`` is where what sessions leave is kept;
    ``plugged`` gets the events of all.
    """
    from streamser.cli.live.listen import NOTICE
    from streamser.server.app import EmotionServer

    server = EmotionServer(settings, tell)
    tell(NOTICE)
    # To the very end: what is kept is still written after the last connection. What is played
    # beside ends with its terminal.
    signals = ("SIGHUP",) if beside is None else ()
    with catching(lambda number, frame: server.reload_soon(), *signals):
        return _run(server, beside, export, plugged)


def _run(
    server: EmotionServer,
    beside: Callable[[EmotionServer], Awaitable[None]] | None,
    export: Exports | None,
    plugged: PluggedSinks | None,
) -> bool:
    import asyncio

    from streamser.server.recorder import given_to_plugin, kept_in_files

    if plugged is not None:
        kept = map(given_to_plugin, plugged.names)
        server.listen_in(plugged.deliver, *kept, is_whole=lambda: plugged.complete)
    if export is None:
        asyncio.run(_serve(server, beside))
        return True
    with _recording(export, server.metrics.export_lost) as recorder:
        kept_so = kept_in_files(export.formats, export.days)
        server.listen_in(recorder.deliver, kept_so, is_whole=lambda: recorder.incomplete is None)
        days = export.days
        prune = None if days is None else partial(_remove_older, recorder, days)
        asyncio.run(_serve(server, beside, prune))
    if recorder.incomplete is not None:
        warn(f"not everything is kept in {export.folder}: {recorder.incomplete}.")
    return recorder.incomplete is None


@contextmanager
def _recording(export: Exports, count: Callable[[str, int], None]) -> Iterator[SessionRecorder]:
    """Keep what sessions leave, and finish that when the block ends."""
    from streamser.server.recorder import SessionRecorder

    try:
        recorder = SessionRecorder(export.folder, export.formats, warn, count)
    except OSError as error:
        raise ConfigError(f"--export {export.folder}: {error.strerror or error}.") from None
    tell(f"The events of every session are kept in {export.folder}.")
    try:
        yield recorder
    finally:
        recorder.close()


async def _remove_older(recorder: SessionRecorder, days: int) -> None:
    """Remove what is older, now and every hour."""
    import asyncio

    from streamser.hosting.hosted import run_beside

    while True:
        removed = await run_beside(partial(recorder.remove_older, days), "streamser-keep-days")
        if removed:
            tell(f"Removed: {counted(removed, 'session')} older than {counted(days, 'day')}.")
        await asyncio.sleep(3600)


def _read_workers(given: str) -> str:
    """Return the setting for so many workers; raises ``ConfigError`` for what is no number."""
    if given == "auto":
        return "none"
    if not given.isascii() or not given.isdigit() or not int(given):
        raise ConfigError(f"--workers {given}: give a number from 1, or auto for one a core.")
    return given


def _read_folder(export: str) -> Path:
    if not export.strip():
        raise ConfigError("--export: it is empty; name a folder.")
    folder = Path(export)
    if is_format(folder) and not folder.is_dir():
        raise ConfigError(
            f"--export {folder}: each session has files of its own; name a folder, and formats"
            " with --export-as."
        )
    check_folder("--export", folder)
    return folder


def _settle_memory() -> None:
    """Let what is loaded now be loaded for good.

    The search for circles among objects then looks at those of streams alone: it is short, so
    that no event waits for it, and comes soon, so that streams that have ended leave nothing.
    """
    import gc

    gc.collect()
    gc.freeze()


async def _serve(
    server: EmotionServer,
    beside: Callable[[EmotionServer], Awaitable[None]] | None,
    prune: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    import asyncio

    asked, wish = asyncio.Event(), EndRequest()
    patient = serving = False

    def stop(*, drain: bool) -> None:
        nonlocal patient
        match wish.heard():
            case "first":
                patient = drain
                asked.set()
            case "again":
                leave_at_once(INTERRUPTED)

    # In every case before the port is open: whoever sees it open may send the signal.
    on_signal("SIGINT", partial(stop, drain=False))
    on_signal("SIGTERM", partial(stop, drain=True))
    await server.start()
    leaving = asyncio.ensure_future(server.leave_asked.wait())
    tasks: set[asyncio.Future[Any]] = {asyncio.ensure_future(asked.wait()), leaving}
    loading = asyncio.create_task(server.load())
    if prune is not None:
        tasks.add(asyncio.create_task(prune()))
    try:
        await asyncio.wait({loading, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            models = loading.result()
            _settle_memory()
            words = models.asr or "none"
            serving = True
            tell(f"Serving {server.url} (words: {words}, emotion: {models.emotion}).")
            if beside is not None:
                tasks.add(asyncio.ensure_future(beside(server)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (loading, *tasks):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if patient or server.leave_asked.is_set():
            await server.drain()
        if serving:
            tell("Ending: what was said is still told.")
        await server.stop()
    for result in results:
        if isinstance(result, Exception):
            raise result
