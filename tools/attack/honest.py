"""Those who mean well: streams at the pace of speech, and listeners."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

import websockets

from tools.attack.server import Server

__all__ = ["Meeting", "hold_meeting", "speech", "talk"]

RATE: Final = 16_000
_BLOCK_S: Final = 0.1
_PATIENCE_S: Final = 40.0


@cache
def speech(seconds: float) -> bytes:
    """Return the beginning of the bundled conversation, 16-bit at 16 kHz."""
    import numpy as np
    import soundfile
    import soxr

    path = str(files("streamser") / "assets" / "demo.flac")
    samples, rate = soundfile.read(path, dtype="float32")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    heard = soxr.resample(mono[: int(seconds * rate)], rate, RATE)
    pcm: bytes = (np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()
    return pcm


@dataclass
class Meeting:
    """Hold what streams and listeners saw."""

    lags_ms: list[float] = field(default_factory=list)
    thrown_out: int = 0
    silent: int = 0

    @property
    def p95_ms(self) -> float:
        """Return how late finals were, ms since the utterance was over; 19 of 20 were earlier."""
        ordered = sorted(self.lags_ms)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else float("inf")


async def talk(
    url: str, seconds: float, *, paced: bool = True, wait_s: float = _PATIENCE_S
) -> list[tuple[float, dict[str, Any]]]:
    """Speak and finish; return events with their times, s since the first sound.

    They end early where the server breaks off, or says nothing for ``wait_s``.
    """
    told: list[tuple[float, dict[str, Any]]] = []
    sound = speech(seconds)
    block = int(_BLOCK_S * RATE) * 2
    try:
        async with websockets.connect(url, open_timeout=20, ping_interval=None) as line:
            began = time.monotonic()

            async def read() -> None:
                async for message in line:
                    at = time.monotonic() - began
                    told.append((at, json.loads(message)))

            reader = asyncio.create_task(read())
            for at in range(0, len(sound), block):
                if paced and (ahead := began + at / (2 * RATE) - time.monotonic()) > 0:
                    await asyncio.sleep(ahead)
                await line.send(sound[at : at + block])
            await line.send(json.dumps({"type": "streamser.finish"}))
            await asyncio.wait_for(reader, wait_s)
    except (OSError, TimeoutError, websockets.WebSocketException):
        return told
    return told


async def hold_meeting(server: Server, streams: int, seconds: float) -> Meeting:
    """Let so many people speak at once, each heard by a listener of the meeting."""
    meeting = Meeting()

    async def listen(path: str) -> None:
        try:
            async with websockets.connect(server.url(path), open_timeout=20) as line:
                async for _ in line:
                    pass
        except websockets.ConnectionClosed:
            meeting.thrown_out += 1
        except (OSError, TimeoutError, websockets.WebSocketException):
            meeting.thrown_out += 1

    async def say(number: int) -> None:
        url = server.url(f"/v1/realtime?rate={RATE}&meeting=m&speaker=s{number}")
        told = await talk(url, seconds)
        finals = [
            at * 1000 - event["emotion"]["window"]["end_ms"]
            for at, event in told
            if event["type"] == "streamser.emotion.completed"
        ]
        meeting.lags_ms.extend(finals)
        meeting.silent += not finals

    listeners = [
        asyncio.create_task(listen(each)) for each in ("/v1/events?all", "/v1/events?meeting=m")
    ]
    await asyncio.sleep(0.3)
    await asyncio.gather(*(say(number) for number in range(streams)))
    for each in listeners:
        each.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    return meeting
