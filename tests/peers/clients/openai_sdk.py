"""Let the openai SDK's realtime client transcribe a file, and print what it yields as JSON lines.

Runs in the SDK's own environment: ``python openai_sdk.py URL TOKEN SOUND WAY [COMMIT_MS ...]``,
``SOUND`` raw s16le at 24 kHz, mono. Ways: ``append`` sends base64 and iterates; ``raw`` sends
binary frames and has the events dispatched to handlers; ``commit`` ends each utterance itself,
at the given places. Without our own messages, but for ``raw``, which says when it is finished.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI  # type: ignore[import-not-found]

RATE = 24_000
PIECE = RATE // 10 * 2
FORMAT = {"type": "audio/pcm", "rate": RATE}
VAD = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 500}


def show(event: Any) -> None:
    """Print an event as the SDK has read it, with the class it made of it."""
    seen = {"class": type(event).__name__, **event.model_dump(mode="json", warnings=False)}
    # By attribute, as users reach what the SDK has no field for.
    seen["attribute"] = getattr(event, "emotion", None)
    print(json.dumps(seen), flush=True)


async def send(connection: Any, sound: bytes, way: str) -> None:
    """Send sound in pieces of 100 ms, as fast as the server takes it."""
    for start in range(0, len(sound), PIECE):
        piece = sound[start : start + PIECE]
        if way == "raw":
            await connection.send_raw(piece)
        else:
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())


async def speak(connection: Any, sound: bytes, way: str, places: list[int]) -> None:
    """Send everything; the answer to the last message says that all was heard."""
    start = 0
    for place in places:
        end = place * RATE // 1000 * 2
        await send(connection, sound[start:end], way)
        await connection.input_audio_buffer.commit()
        start = end
    if places:
        await connection.input_audio_buffer.commit(event_id="mine")
    else:
        await send(connection, sound, way)
    if way == "raw":
        await connection.send({"type": "streamser.finish"})
    else:
        await connection.input_audio_buffer.clear()


async def iterate(connection: Any) -> None:
    """Show events until every utterance has its transcript and the buffer is cleared."""
    waiting, cleared = set(), False
    async for event in connection:
        show(event)
        if event.type == "input_audio_buffer.committed":
            waiting.add(event.item_id)
        elif event.type.endswith(("transcription.completed", "transcription.failed")):
            waiting.discard(event.item_id)
        elif event.type == "input_audio_buffer.cleared":
            cleared = True
        if cleared and not waiting:
            return


async def dispatch(connection: Any) -> None:
    """Let handlers show the events that they are registered for, until the server closes."""
    transcribed = "conversation.item.input_audio_transcription.completed"
    for kind in (transcribed, "streamser.emotion.completed", "streamser.session.closed"):
        connection.on(kind, show)
    await connection.dispatch_events()


async def main(url: str, token: str, file: str, way: str, *places: str) -> None:
    """Connect, set the session up, and speak while listening."""
    sound = Path(file).read_bytes()
    client = AsyncOpenAI(api_key=token, base_url=url)
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        hearing = {
            "format": FORMAT,
            "transcription": {"model": "streamser", "language": "en"},
            "turn_detection": None if places else VAD,
        }
        session = {"type": "transcription", "audio": {"input": hearing}}
        await connection.session.update(session=session)
        speaking = asyncio.create_task(speak(connection, sound, way, [int(at) for at in places]))
        await (dispatch if way == "raw" else iterate)(connection)
        await speaking


asyncio.run(main(*sys.argv[1:]))
