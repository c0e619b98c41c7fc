"""Utterances of a stream to a server, while the sound of a source is sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from streamser.client.wire import ServerError, shift_times
from streamser.errors import ConfigError
from streamser.events import Event, SessionEvent, SessionInfo
from streamser.export.utterances import Utterance, read_utterance

if TYPE_CHECKING:
    from streamser.audio.source import AudioSource


class SentStream(Protocol):
    """Take sound and tell events: what ``ClientSession`` does."""

    @property
    def info(self) -> SessionInfo:
        """Return the session as it was set up at the event read last."""
        ...

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


def as_source(source: Any) -> AudioSource:
    """Return a source as it is, and the file at a path as one that is played at real speed.

    Raises ``ConfigError`` for what is neither, ``AudioError`` for a file that cannot be read.
    """
    if isinstance(source, str | Path):
        from streamser.audio.file import FileSource

        return FileSource(source, paced=True)
    if hasattr(source, "chunks") and hasattr(source, "stop"):
        return source  # type: ignore[no-any-return]
    raise ConfigError(
        f"{type(source).__name__} is no source of sound: give the path of a file or a source such"
        " as streamser.Microphone(), or send() an array yourself."
    )


async def read_utterances(
    stream: SentStream, source: AudioSource | None, rate: int
) -> AsyncIterator[Utterance]:
    """Yield each utterance when it is finished; meanwhile send a source at ``rate``, and finish.

    Raises ``ServerError`` where the stream ended in a fault, and what the source raises.
    """
    sending = None if source is None else asyncio.create_task(_send_all(stream, source, rate))
    try:
        async for event in stream:
            session = stream.info
            told = shift_times(event, stream.offset_ms)
            assert isinstance(told, Event)
            spoken = read_utterance(told, transcribed=session.models.asr is not None)
            if spoken is not None:
                voice = None if spoken.emotion is None else spoken.emotion.speaker
                yield msgspec.structs.replace(spoken, speaker=voice or session.speaker)
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
