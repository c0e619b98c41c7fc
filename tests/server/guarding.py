"""Scenes that several tests of a server play."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from streamser.server.app import EmotionServer
from tests.server.serving import serving

BOTH = "both-0123456789abcdef"
SEND = "send-0123456789abcdef"
LISTEN = "listen-0123456789abcdef"
TOKENS = (BOTH, SEND, LISTEN)
WRONG = "wrong-0123456789abcdef"


@asynccontextmanager
async def guarded(
    token_file: str, flags: dict[str, Any] | None = None
) -> AsyncIterator[EmotionServer]:
    """Run a server that wants tokens."""
    async with serving({"server.token_file": token_file, **(flags or {})}) as server:
        yield server


def bearer(token: str) -> dict[str, str]:
    """Give a token as programs do."""
    return {"Authorization": f"Bearer {token}"}


async def raw_request(server: EmotionServer, target: bytes, *headers: bytes) -> bytes:
    """Send a request with bytes no library would send; return the answer."""
    place = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    lines = [
        b"GET " + target + b" HTTP/1.1",
        b"Host: " + place.netloc.encode(),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *headers,
    ]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    answer = await reader.read(65_536)
    writer.close()
    return answer
