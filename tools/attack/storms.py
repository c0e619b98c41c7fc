"""What messages cost that say nothing: of one sample, or of control, in both dialects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import websockets

from tools.attack.row import Row
from tools.attack.server import TOKENS, Pulse, Server
from tools.attack.wire import frame, handshake, part, ping, pong, pour

__all__ = ["storms"]

_REALTIME = "/v1/realtime?rate=16000"
_DEEPGRAM = "/v1/listen?encoding=linear16&sample_rate=16000"
_STORMS: dict[str, tuple[str, bytes | str, int]] = {
    "frames of one sample": (_REALTIME, bytes(2), 60_000),
    "empty frames": (_REALTIME, b"", 40_000),
    "markers": (_REALTIME, '{"type":"streamser.marker","id":"x"}', 20_000),
    "clears": (_REALTIME, '{"type":"input_audio_buffer.clear"}', 20_000),
    "commits": (_REALTIME, '{"type":"input_audio_buffer.commit"}', 20_000),
    "updates": (_REALTIME, '{"type":"session.update","session":{}}', 20_000),
    "empty appends": (_REALTIME, '{"type":"input_audio_buffer.append","audio":""}', 20_000),
    "KeepAlive": (_DEEPGRAM, '{"type":"KeepAlive"}', 20_000),
    "Finalize": (_DEEPGRAM, '{"type":"Finalize"}', 20_000),
    "bad texts, Deepgram": (_DEEPGRAM, "x", 20_000),
}
_FRAMES: dict[str, tuple[bytes, bytes]] = {
    "pings": (b"", ping()),
    "answers to no ping": (b"", pong()),
    "empty parts of a message": (part(begins=True), part()),
}
_PACKS = 40_000
_SECONDS = 4.0
_LINES = 8


def storms(tree: Path) -> Iterator[Row]:
    """Send each kind as fast as it goes for a few seconds, beside a listener and a pulse."""
    with Server(tree) as server:
        for name, (path, message, count) in _STORMS.items():
            yield from _storm(server, name, path, frame(message) * count)
        for name, (head, one) in _FRAMES.items():
            yield from _storm(server, name, _REALTIME, head + one * _PACKS, _LINES)


def _storm(server: Server, name: str, path: str, data: bytes, lines: int = 1) -> Iterator[Row]:
    with Pulse(server.port) as pulse:
        lost = asyncio.run(_beside_a_listener(server, path, data, lines))
    yield Row(name, "longest standstill", pulse.worst_ms, 500, "ms")
    yield Row(name, "listeners thrown out", lost, 0)


async def _beside_a_listener(server: Server, path: str, data: bytes, lines: int) -> bool:
    """Send it by so many lines; return whether the listener was thrown out."""
    try:
        async with websockets.connect(server.url("/v1/events?all"), open_timeout=20) as line:

            async def read() -> None:
                async for _ in line:
                    pass

            reader = asyncio.create_task(read())
            sending = (asyncio.to_thread(_send, server, path, data) for _ in range(lines))
            await asyncio.gather(*sending)
            await asyncio.sleep(0.3)
            gone = reader.done()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            return gone
    except (OSError, TimeoutError, websockets.WebSocketException):
        return True


def _send(server: Server, path: str, data: bytes) -> None:
    try:
        line, _ = handshake(server.port, f"{path}&token={TOKENS['mic']}")
    except OSError:
        return
    with line:
        pour(line, data, _SECONDS)
    threading.Event().wait(0.1)
