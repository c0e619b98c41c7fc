"""Emotion in LiveKit Agents: a recogniser that carries it, and an agent that tells its LLM.

``STT`` sends the user's sound to a server and yields what is said with how it sounded;
``EmotionAgent`` tells the language model when the user's turn is over.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from streamser import events
from streamser.client import ClientSession, ServerError, connect, shift_times
from streamser.client.session import ConnectOptions
from streamser.client.wire import BEGIN_AGAIN, HARMLESS
from streamser.integrations.notes import (
    UserReading,
    explain_note,
    find_emotion,
    readings_of,
    write_note,
)

try:
    from livekit import rtc
    from livekit.agents import (
        Agent,
        APIConnectionError,
        APIConnectOptions,
        APIError,
        APIStatusError,
        ModelSettings,
        llm,
        stt,
        utils,
    )
    from livekit.agents.language import LanguageCode
    from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
    from pydantic import BaseModel
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "LiveKit Agents is missing here: pip install 'streamser[livekit]'", name=missing.name
    ) from missing

__all__ = ["STT", "EmotionAgent", "EmotionContext", "EmotionStream"]

_RATE: Final = 16_000
_BEFORE_S: Final = 0.001
_READINGS: Final = 64
_PASSING: Final = ("server_unreachable", "server_timeout")
_STATUS: Final = {"unauthorized": 401, "invalid_token": 401, "forbidden": 403, "not_found": 404}


class EmotionContext(BaseModel):
    """Hold how the user sounded last; it is LiveKit's ``SpeakerContext``.

    ``emotion`` is the category or ``unsure``; dimensions lie in [-1, 1], ``None`` where nothing
    was measured; ``note`` is that of the whole turn so far, empty where nothing is certain.
    """

    emotion: str
    confidence: float
    scores: dict[str, float]
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    uncertainty: float
    speaker: str | None = None
    note: str = ""

    def to_instructions(self) -> str:
        """Tell a language model how the user sounded; nothing where that is not certain."""
        return explain_note(self.note) if self.note else ""


def make_context(readings: Sequence[UserReading]) -> EmotionContext | None:
    """Return what readings of one turn say, the last one in full; ``None`` where there is none."""
    if not readings:
        return None
    last = readings[-1].emotion
    return EmotionContext(
        emotion=last.category,
        confidence=last.confidence,
        scores=last.scores,
        valence=last.dimensions.valence,
        arousal=last.dimensions.arousal,
        dominance=last.dimensions.dominance,
        uncertainty=last.uncertainty,
        speaker=last.speaker,
        note=write_note(readings),
    )


class STT(stt.STT):
    """Recognise speech and its emotion with a streamser server.

    ``url``, ``token``, ``speaker``, ``meeting``, ``language``, ``speakers``, ``ca`` and ``proxy``
    are those of ``streamser.connect``. A broken connection is made again, for ``give_up_s`` at
    most, and no final is lost; a stream that cannot go on raises one of LiveKit's ``APIError``s.
    What becomes of the connection is a warning of this module's logger.
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
        give_up_s: float = 30.0,
    ) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True, interim_results=True, offline_recognize=False
            )
        )
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
            tell=logging.getLogger(__name__).warning,
        )

    @property
    def model(self) -> str:
        """Return what metrics call the model."""
        return "streamser"

    @property
    def provider(self) -> str:
        """Return what metrics call whose it is."""
        return "streamser"

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> EmotionStream:
        """Begin a stream; ``language`` takes the place of the one that was said."""
        asked = self._asked.copy()
        if utils.is_given(language):
            asked["language"] = language
        return EmotionStream(self, self._url, asked, conn_options)

    async def _recognize_impl(self, *args: Any, **options: Any) -> stt.SpeechEvent:
        raise APIError("streamser hears streams only: use stream().", retryable=False)


