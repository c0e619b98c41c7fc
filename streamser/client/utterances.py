"""Utterances of a stream to a server, while the sound of a source is sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from streamser.client.wire import ServerError, shift_times
from streamser.events import Event, SessionCreated, SessionEvent
from streamser.export.utterances import Utterance, read_utterance

if TYPE_CHECKING:
    from streamser.audio.source import AudioSource


class SentStream(Protocol):
    """Take sound and tell events: what ``Session`` does."""

    @property
    def offset_ms(self) -> int:
        """Return where the clock of the session begins on that of the whole stream."""
        ...

    async def send(self, chunk: Any) -> None:
        """Send sound, float32 of shape (n,)."""
        ...

    async def finish(self) -> None:
        """Say that no more sound comes."""
        ...

    def __aiter__(self) -> AsyncIterator[SessionEvent]: ...


async def read_utterances(
    stream: SentStream, source: AudioSource | None, rate: int
) -> AsyncIterator[Utterance]:
    """Yield each utterance when it is finished; meanwhile send a source at ``rate``, and finish.

    Raises ``ServerError`` where the stream ended in a fault, and what the source raises.
    """
    sending = None if source is None else asyncio.create_task(_send_all(stream, source, rate))
    transcribed = True
    try:
        async for event in stream:
            if isinstance(event, SessionCreated):
                transcribed = event.session.models.asr is not None
            told = shift_times(event, stream.offset_ms)
            assert isinstance(told, Event)
            spoken = read_utterance(told, transcribed=transcribed)
            if spoken is not None:
                yield spoken
        if sending is not None:
            await sending
    finally:
        if sending is not None and source is not None:
            source.stop()
            sending.cancel()


async def _send_all(stream: SentStream, source: AudioSource, rate: int) -> None:
    from streamser.audio.clip import SAMPLE_RATE
    from streamser.audio.reader import Resampler
    from streamser.audio.source import Gap

    try:
        if rate != SAMPLE_RATE:
            raise ValueError(f"sources are sent at {SAMPLE_RATE} Hz: leave rate= out of connect()")
        resampler = Resampler(source.rate, source.channels)
        chunks = source.chunks()
        while (piece := await asyncio.to_thread(next, chunks, None)) is not None:
            if isinstance(piece, Gap):
                await stream.send(resampler.fill(piece.frames))
            else:
                await stream.send(resampler.feed(piece))
        await stream.send(resampler.flush())
    finally:
        with suppress(ServerError):
            await stream.finish()
