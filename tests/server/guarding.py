"""Scenes that several tests of a server play."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from streamser.server.app import EmotionServer


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
