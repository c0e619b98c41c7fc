"""Let the deepgram SDK transcribe a file, and print what it yields as JSON lines.

Runs in its own environment: ``python deepgram_sdk.py URL TOKEN SOUND WAY [OPTION=VALUE ...]``,
``SOUND`` raw s16le at 16 kHz, mono. Ways: ``iterate`` has the asynchronous client; ``listen`` the
other one, with handlers on a thread, and it finalizes in the middle and at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepgram import (  # type: ignore[import-not-found]
    AsyncDeepgramClient,
    DeepgramClient,
    DeepgramClientEnvironment,
)
from deepgram.core.events import EventType  # type: ignore[import-not-found]

RATE = 16_000
PIECE = RATE // 10 * 2


def show(message: Any) -> None:
    """Print a message as the SDK has read it; what it does not know is None."""
    fields = message.model_dump(mode="json") if message is not None else {}
    extra = getattr(message, "model_extra", None) or {}
    seen = {"class": type(message).__name__, **fields, "extra": sorted(extra)}
    print(json.dumps(seen), flush=True)


def pieces(sound: bytes) -> Iterator[bytes]:
    """Cut sound into pieces of 100 ms."""
    for start in range(0, len(sound), PIECE):
        yield sound[start : start + PIECE]


async def iterate(client: Any, sound: bytes, asked: dict[str, Any]) -> None:
    """Send everything while iterating over what comes."""
    async with client.listen.v1.connect(**asked) as connection:

        async def send() -> None:
            await connection.send_keep_alive()
            for piece in pieces(sound):
                await connection.send_media(piece)
            await connection.send_close_stream()

        sending = asyncio.create_task(send())
        async for message in connection:
            show(message)
        await sending


def listen(client: Any, sound: bytes, asked: dict[str, Any]) -> None:
    """Send everything while handlers on another thread hear what comes."""
    with client.listen.v1.connect(**asked) as connection:
        connection.on(EventType.MESSAGE, show)
        connection.on(EventType.ERROR, lambda error: print(error, file=sys.stderr))
        thread = threading.Thread(target=connection.start_listening)
        thread.start()
        half = len(sound) // PIECE // 2 * PIECE
        for part in (sound[:half], sound[half:]):
            for piece in pieces(part):
                connection.send_media(piece)
            connection.send_finalize()
        connection.send_keep_alive()
        connection.send_close_stream()
        thread.join()


def main(url: str, token: str, file: str, way: str, *options: str) -> None:
    """Connect to the server in place of Deepgram's, and transcribe."""
    place = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)
    asked: dict[str, Any] = dict(option.split("=", 1) for option in options)
    asked |= {"model": "nova-3", "encoding": "linear16", "sample_rate": RATE}
    sound = Path(file).read_bytes()
    if way == "iterate":
        client = AsyncDeepgramClient(api_key=token, environment=place)
        asyncio.run(iterate(client, sound, asked))
    else:
        listen(DeepgramClient(api_key=token, environment=place), sound, asked)


main(*sys.argv[1:])
