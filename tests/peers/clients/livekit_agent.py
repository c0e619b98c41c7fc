"""Let a LiveKit agent out of the documents hear a conversation, and print what its LLM is told.

Runs in LiveKit's own environment: ``python livekit_agent.py DOCUMENT NUMBER SOUND SPANS OPTIONS``,
as ``pipecat_agent.py`` beside it. The session is a real one, without a room.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from livekit import rtc
from livekit.agents import llm
from livekit.agents.voice import io

from tests.peers.clients.scripted import (
    FRAME,
    MUTED_S,
    PATIENCE_S,
    RATE,
    agent_of,
    show,
    utterances,
)


class Microphone(io.AudioInput):
    """Give the sound that it is handed."""

    def __init__(self) -> None:
        super().__init__(label="file")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    def say(self, sound: bytes) -> None:
        """Hand over sound."""
        for start in range(0, len(sound) - 2 * FRAME + 1, 2 * FRAME):
            piece = sound[start : start + 2 * FRAME]
            self._frames.put_nowait(rtc.AudioFrame(piece, RATE, 1, FRAME))

    async def __anext__(self) -> rtc.AudioFrame:
        """Give the next 20 ms, at twice their speed."""
        frame = await self._frames.get()
        await asyncio.sleep(0.01)
        return frame


class FakeLLM(llm.LLM):
    """Answer every context alike, and show it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    def chat(self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = None, **_: Any) -> Any:
        """Show a context, and answer."""
        messages = [
            {"role": each.role, "content": each.text_content}
            for each in chat_ctx.items
            if each.type == "message"
        ]
        show(type="context", messages=messages)
        self.asked.set()
        return FakeAnswer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class FakeAnswer(llm.LLMStream):
    """Say the same every time."""

    async def _run(self) -> None:
        delta = llm.ChoiceDelta(role="assistant", content="Go on.")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


async def main(document: str, number: str, sound: str, spans: str, options: str) -> None:
    """Run the agent of a document: utterance after utterance, each when the last was answered."""
    model, microphone, failed = FakeLLM(), Microphone(), asyncio.Event()
    session, agent = agent_of(document, number)(model, None, **json.loads(options))
    session.input.audio = microphone
    hook = agent.on_user_turn_completed

    async def on_user_turn_completed(*args: Any, **options: Any) -> None:
        context = agent.audio_recognition.stt_context
        show(type="stt_context", emotion=context.emotion, note=context.note)
        await hook(*args, **options)

    agent.on_user_turn_completed = on_user_turn_completed

    @session.on("error")
    def on_error(event: Any) -> None:
        error = event.error
        show(
            type="error",
            kind=type(error.error).__name__,
            line=str(error.error),
            recoverable=error.recoverable,
        )
        if not error.recoverable:
            failed.set()

    @session.on("user_input_transcribed")
    def on_transcribed(event: Any) -> None:
        if event.is_final:
            show(type="transcription", text=event.transcript)

    await session.start(agent)
    for piece in utterances(sound, spans):
        model.asked.clear()
        microphone.say(piece)
        waiting = [asyncio.create_task(each.wait()) for each in (model.asked, failed)]
        done, _ = await asyncio.wait(
            waiting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
        for each in waiting:
            each.cancel()
        if not done or failed.is_set():
            break
        await asyncio.sleep(MUTED_S)
    else:
        history = [each.text_content for each in session.history.items if each.type == "message"]
        show(type="history", texts=history)
    await session.aclose()
    show(type="end")


asyncio.run(main(*sys.argv[1:6]))
