"""Emotion in a Pipecat pipeline: recognisers that carry it, and the note for an LLM.

``StreamserSTTService`` sends the user's sound to a server, ``StreamserAnalyzerService`` analyses
it in this process; ``pipecat_context`` has what brings their readings to the LLM.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from streamser import events
from streamser.client import ClientSession, ServerError, connect
from streamser.client.session import ConnectOptions
from streamser.client.wire import BEGIN_AGAIN, HARMLESS
from streamser.errors import StreamserError
from streamser.integrations.fed import FedSource
from streamser.integrations.notes import INSTRUCTIONS
from streamser.pipeline.analyzer import Analyzer
from streamser.settings import Settings

try:
    from loguru import logger
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterimTranscriptionFrame,
        ProposedUserStartedSpeakingFrame,
        ProposedUserStoppedSpeakingFrame,
        ServiceMetadataFrame,
        StartFrame,
        TranscriptionFrame,
        VADUserStoppedSpeakingFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat.services.settings import STTSettings
    from pipecat.services.stt_service import STTService
    from pipecat.transcriptions.language import Language
    from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
    from pipecat.utils.errors import ErrorCategory
    from pipecat.utils.time import time_now_iso8601

    from streamser.integrations.pipecat_context import (
        EmotionContextProcessor,
        EmotionFrame,
        EmotionReader,
        as_builtins,
    )
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "Pipecat is missing here: pip install 'streamser[pipecat]'", name=missing.name
    ) from missing

__all__ = [
    "INSTRUCTIONS",
    "EmotionContextProcessor",
    "EmotionFrame",
    "EmotionReader",
    "StreamserAnalyzerService",
    "StreamserSTTService",
]

_TTFS_P99_S: Final = 1.0
"""What strategies that wait for words allow from the end of speech on, unless they are told."""
_KEEP_S: Final = 30
_CATEGORIES: Final = {
    "unauthorized": ErrorCategory.AUTHENTICATION,
    "invalid_token": ErrorCategory.AUTHENTICATION,
    "forbidden": ErrorCategory.AUTHORIZATION,
    "not_found": ErrorCategory.INVALID_REQUEST,
    "server_unreachable": ErrorCategory.CONNECTIVITY,
    "untrusted_certificate": ErrorCategory.CONNECTIVITY,
    "unsupported_language": ErrorCategory.INVALID_REQUEST,
    "overloaded": ErrorCategory.RATE_LIMIT,
}
_WORDLESS: Final = (
    "This server recognises no words, so no turn ends by it: start it with a recogniser, or give"
    " turns=False beside the STT service of another."
)


class _EmotionSTT(STTService):
    """Make frames of our events, wherever they come from."""

    def __init__(self, *, turns: bool, finish_s: float, **options: Any) -> None:
        options.setdefault("ttfs_p99_latency", _TTFS_P99_S)
        super().__init__(settings=STTSettings(model="streamser", language=None), **options)
        self._turns = turns
        self._finish_s = finish_s
        self._transcribes = True
        self._spoken: str | None = None
        self._following: asyncio.Task[None] | None = None

    def can_generate_metrics(self) -> bool:
        """Return that the time to the transcript is measured."""
        return True

    def service_metadata_frame(self) -> ServiceMetadataFrame:
        """Recommend turns that begin and end where our pauses are, if they are to."""
        frame = super().service_metadata_frame()
        if self._turns:
            frame.user_turn_strategies = ExternalUserTurnStrategies()
        return frame

    async def start(self, frame: StartFrame) -> None:
        """Begin to listen."""
        await super().start(frame)
        self._open()
        self._following = self.create_task(self._follow())

    async def stop(self, frame: EndFrame) -> None:
        """Hear the last utterance to its end, ``finish_s`` at most, before the pipeline ends."""
        if self._following is not None:
            self._finish()
            _, late = await asyncio.wait([self._following], timeout=self._finish_s)
            if late:
                line = f"The last words did not come within {self._finish_s:g} s."
                await self.push_error(line, category=ErrorCategory.SERVER)
        await self._abandon()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """End at once."""
        await self._abandon()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        """Leave nothing running."""
        await self._abandon()
        await super().cleanup()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Take sound, 16 bit and mono; what is heard in it comes when it is ready."""
        self._feed(audio)
        yield None

    @abstractmethod
    def _open(self) -> None:
        """Prepare for sound."""

    @abstractmethod
    def _feed(self, audio: bytes) -> None:
        """Take sound without waiting."""

    @abstractmethod
    def _finish(self) -> None:
        """Take no more sound; the events end after the last."""

    @abstractmethod
    def _events(self) -> AsyncGenerator[events.Event, None]:
        """Yield all events; raises ``StreamserError`` where there can be no more."""

    async def _abandon(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            await self.cancel_task(following)

    async def _follow(self) -> None:
        try:
            async with aclosing(self._events()) as told:
                async for event in told:
                    await self._tell(event)
        except StreamserError as fault:
            await self._fail(str(fault), fault, _category(fault.code))
        except Exception as fault:
            # A fault of ours must not leave an agent deaf without a word.
            await self._fail(f"{type(fault).__name__}: {fault}", fault, ErrorCategory.APPLICATION)

    async def _fail(self, line: str, fault: Exception, category: ErrorCategory) -> None:
        await self.push_error(
            line, exception=fault, category=category, force_treat_as_permanent=True
        )
        await self._end_turn(self._spoken)

    async def _tell(self, event: events.Event) -> None:
        match event:
            case events.SessionCreated(session=session):
                self._transcribes = session.models.asr is not None
                if self._turns and not self._transcribes:
                    await self.push_error(_WORDLESS, category=ErrorCategory.APPLICATION)
            case events.SpeechStarted(item_id=item):
                if self._turns and self._transcribes:
                    self._spoken = item
                    await self.broadcast_frame(ProposedUserStartedSpeakingFrame)
            case events.TranscriptPartial(text=text) if text.strip():
                await self.push_frame(
                    InterimTranscriptionFrame(
                        text, self._user_id, time_now_iso8601(), result=as_builtins(event)
                    )
                )
            case events.TranscriptionCompleted():
                await self._tell_final(event)
                await self._end_turn(event.item_id)
            case events.EmotionCompleted(emotion=emotion) if not self._transcribes:
                await self.push_frame(EmotionFrame(None, emotion))
            case events.Cleared():
                await self._end_turn(self._spoken)
            case events.TranscriptionFailed(error=error):
                await self.push_error(error.message, category=ErrorCategory.SERVER)
                await self._end_turn(event.item_id)
            case events.ErrorRaised(error=error) if error.code not in (HARMLESS, *BEGIN_AGAIN):
                # None of it ends the stream, so it must not be of a kind that ends the service.
                await self.push_error(error.message, category=ErrorCategory.SERVER)

    async def _tell_final(self, event: events.TranscriptionCompleted) -> None:
        text, emotion = event.transcript.strip(), event.emotion
        await self.push_frame(EmotionFrame(text, emotion))
        if not text:
            return
        await self.emit_stt_usage_metrics()
        frame = TranscriptionFrame(
            text,
            self._user_id or emotion.speaker or "",
            time_now_iso8601(),
            _language(event.language),
            result=as_builtins(event),
            finalized=True,
        )
        frame.metadata["emotion"] = as_builtins(emotion)
        await self.push_frame(frame)

    async def _end_turn(self, item: str | None) -> None:
        """Propose the end of the turn with its last final, unless somebody speaks again.

        Proposed with the pause, it would make the aggregator wait for words, and then some more.
        """
        if item is not None and item == self._spoken:
            self._spoken = None
            await self.broadcast_frame(ProposedUserStoppedSpeakingFrame)


class StreamserSTTService(_EmotionSTT):
    """Recognise speech and its emotion with a streamser server.

    ``url``, ``token``, ``speaker``, ``meeting``, ``language``, ``speakers``, ``ca`` and ``proxy``
    are those of ``streamser.connect``. With ``turns`` the pauses that the server hears begin and
    end the user's turns; without, those of a VAD in the pipeline do, and what is open when it
    hears a pause is finished there. A broken connection is made again, for ``give_up_s`` at most,
    and no final is lost.
    ``finish_s`` is how long the end of the pipeline waits for the last words. ``options`` are
    those of Pipecat's ``STTService``.

    What cannot go on is told once, in an ``ErrorFrame`` that leaves the service unusable; an
    utterance that failed is told in one as well, and the next is heard.
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:8377",
        *,
        token: str | None = None,
        speaker: str | None = None,
        meeting: str | None = None,
        language: str | None = None,
        speakers: str | int | None = None,
        ca: str | Path | None = None,
        proxy: str | None = None,
        turns: bool = True,
        give_up_s: float = 30.0,
        finish_s: float = 10.0,
        **options: Any,
    ) -> None:
        super().__init__(turns=turns, finish_s=finish_s, **options)
        self._url = url
        self._asked = ConnectOptions(
            token=token,
            speaker=speaker,
            meeting=meeting,
            language=language,
            speakers=speakers,
            ca=ca,
            proxy=proxy,
            give_up_s=give_up_s,
            finish_s=finish_s,
            tell=logger.warning,
        )
        self._waiting: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._committing = self._finishing = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Finish what is open where a VAD of the pipeline hears a pause."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame) and not self._turns:
            self._committing = True
            self._changed.set()

    def _open(self) -> None:
        self._waiting.clear()
        self._committing = self._finishing = False

    def _feed(self, audio: bytes) -> None:
        self._waiting.append(audio)
        # Only while there is no connection yet: after that, the client keeps what is not sent.
        most = _KEEP_S * self.sample_rate * 2
        while len(self._waiting) > 1 and len(self._waiting) * len(audio) > most:
            self._waiting.popleft()
        self._changed.set()

    def _finish(self) -> None:
        self._finishing = True
        self._changed.set()

    async def _events(self) -> AsyncGenerator[events.Event, None]:
        while not self._finishing or self._waiting:
            try:
                async with connect(self._url, rate=self.sample_rate, **self._asked) as session:
                    sending = self.create_task(self._send(session))
                    try:
                        async for event in session:
                            yield event
                    finally:
                        await self.cancel_task(sending)
                return
            except ServerError as fault:
                if fault.code not in BEGIN_AGAIN or self._finishing:
                    raise
                # A muted user costs no stream: the next begins with sound.
                while not self._waiting and not self._finishing:
                    self._changed.clear()
                    await self._changed.wait()

    async def _send(self, session: ClientSession) -> None:
        # Why a stream ended is told to whoever reads it.
        with suppress(ServerError):
            while True:
                while self._waiting:
                    await session.send(self._waiting.popleft())
                if self._committing:
                    self._committing = False
                    await session.commit()
                if self._finishing:
                    await session.finish()
                    return
                self._changed.clear()
                await self._changed.wait()


class StreamserAnalyzerService(_EmotionSTT):
    """Recognise speech and its emotion in this process, on threads of its own.

    ``settings`` are those of ``streamser.load_settings``; or several pipelines share an
    ``analyzer``, which is then theirs to close. Models are loaded when the pipeline starts, and
    sound is kept meanwhile. ``speaker``, ``turns``, ``finish_s`` and ``options`` are as for
    ``StreamserSTTService``; without a recogniser of words (``asr.engine`` ``none``) there are
    only ``EmotionFrame``s, beside the STT service of another.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        analyzer: Analyzer | None = None,
        speaker: str | None = None,
        turns: bool = True,
        finish_s: float = 10.0,
        **options: Any,
    ) -> None:
        self._analyzer = analyzer or Analyzer(settings, tell=logger.info)
        self._is_own = analyzer is None
        self._speaker = speaker
        self._source: FedSource | None = None
        words = self._analyzer.settings.asr.engine != "none"
        super().__init__(turns=turns and words, finish_s=finish_s, **options)

    async def cleanup(self) -> None:
        """Leave nothing running, and let the models go unless they are shared."""
        await super().cleanup()
        if self._is_own:
            await asyncio.to_thread(self._analyzer.close, self._finish_s)

    def _open(self) -> None:
        self._source = FedSource(self.sample_rate, name=self.name, keep_s=_KEEP_S)

    def _feed(self, audio: bytes) -> None:
        if self._source is not None:
            whole = audio[: len(audio) // 2 * 2]
            samples = np.frombuffer(whole, "<i2").astype(np.float32)
            samples /= 32_768
            self._source.feed(samples[:, None])

    def _finish(self) -> None:
        if self._source is not None:
            self._source.finish()

    async def _events(self) -> AsyncGenerator[events.Event, None]:
        assert self._source is not None
        stream = self._analyzer.astream(self._source, speaker=self._speaker)
        async with aclosing(cast("AsyncGenerator[events.Event, None]", stream)) as told:
            async for event in told:
                yield event


def _category(code: str) -> ErrorCategory:
    """Return which of Pipecat's kinds of errors one of our codes is."""
    if code.startswith("invalid_"):
        return _CATEGORIES.get(code, ErrorCategory.INVALID_REQUEST)
    if code.startswith("too_many_"):
        return ErrorCategory.RATE_LIMIT
    return _CATEGORIES.get(code, ErrorCategory.SERVER)


def _language(code: str | None) -> Language | None:
    try:
        return None if code is None else Language(code)
    except ValueError:
        return None
