"""A real server in this process, with models and time that a test decides on."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from streamser.server.app import EmotionServer, ServerOptions
from tests.faults.doubles import HandTime, Workshop, get
from tests.server.serving import FAILED, Told, of_kind, server_settings

__all__ = [
    "codes_of",
    "comes",
    "dead_line",
    "figure",
    "running",
    "status",
]


@asynccontextmanager
async def running(
    shop: Workshop,
    flags: Mapping[str, Any] | None = None,
    *,
    time: HandTime | None = None,
    **fittings: float,
) -> AsyncIterator[EmotionServer]:
    """Run a server on these models; without readings of what is still being said."""
    more: dict[str, Any] = {**fittings, **({"timing": time} if time is not None else {})}
    settings = server_settings({"partial.every_ms": 0, **(flags or {})})
    server = EmotionServer(settings, lambda line: None, ServerOptions(build=shop.build, **more))
    await server.start()
    try:
        await server.load()
        yield server
    finally:
        await server.stop()


async def comes(waiting: threading.Semaphore) -> None:
    """Wait for a thread, and let the server go on meanwhile."""
    await asyncio.to_thread(get, waiting)


async def status(server: EmotionServer, path: str) -> tuple[int, str]:
    """Get a path over plain HTTP."""

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(server.url + path) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def figure(server: EmotionServer, name: str) -> float:
    """Return a figure of the server, by its name and labels."""
    lines = server.metrics.render().decode().splitlines()
    (value,) = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
    return float(value)


def codes_of(events: list[Told]) -> list[str]:
    """List why finals failed."""
    return [event["error"]["code"] for event in of_kind(events, FAILED)]


@asynccontextmanager
async def dead_line(server: EmotionServer, path: str) -> AsyncIterator[socket.socket]:
    """Open a websocket whose other end is dead: it takes what comes, and never says a word."""
    place = urlsplit(server.url)
    loop = asyncio.get_running_loop()
    with socket.socket() as link:
        link.setblocking(False)
        await loop.sock_connect(link, (place.hostname, place.port))
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {place.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "\r\n",
        )
        await loop.sock_sendall(link, "\r\n".join(lines).encode())
        answer = await loop.sock_recv(link, 12)
        assert answer == b"HTTP/1.1 101", answer
        yield link
