"""Whether a stream whose line broke gets back what it missed, or hears that it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websockets

from tools.attack.honest import speech
from tools.attack.row import Row
from tools.attack.server import TOKENS, Server
from tools.attack.wire import frame, handshake, pour

__all__ = ["resumed"]

_STREAM = "/v1/realtime?rate=16000&stream=a-secret-of-the-attack&meeting=m&speaker=Ann"


def resumed(tree: Path) -> Iterator[Row]:
    """Speak, break, let another client fill the ring, and come back."""
    with Server(tree, ("--set", "server.replay_events=1000")) as server:
        had, back, told = asyncio.run(_break(server))
    missing = had - 1 - back
    yield Row("resumed stream", "events it had", -had, -2)
    yield Row("resumed stream", "events lost in silence", max(0, missing - told), 0)


async def _break(server: Server) -> tuple[int, int, int]:
    """Return how many events there were, how many came again, and how many are told as lost."""
    url = server.url(_STREAM)
    async with websockets.connect(url, open_timeout=20) as line:
        sound = speech(8)
        for at in range(0, len(sound), 6400):
            await line.send(sound[at : at + 6400])
        before = await _hear(line, 8.0, "streamser.mood.updated")
        line.transport.abort()
    had = max((int(event["seq"]) for event in before), default=0)
    await asyncio.to_thread(_fill, server)
    async with websockets.connect(f"{url}&after=1", open_timeout=20) as line:
        again = await _hear(line, 8.0, "streamser.session.resumed")
    numbers = {int(event["seq"]) for event in again if 1 < int(event.get("seq", 0)) <= had}
    told = max((_told(event) for event in again), default=0)
    return had, len(numbers), told


def _told(event: dict[str, Any]) -> int:
    lost = event.get("lost_events", 0)
    return int(lost) if isinstance(lost, int) else 0


async def _hear(line: websockets.ClientConnection, wait_s: float, until: str) -> list[Any]:
    heard: list[Any] = []
    try:
        async with asyncio.timeout(wait_s):
            async for message in line:
                heard.append(json.loads(message))
                if heard[-1]["type"] == until:
                    break
    except (TimeoutError, websockets.WebSocketException):
        return heard
    return heard


def _fill(server: Server) -> None:
    for _ in range(2):
        try:
            line, _ = handshake(server.port, f"/v1/realtime?meeting=other&token={TOKENS['mic']}")
        except OSError:
            continue
        with line:
            pour(line, frame('{"type":"streamser.marker","id":"x"}') * 3000, 4.0)
