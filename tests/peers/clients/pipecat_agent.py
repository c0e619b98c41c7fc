"""Let a Pipecat agent out of the documents hear a conversation, and print what it makes of it.

Runs in Pipecat's own environment: ``python pipecat_agent.py DOCUMENT NUMBER SOUND SPANS OPTIONS``.
``NUMBER`` is that of the document's Python snippet, whose ``agent`` is taken; ``SOUND`` raw s16le
at 16 kHz, mono; ``SPANS`` the utterances in it; ``OPTIONS`` what ``agent`` is given besides, as
JSON: ``stt`` in it is what a service of Pipecat's own is made with. After each utterance it waits
until the language model was asked. A last word ``cancel`` ends the pipeline in the middle of the
last utterance, ``muted`` leaves a while without sound behind each,
``vad`` says where each begins and ends, and leaves out most of the silence.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.workers.runner import WorkerRunner

from tests.peers.clients.scripted import (
    FRAME,
    MUTED_S,
    PATIENCE_S,
    RATE,
    agent_of,
    show,
    utterances,
)

CANCELS = "cancel" in sys.argv
VAD = "vad" in sys.argv


class Passing(FrameProcessor):
    """Stand where a transport, or a voice, would."""

    def input(self) -> FrameProcessor:
        """Return the end where sound comes in."""
        return Passing()

    def output(self) -> FrameProcessor:
        """Return the end where it would go out."""
        return Passing()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Let everything through."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class FakeLLM(FrameProcessor):
    """Answer every context alike, and show it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Show a context, and say something."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        show(type="context", messages=copy.deepcopy(frame.context.get_messages()))
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMTextFrame("Go on."))
        await self.push_frame(LLMFullResponseEndFrame())
        self.asked.set()


class Watcher(BaseObserver):
    """Show transcriptions and errors as they are first pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = asyncio.Event()
        self._seen: set[int] = set()

    async def on_push_frame(self, data: FramePushed) -> None:
        """Look at a frame on its way."""
        frame = data.frame
        if frame.id in self._seen:
            return
        if isinstance(frame, TranscriptionFrame):
            self._seen.add(frame.id)
            result = frame.result
            told = result if isinstance(result, dict) else result.model_dump()
            show(type="transcription", text=frame.text, emotion=told.get("emotion"))
        elif isinstance(frame, ErrorFrame):
            self._seen.add(frame.id)
            usable = frame.processor is not None and frame.processor.is_usable
            show(type="error", line=frame.error, category=frame.category.value, usable=usable)
            self.failed.set()


async def speak(
    worker: PipelineWorker, llm: FakeLLM, watcher: Watcher, spoken: list[bytes]
) -> None:
    """Give utterance after utterance, each when the one before was answered; then end."""
    for number, piece in enumerate(spoken, 1):
        llm.asked.clear()
        last = CANCELS and number == len(spoken)
        if VAD:
            await worker.queue_frame(VADUserStartedSpeakingFrame())
            piece = piece[: -23 * RATE // 10]
        for start in range(0, len(piece) // (2 if last else 1) - 2 * FRAME + 1, 2 * FRAME):
            frame = InputAudioRawFrame(piece[start : start + 2 * FRAME], RATE, 1)
            await worker.queue_frame(frame)
            await asyncio.sleep(0.01)
        if last:
            await worker.cancel()
            return
        if VAD:
            await worker.queue_frame(VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await either(llm.asked, watcher.failed)
        if watcher.failed.is_set() or not llm.asked.is_set():
            break
        await asyncio.sleep(MUTED_S)
    await worker.queue_frame(EndFrame())


async def either(*happened: asyncio.Event) -> None:
    """Wait until one of several things has happened, or patience is at an end."""
    waiting = [asyncio.create_task(each.wait()) for each in happened]
    await asyncio.wait(waiting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


async def main(document: str, number: str, sound: str, spans: str, options: str) -> None:
    """Run the agent of a document to its end, and show the tasks that are left."""
    llm, watcher = FakeLLM(), Watcher()
    given = json.loads(options)
    if "stt" in given:
        given["stt"] = OpenAIRealtimeSTTService(turn_detection=None, **given["stt"])
    pipeline = agent_of(document, number)(Passing(), llm, Passing(), **given)
    worker = PipelineWorker(
        pipeline, observers=[watcher], enable_rtvi=False, cancel_on_idle_timeout=False
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_started(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    runner = WorkerRunner()
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    await speak(worker, llm, watcher, utterances(sound, spans))
    await running
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    show(type="end", tasks=left)


asyncio.run(main(*sys.argv[1:6]))