class EmotionStream(stt.RecognizeStream):
    """Yield what is said, and how it sounded in ``metadata["emotion"]`` of each final."""

    def __init__(
        self, own: STT, url: str, asked: ConnectOptions, conn_options: APIConnectOptions
    ) -> None:
        super().__init__(stt=own, conn_options=conn_options, sample_rate=_RATE)
        self._url = url
        self._asked = asked
        self._spoken: str | None = None

    async def _run(self) -> None:
        first: Any = None
        while True:
            try:
                async with connect(self._url, rate=_RATE, **self._asked) as session:
                    await self._converse(session, first)
                return
            except ServerError as fault:
                if fault.code not in BEGIN_AGAIN:
                    raise _api_error(fault) from fault
            finally:
                self._end_speech(self._spoken)
            # A muted user costs no stream: the next begins with sound.
            try:
                first = await self._input_ch.recv()
            except utils.aio.ChanClosed:
                return

    async def _converse(self, session: ClientSession, first: Any) -> None:
        sending = asyncio.create_task(self._send(session, first))
        try:
            async for event in session:
                told = shift_times(event, session.offset_ms)
                assert isinstance(told, events.Event)
                self._tell(told)
        finally:
            await utils.aio.cancel_and_wait(sending)

    async def _send(self, session: ClientSession, first: Any) -> None:
        # Why a stream ended is told to whoever reads it.
        with suppress(ServerError):
            if isinstance(first, rtc.AudioFrame):
                await session.send(bytes(first.data))
            async for given in self._input_ch:
                if isinstance(given, rtc.AudioFrame):
                    await session.send(bytes(given.data))
                else:
                    await session.commit()
            await session.finish()

    def _tell(self, event: events.Event) -> None:
        match event:
            case events.SpeechStarted(item_id=item):
                self._spoken = item
                self._give(stt.SpeechEventType.START_OF_SPEECH, item)
            case events.TranscriptPartial(text=text) if text.strip():
                data = stt.SpeechData(language=self._language(None), text=text.strip())
                self._give(stt.SpeechEventType.INTERIM_TRANSCRIPT, event.item_id, data)
            case events.TranscriptionCompleted():
                self._tell_final(event)
                # Told after the words: whoever ends turns by it then has them.
                self._end_speech(event.item_id)
            case events.TranscriptionFailed(error=error):
                self._emit_error(APIError(error.message), recoverable=True)
                self._end_speech(event.item_id)
            case events.ErrorRaised(error=error) if error.code not in (HARMLESS, *BEGIN_AGAIN):
                self._emit_error(APIError(error.message), recoverable=True)

    def _tell_final(self, event: events.TranscriptionCompleted) -> None:
        emotion, text = event.emotion, event.transcript.strip()
        self.context = make_context([UserReading(text, emotion)])
        if text:
            data = stt.SpeechData(
                language=self._language(event.language),
                text=text,
                start_time=event.audio_start_ms / 1000 + self.start_time_offset,
                end_time=event.audio_end_ms / 1000 + self.start_time_offset,
                confidence=event.confidence or 0.0,
                speaker_id=emotion.speaker,
                metadata={"emotion": msgspec.to_builtins(emotion)},
            )
            self._give(stt.SpeechEventType.FINAL_TRANSCRIPT, event.item_id, data)
        self._event_ch.send_nowait(
            stt.SpeechEvent(
                type=stt.SpeechEventType.RECOGNITION_USAGE,
                request_id=event.item_id,
                recognition_usage=stt.RecognitionUsage(audio_duration=event.usage.seconds),
            )
        )

    def _end_speech(self, item: str | None) -> None:
        if item is not None and item == self._spoken:
            self._spoken = None
            self._give(stt.SpeechEventType.END_OF_SPEECH, item)

    def _give(self, kind: stt.SpeechEventType, item: str, *told: stt.SpeechData) -> None:
        if not self._event_ch.closed:
            self._event_ch.send_nowait(
                stt.SpeechEvent(type=kind, request_id=item, alternatives=list(told))
            )

    def _language(self, detected: str | None) -> LanguageCode:
        return LanguageCode(detected or self._asked.get("language") or "")


class EmotionAgent(Agent):
    """Tell the language model how the user sounded, once their turn is over.

    One system message goes into the context of that reply; nothing of it stays in the history.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._readings: deque[UserReading] = deque(maxlen=_READINGS)

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterable[stt.SpeechEvent]:
        """Listen as any agent does, and keep what was heard of emotion for the end of the turn."""
        told = super().stt_node(audio, model_settings)
        if inspect.isawaitable(told):
            told = await told
        if told is not None:
            async for event in told:
                self._learn(event)
                yield event

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        """Add what is known of how the message sounded to the context of the reply."""
        own = readings_of(new_message.text_content or "", self._readings)
        while own and self._readings.popleft() is not own[-1]:
            pass
        context = make_context(own)
        if context is not None and context.note:
            turn_ctx.add_message(
                role="system",
                content=context.to_instructions(),
                # Contexts are in order of time.
                created_at=new_message.created_at - _BEFORE_S,
            )
        await super().on_user_turn_completed(turn_ctx, new_message)

    def _learn(self, event: stt.SpeechEvent | str) -> None:
        if isinstance(event, str) or event.type != stt.SpeechEventType.FINAL_TRANSCRIPT:
            return
        for data in event.alternatives[:1]:
            emotion = find_emotion(data.metadata)
            if emotion is not None:
                self._readings.append(UserReading(data.text, emotion))
                # The framework promises to copy this from the stream, and does not.
                self.audio_recognition.stt_context = make_context([*self._readings])


def _api_error(fault: ServerError) -> APIError:
    if fault.code in _PASSING:
        return APIConnectionError(str(fault))
    return APIStatusError(str(fault), status_code=_STATUS.get(fault.code, 400), retryable=False)
