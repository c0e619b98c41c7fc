"""Twenty sessions at once, each with its own sound and settings: none notices the others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.server.app import EmotionServer
from tests.data import shared_data
from tests.server.serving import (
    DELTAS,
    EMOTION,
    Told,
    bare,
    check_stream,
    dial,
    encode,
    kinds,
    of_kind,
    patience,
    resampled,
    serving,
)

SECONDS = 4.0
STOPPED = "input_audio_buffer.speech_stopped"


class Part(msgspec.Struct, frozen=True):
    """Say what one client sends, and how its session is set up."""

    recording: Path
    rate: int = 16_000
    encoding: str = "s16le"
    audio: dict[str, Any] = {}
    partial_every_ms: int = 500
    commit_every: int | None = None
    piece: int = 3200
    meeting: str | None = None

    def sound(self) -> Samples:
        """Read the first seconds of the recording, with a pause after it."""
        samples, rate = soundfile.read(
            self.recording, round(SECONDS * SAMPLE_RATE), dtype="float32", fill_value=0.0
        )
        assert rate == SAMPLE_RATE
        return resampled(samples, self.rate)


def server_vad(threshold: float, silence: int, padding: int = 200) -> dict[str, Any]:
    """Ask for utterances by pauses."""
    return {
        "turn_detection": {
            "type": "server_vad",
            "threshold": threshold,
            "silence_duration_ms": silence,
            "prefix_padding_ms": padding,
        }
    }


def parts() -> list[Part]:
    """Give twenty clients twenty recordings, and settings of five kinds."""
    recordings = sorted((shared_data("speech") / "audio").glob("*.flac"))[:20]
    assert len(recordings) == 20
    made = []
    for n, recording in enumerate(recordings):
        kinds_of_parts = (
            Part(recording, audio=server_vad(0.3 + 0.02 * n, 100 + 40 * n)),
            Part(recording, 8000, "pcmu", partial_every_ms=0, piece=800),
            Part(recording, 48_000, audio=server_vad(0.5, 250, 0), piece=9600, meeting="room"),
            Part(recording, 24_000, audio={"turn_detection": None}, commit_every=7),
            Part(recording, 16_000, "f32le", partial_every_ms=250, piece=4999, meeting="room"),
        )
        made.append(kinds_of_parts[n % len(kinds_of_parts)])
    return made


async def take_part(
    server: EmotionServer, part: Part, barrier: asyncio.Barrier | None = None
) -> list[Told]:
    """Play a part to its end and return its events; begin together with others, if there are."""
    query = f"rate={part.rate}&encoding={part.encoding}"
    if part.meeting is not None:
        query += f"&meeting={part.meeting}&speaker={part.recording.stem}"
    async with dial(server, query=query) as wire:
        events = await wire.update(part.audio, ordered=True, partial_every_ms=part.partial_every_ms)
        if barrier is not None:
            await barrier.wait()
        data = encode(part.sound(), part.encoding)
        for n, offset in enumerate(range(0, len(data), part.piece), 1):
            await wire.sound(data[offset : offset + part.piece], size=part.piece)
            if part.commit_every and n % part.commit_every == 0:
                await wire.send("input_audio_buffer.commit")
            # Let the others have their turn: pieces of all sessions come mixed.
            await asyncio.sleep(0)
        events += await wire.finish()
        assert wire.code == 1000
    check_stream(events)
    return [bare(event) for event in events]


def test_twenty_sessions_at_once_give_what_each_gives_alone() -> None:
    """Every event is equal, to the last digit, though done in common batches and elsewhere."""
    played = parts()
    # A server waits for company before a batch; it is a fresh one each time, for it knows the
    # voices of a meeting that it has heard before.
    flags = {"worker.max_wait_ms": 5}

    async def one_by_one() -> list[list[Told]]:
        async with serving(flags) as server:
            return [await take_part(server, part) for part in played]

    async def together() -> tuple[list[list[Told]], str]:
        async with serving({**flags, "worker.processes": 2}) as server:
            barrier = asyncio.Barrier(len(played))
            events = await asyncio.gather(*(take_part(server, part, barrier) for part in played))
            return events, server.metrics.render().decode()

    alone = asyncio.run(patience(one_by_one()))
    mixed, metrics = asyncio.run(patience(together()))
    for part, by_itself, among_others in zip(played, alone, mixed, strict=True):
        assert among_others == by_itself, part.recording.name
    assert sum(len(of_kind(events, EMOTION)) for events in alone) >= 25
    assert sum(len(of_kind(events, *DELTAS)) for events in alone) >= 25
    assert {"pause", "flush", "commit"} <= {
        event["reason"] for events in alone for event in of_kind(events, STOPPED)
    }
    # They did share batches, or nothing would have been shown.
    (single,) = _values(metrics, 'streamser_batch_size_bucket{le="1.0"}')
    (batches,) = _values(metrics, "streamser_batch_size_count")
    assert single < batches


def test_words_are_kept_apart_too() -> None:
    """With a recogniser that hears several sessions in one batch, they share nothing either."""
    folder = shared_data("speech") / "audio"
    played = [
        Part(folder / "goforward.flac", partial_every_ms=0),
        Part(folder / "ps_something.flac", partial_every_ms=500),
        Part(folder / "goforward.flac", partial_every_ms=0, audio={"transcription": None}),
    ]

    async def scene() -> tuple[list[list[Told]], list[list[Told]]]:
        flags = {
            "asr.engine": "whisper",
            "asr.compute_type": "int8",
            "worker.max_wait_ms": 5,
        }
        async with serving(flags) as server:
            alone = [await take_part(server, part) for part in played]
            barrier = asyncio.Barrier(len(played))
            return alone, await asyncio.gather(
                *(take_part(server, part, barrier) for part in played)
            )

    alone, mixed = asyncio.run(patience(scene()))
    completed = "conversation.item.input_audio_transcription.completed"
    assert [completed in kinds(events) for events in alone] == [True, True, False]
    assert mixed == alone


def _values(metrics: str, name: str) -> list[float]:
    return [
        float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name)
    ]
