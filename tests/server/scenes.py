"""Scenes that several tests of a server play."""

from __future__ import annotations

from streamser.server.app import EmotionServer
from tests.server.serving import Told, check_stream, demo, dial, encode

DELTA = "streamser.emotion.delta"
PCM16K = encode(demo())
SECOND = 32_000
"""Bytes of a second of PCM16K."""


async def answered(server: EmotionServer) -> list[Told]:
    """Send the conversation at 16 kHz, the rest once its first words are read; return all events.

    Where all comes at once no reading of who still speaks is owed: the final may overtake it.
    """
    first_words = 3 * SECOND // 2
    async with dial(server, query="rate=16000") as wire:
        await wire.sound(PCM16K[:first_words])
        events = await wire.until(DELTA)
        await wire.sound(PCM16K[first_words:])
        events += await wire.finish()
        assert wire.code == 1000
    check_stream(events)
    return events
