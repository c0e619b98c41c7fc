"""``streamser serve``: many live streams, and those who listen to them."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamser.cli.common import Common, takes_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamser.config import Settings
    from streamser.server.app import EmotionServer

__all__ = ["run_server", "serve"]


@takes_settings
def serve(
    common: Common,
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
) -> None:
    """Serve live streams and listeners on one port, with a page for meetings.

    Send sound to /v1/realtime (OpenAI's Realtime transcription protocol) or /v1/listen
    (Deepgram's); listen at /v1/events. SIGTERM or Ctrl-C ends it well: what was said is still
    analysed and told. No sound is stored.
    """
    settings = common.load(
        {
            "server.host": host,
            "server.port": port,
            "server.token_file": token_file,
            "server.tls_cert": tls_cert,
            "server.tls_key": tls_key,
            "server.origins": origins,
            "server.insecure": True if insecure else None,
        }
    ).settings
    run_server(settings)


def run_server(
    settings: Settings, beside: Callable[[EmotionServer], Awaitable[None]] | None = None
) -> None:
    """Serve until a signal asks for the end; ``beside`` runs once streams are let in."""
    from streamser.cli.listen import NOTICE
    from streamser.cli.talk import tell
    from streamser.server.app import EmotionServer

    server = EmotionServer(settings, tell)
    tell(NOTICE)
    asyncio.run(_serve(server, beside))


async def _serve(
    server: EmotionServer, beside: Callable[[EmotionServer], Awaitable[None]] | None
) -> None:
    from streamser.cli.ending import INTERRUPTED, leave_at_once
    from streamser.cli.talk import tell

    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def stop() -> None:
        if asked.is_set():
            leave_at_once(INTERRUPTED)
        asked.set()

    # In every case before the port is open: whoever sees it open may send the signal.
    for name in ("SIGINT", "SIGTERM"):
        loop.add_signal_handler(getattr(signal, name), stop)
    await server.start()
    tasks: set[asyncio.Future[Any]] = {asyncio.ensure_future(asked.wait())}
    try:
        loading = asyncio.create_task(server.load())
        await asyncio.wait({loading, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            models = loading.result()
            words = models.asr or "none"
            tell(f"Serving {server.url} (words: {words}, emotion: {models.emotion}).")
            if beside is not None:
                tasks.add(asyncio.ensure_future(beside(server)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        tell("Ending: what was said is still told.")
        await server.stop()
    for result in results:
        if isinstance(result, Exception):
            raise result
