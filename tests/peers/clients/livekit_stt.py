"""Let LiveKit's openai STT plugin transcribe a file, and print what it yields as JSON lines.

Runs in the plugin's own environment: ``python livekit_stt.py URL TOKEN SOUND COUNT``, ``SOUND``
raw s16le at 24 kHz, mono. It has no way to know that a stream is over: it leaves after ``COUNT``
utterances.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import stt, utils
from livekit.plugins import openai

RATE = 24_000
FRAME = RATE // 50


async def main(url: str, token: str, file: str, count: str) -> None:
    """Push everything at once, and show events until there were utterances enough."""
    sound = Path(file).read_bytes()
    async with utils.http_context.open():
        plugin = openai.STT(
            base_url=url, api_key=token, use_realtime=True, model="streamser", language="en"
        )
        stream = plugin.stream()
        for start in range(0, len(sound) - 2 * FRAME + 1, 2 * FRAME):
            piece = sound[start : start + 2 * FRAME]
            stream.push_frame(rtc.AudioFrame(piece, RATE, 1, FRAME))
        left = int(count)
        async for event in stream:
            texts = [one.text for one in event.alternatives]
            usage = event.recognition_usage
            seen = {"type": event.type.value, "item_id": event.request_id, "texts": texts}
            print(json.dumps(seen | {"seconds": usage and usage.audio_duration}), flush=True)
            left -= event.type == stt.SpeechEventType.RECOGNITION_USAGE
            if not left:
                break
        await stream.aclose()
        await plugin.aclose()


asyncio.run(main(*sys.argv[1:]))
