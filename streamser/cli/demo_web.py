"""The bundled conversation as a meeting on the web page, a stream for each speaker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.errors import AudioError

if TYPE_CHECKING:
    from streamser.client import Session
    from streamser.server.app import EmotionServer

__all__ = ["MEETING", "play_meeting", "split_speakers"]

MEETING = "demo"

_PIECE = to_samples(100)
_AROUND = to_samples(150)
"""Sound kept around a line: what begins and ends it softly."""


class _Spoken(msgspec.Struct, frozen=True):
    speaker: str
    start_ms: int
    end_ms: int


class _Play(msgspec.Struct, frozen=True):
    utterances: tuple[_Spoken, ...]


def split_speakers(recording: Path) -> dict[str, Samples]:
    """Return each speaker's own track, as long as the recording: silence where others speak.

    Who speaks when stands beside the recording. Raises ``AudioError`` where it is missing.
    """
    import soundfile

    beside = recording.with_suffix(".json")
    try:
        play = msgspec.json.decode(beside.read_bytes(), type=_Play)
    except (OSError, msgspec.DecodeError):
        raise AudioError(
            f"who speaks when in the demonstration is missing ({beside.name}): install streamser"
            " again.",
            code="file_not_found",
        ) from None
    sound, _ = soundfile.read(recording, dtype="float32")
    tracks: dict[str, Samples] = {}
    for line in play.utterances:
        track = tracks.setdefault(line.speaker, np.zeros(len(sound), np.float32))
        start = max(0, to_samples(line.start_ms) - _AROUND)
        end = to_samples(line.end_ms) + _AROUND
        track[start:end] = sound[start:end]
    return tracks


async def play_meeting(server: EmotionServer, recording: Path) -> None:
    """Let the speakers meet on the server, over and over, at real speed."""
    tracks = split_speakers(recording)
    while True:
        await asyncio.gather(
            *(_speak(server.local_url, speaker, track) for speaker, track in tracks.items())
        )


async def _speak(url: str, speaker: str, track: Samples) -> None:
    from streamser.client import connect

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with connect(url, speaker=speaker, meeting=MEETING, rate=SAMPLE_RATE) as session:
        reading = asyncio.create_task(_read(session))
        try:
            for offset in range(0, len(track), _PIECE):
                await session.send(track[offset : offset + _PIECE])
                await asyncio.sleep(began + (offset + _PIECE) / SAMPLE_RATE - loop.time())
            await session.finish()
            await reading
        finally:
            reading.cancel()


async def _read(session: Session) -> None:
    async for _ in session:
        # The page shows them; who sends only has to take them.
        continue
