"""A file that was uploaded, from its sound to its utterances: a stream that nobody waits for live.

It runs in the background: what it asks of the models is done when no live stream asks for anything,
and while there are live streams it is fed at the speed that these are held to.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser import events
from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.file import FileSource
from streamser.audio.reader import Resampler
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError
from streamser.events import AudioFormat, ErrorBody, Event
from streamser.export.gather import Gatherer
from streamser.export.records import Timeline, UtteranceRecord
from streamser.export.timeline import timeline_of
from streamser.hosting.hosted import run_beside
from streamser.pipeline.emitter import client_error
from streamser.server.limits import MessagePace
from streamser.server.rest.exchange import refused
from streamser.server.rest.form import TranscriptionOrder
from streamser.server.stream import LiveStream, StreamResources, stream_settings

_READ_S: Final = 10.0
"""Sound that is decoded at once, in seconds, on a thread of its own."""
_FORMAT: Final = AudioFormat(type="audio/pcm", rate=SAMPLE_RATE, encoding="f32le")


class DecodedFile:
    """Decode a file into mono samples at 16 kHz, some seconds at a time.

    Raises ``AudioError`` where there is no sound to be read. ``cut`` says why it ended early,
    where it did. ``most_s`` seconds are read of it at most; ``too_long``: there are more.
    """

    def __init__(self, path: Path, most_s: float) -> None:
        source = FileSource(path)
        self._chunks: Iterator[Frames | Gap] = source.chunks()
        self._resampler: Resampler | None = Resampler(source.rate, source.channels)
        self._rate = source.rate
        self._left = most_s
        self.too_long = (source.duration or 0.0) > most_s
        self.cut: AudioError | None = None

    def read(self) -> Samples:
        """Return what comes next; nothing at the end."""
        parts: list[Samples] = []
        length = 0
        while self._resampler is not None and not self.too_long and length < _READ_S * SAMPLE_RATE:
            parts.append(self._next(self._resampler))
            length += len(parts[-1])
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _next(self, resampler: Resampler) -> Samples:
        try:
            piece = next(self._chunks, None)
        except AudioError as error:
            if error.code != "truncated_audio":
                raise
            self.cut, piece = error, None
        if piece is None:
            self._resampler = None
            return resampler.flush()
        frames = piece.frames if isinstance(piece, Gap) else len(piece)
        self._left -= frames / self._rate
        self.too_long = self._left < 0
        if self.too_long:
            return np.empty(0, np.float32)
        return resampler.fill(frames) if isinstance(piece, Gap) else resampler.feed(piece)


class Heard(msgspec.Struct, frozen=True):
    """Hold what was found in ``seconds`` of a file; ``cut``: why it ended early, if it did."""

    timeline: Timeline
    seconds: float
    cut: ErrorBody | None = None


class UploadedSound:
    """Analyse a file, and gather what comes of it.

    ``tell`` gets each utterance once it is read; ``on_event`` every event. Where nobody waits any
    more, ``run`` is cancelled.
    """

    def __init__(
        self,
        order: TranscriptionOrder,
        resources: StreamResources,
        speaker: str | None,
        watch: Callable[[Event], None],
        tell: Callable[[UtteranceRecord], None],
    ) -> None:
        usual = stream_settings(resources.settings)
        asked = replace(
            usual,
            format=_FORMAT,
            partial=replace(usual.partial, every_ms=0),
            ordered=True,
            background=True,
            language=order.language,
            prompt=order.prompt,
            speaker=speaker,
        )
        self._watch, self._tell = watch, tell
        self._speed = resources.limits.speed
        self._words: events.TranscriptionCompleted | None = None
        self._gathered = Gatherer()
        self._fault: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._stream = LiveStream(
            f"sess_{uuid.uuid4().hex[:12]}", None, asked, resources, MessagePace(1.0, 1), self
        )

    async def run(self, path: Path, most_s: float, has_company: Callable[[], bool]) -> Heard:
        """Analyse a file of at most ``most_s`` seconds; ``has_company``: there are live streams.

        Raises ``RefusedUpload`` for one that is too long or no sound, and ``ModelError``.
        """
        hearing = asyncio.ensure_future(self._hear(path, most_s, has_company))
        # Where the session has failed before it, nobody asks what has become of it.
        hearing.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            either: set[asyncio.Future[Any]] = {hearing, self._fault}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._fault.done():
                raise self._fault.result()
            cut = await hearing
        except AudioError as error:
            raise refused(400, error.code, _nameless(error, path), param="file") from None
        finally:
            hearing.cancel()
            if not self._stream.over:
                self._stream.abandon()
        return Heard(
            # Of an hour it takes a while.
            timeline=await run_beside(self._timeline, "streamser-upload"),
            seconds=self._stream.received_frames / SAMPLE_RATE,
            cut=None if cut is None else client_error(cut.code, _nameless(cut, path)),
        )

    def on_event(self, event: Event) -> None:
        """Take what is told of the file."""
        self._watch(event)
        self._gathered.collect(event)
        match event:
            case events.TranscriptionCompleted():
                self._words = event
            case events.EmotionCompleted() | events.TranscriptionFailed():
                self._tell(_utterance(event, self._words))
                self._words = None

    def on_refusal(self, error: ErrorBody) -> None:
        """Take note of nothing: only sound is given."""

    def on_fault(self, error: Exception) -> None:
        """End, as something has failed."""
        if not self._fault.done():
            self._fault.set_result(error)

    def _timeline(self) -> Timeline:
        return timeline_of(self._gathered.recording())

    async def _hear(
        self, path: Path, most_s: float, has_company: Callable[[], bool]
    ) -> AudioError | None:
        """Give all the sound, and wait for the last of what comes of it; return why it was cut."""
        sound = await run_beside(partial(DecodedFile, path, most_s), "streamser-upload")
        self._stream.open(None)
        while len(samples := await run_beside(sound.read, "streamser-upload")):
            data = samples.tobytes()
            for piece in self._stream.pieces(data):
                await self._stream.wait_for_room()
                self._stream.push_audio(piece, time.monotonic())
                # Others have their turn; and while they speak it takes no more than a stream may.
                pause_s = self._stream.seconds(piece) / self._speed if has_company() else 0.0
                await asyncio.sleep(pause_s)
        if sound.too_long:
            raise refused(400, "audio_too_long", f"a file may last {most_s:g} s", param="file")
        self._stream.finish()
        await self._stream.wait_until_over()
        return sound.cut


def _nameless(error: AudioError, path: Path) -> str:
    """Say what is wrong with a file whose name here its sender does not know."""
    return str(error).replace(str(path), "the file")


def _utterance(
    final: events.EmotionCompleted | events.TranscriptionFailed,
    words: events.TranscriptionCompleted | None,
) -> UtteranceRecord:
    if isinstance(final, events.TranscriptionFailed):
        return UtteranceRecord(
            session_id=final.session_id,
            item_id=final.item_id,
            start_ms=final.audio_start_ms,
            end_ms=final.audio_end_ms,
            fault=final.error,
        )
    emotion = final.emotion
    alone = UtteranceRecord(
        session_id=final.session_id,
        item_id=final.item_id,
        start_ms=emotion.window.start_ms,
        end_ms=emotion.window.end_ms,
        emotion=emotion,
        speaker=emotion.speaker,
        speaker_provisional=emotion.speaker_provisional,
        parts=final.parts,
    )
    if words is None:
        return alone
    return replace(
        alone,
        start_ms=words.audio_start_ms,
        end_ms=words.audio_end_ms,
        transcript=words.transcript,
        language=words.language,
        confidence=words.confidence,
        words=words.words,
        distrusted=words.distrusted,
    )
