"""Let Oruk's own service for Pipecat transcribe in a real pipeline, and print its frames.

Runs in an environment of its own: ``python oruk_pipecat.py ENDPOINT TOKEN SOUND WAY
[COMMIT_MS ...]``, ``SOUND`` raw s16le at 16 kHz, mono; the places are where turns end. Ways:
``plain``; ``waiting`` has the service wait for all phrases before it tells a turn's words;
``speakers`` asks who speaks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import (
    PipelineParams,
    PipelineWorker,
)
from pipecat.processors.frame_processor import (
    FrameDirection,
    FrameProcessor,
)
from pipecat.workers.runner import WorkerRunner
from pipecat_oruk import (
    OrukCommitFrame,
    OrukPhraseEmotionFrame,
    OrukSTTService,
    OrukTurnCompletedFrame,
    RealtimeOptions,
)

RATE = 16_000
PIECE = RATE // 10 * 2


class Shown(FrameProcessor):
    """Print what comes out of the service."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Print a frame, and pass it on."""
        await super().process_frame(frame, direction)
        seen: dict[str, Any] | None = None
        match frame:
            case InterimTranscriptionFrame():
                seen = {"type": "interim", "text": frame.text}
            case TranscriptionFrame():
                metadata = frame.metadata["oruk"]
                seen = {"type": "final", "text": frame.text, "phrases": metadata["phrases"]}
            case OrukPhraseEmotionFrame():
                seen = {"type": "phrase", "event": frame.event, "offset": frame.audio_offset}
            case OrukTurnCompletedFrame():
                seen = {
                    "type": "turn",
                    "usage": frame.result.usage,
                    "phrases": len(frame.result.phrases),
                    "seconds": frame.result.audio_seconds,
                }
            case ErrorFrame():
                seen = {"type": "error", "error": frame.error}
        if seen is not None:
            print(json.dumps(seen), flush=True)
        await self.push_frame(frame, direction)


async def main(endpoint: str, token: str, file: str, way: str, *places: str) -> None:
    """Feed a pipeline with sound, and end a turn at each place."""
    stt = OrukSTTService(
        api_key=token,
        endpoint=endpoint,
        vad=False,
        wait_for_emotions=way == "waiting",
        options=RealtimeOptions(diarize=way == "speakers", phrase_silence_ms=400),
        max_connect_retries=0,
    )
    worker = PipelineWorker(
        Pipeline([stt, Shown()]), params=PipelineParams(audio_in_sample_rate=RATE)
    )

    @stt.event_handler("on_error")
    async def show_error(service: Any, error: Any) -> None:
        print(json.dumps({"type": "error", "error": str(error.error)}), flush=True)
        await worker.cancel()

    sound, start = Path(file).read_bytes(), 0
    for place in places:
        end = int(place) * RATE // 1000 * 2
        frames = [
            InputAudioRawFrame(sound[at : min(at + PIECE, end)], RATE, 1)
            for at in range(start, end, PIECE)
        ]
        await worker.queue_frames([*frames, OrukCommitFrame()])
        start = end
    await worker.queue_frame(EndFrame())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


logger.remove()
asyncio.run(main(*sys.argv[1:]))
