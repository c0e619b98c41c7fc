"""Oruk's realtime events (subprotocol ``oruk-realtime``), for the clients that already speak it.

A connection is one turn of a speaker, ended by its one commit. What ends with a pause in it, or is
as long as may be, is a phrase: an utterance of ours. Each is told as an
``input_audio_emotion`` with all our scores; the transcript of the whole turn comes at its end, then
``session.usage``, and the connection is closed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from streamser import events
from streamser.audio.source import decode_base64, usable
from streamser.errors import AudioError, ConfigError
from streamser.events import AudioFormat, Event, WordTiming
from streamser.pipeline.build import endpointer_settings
from streamser.pipeline.emitter import client_error
from streamser.server.dialects.commands import (
    ANY_LANGUAGE,
    Append,
    Command,
    Configure,
    Finish,
    LanguageSupport,
    Refuse,
    StreamSettings,
)

Body: TypeAlias = dict[str, Any]

ORUK: Final = "oruk-realtime"
_LONGEST_REASON: Final = 200
_ITEM: Final = "conversation.item.input_audio_"
_FORMAT: Final = AudioFormat(type="audio/pcm", rate=16_000)
_SILENCE_MS: Final = 600
_PHRASE_MS: Final = 8000
"""What their service does where a client does not say."""


class PhraseSettings(msgspec.Struct, frozen=True):
    """Hold what a client asks for; what is not here is ignored."""

    language: str | None = None
    sample_rate: int = 16_000
    word_timestamps: bool = False
    phrase_emotions: bool = True
    phrase_silence_ms: Annotated[int, Meta(ge=200, le=2000)] = _SILENCE_MS
    phrase_max_ms: Annotated[int, Meta(ge=1000, le=15_000)] = _PHRASE_MS
    diarize: bool = False


class _Update(msgspec.Struct, frozen=True, tag_field="type", tag="session.update"):
    session: PhraseSettings = PhraseSettings()


class _Append(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio_buffer.append"):
    audio: str


class _Commit(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio_buffer.commit"):
    pass


_DECODER: Final = msgspec.json.Decoder(_Update | _Append | _Commit)


class OrukDialect:
    """Speak with one client of Oruk's for one turn; ``request_id`` is told to it."""

    tells_all = False

    def __init__(
        self,
        request_id: str,
        settings: StreamSettings,
        languages: LanguageSupport = ANY_LANGUAGE,
    ) -> None:
        self._request_id = request_id
        self._languages = languages
        self._usual = settings
        self._asked = PhraseSettings()
        self._heard = self._committed = False
        self._begun: str | None = None
        self._texts: dict[str, str] = {}
        self._words: list[WordTiming] = []

    def receive(self, message: str | bytes) -> list[Command]:
        """Say what a message asks for; binary is sound, and nothing counts behind the commit."""
        if self._committed:
            return []
        if isinstance(message, bytes):
            return self._hear(message)
        try:
            asked = _DECODER.decode(message)
        except msgspec.ValidationError as error:
            unknown = str(error).endswith("`$.type`")
            code = "unknown_message" if unknown else "invalid_value"
            return [Refuse(client_error(code, str(error)[:_LONGEST_REASON]))]
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            wrong = "the message is not a JSON object with a type"
            return [Refuse(client_error("invalid_json", wrong))]
        match asked:
            case _Update(session=session):
                return [self._configure(session)]
            case _Append(audio=audio):
                try:
                    return self._hear(decode_base64(audio))
                except AudioError as error:
                    return [Refuse(client_error(error.code, str(error), param="audio"))]
        if not self._heard:
            nothing = "there is no sound to commit"
            return [Refuse(client_error("input_audio_buffer_commit_empty", nothing))]
        self._committed = True
        return [Finish()]

    def encode(self, event: Event) -> list[bytes]:
        """Word an event as their service does; times in seconds of the turn."""
        return [msgspec.json.encode(message) for message in self._word(event)]

    def _hear(self, sound: bytes) -> list[Command]:
        self._heard = self._heard or bool(sound)
        return [Append(sound)] if sound else []

    def _configure(self, asked: PhraseSettings) -> Command:
        try:
            settings = phrase_stream(self._usual, asked, self._languages)
        except ConfigError as error:
            code = "invalid_value" if error.code == ConfigError.code else error.code
            return Refuse(client_error(code, str(error), param="session"))
        self._asked = asked
        return Configure(settings)

    def _word(self, event: Event) -> list[Body]:
        match event:
            case events.SessionCreated(session=session):
                told = self._session(session.id)
                return [{"type": "session.created", "request_id": self._request_id, **told}]
            case events.SessionUpdated(session=session):
                return [{"type": "session.updated", **self._session(session.id)}]
            case events.TranscriptionDelta(item_id=item_id, delta=delta):
                return [self._grow(item_id, delta)]
            case events.TranscriptionCompleted(item_id=item_id, transcript=text, words=words):
                # What was told on the way is not taken back: the end of the turn has it right.
                self._texts[item_id] = text
                self._words += words
            case events.EmotionCompleted():
                return [self._phrase(event)] if self._asked.phrase_emotions else []
            case events.TranscriptionFailed() if self._asked.phrase_emotions:
                span = {"start": event.audio_start_ms / 1000, "end": event.audio_end_ms / 1000}
                fault = {"code": event.error.code, "message": event.error.message}
                failed = {"type": f"{_ITEM}emotion.failed", "phrase_id": event.item_id}
                return [{**failed, **span, "error": fault}]
            case events.ErrorRaised(error=error):
                return [{"type": "error", "error": msgspec.to_builtins(error)}]
            case events.SessionClosed(audio_ms=audio_ms) if self._committed:
                return self._end(audio_ms / 1000)
        return []

    def _grow(self, item_id: str, delta: str) -> Body:
        """Add to the text of the turn, of which phrases are parts with a blank between."""
        follows = self._begun not in (None, item_id)
        self._begun = item_id
        return {"type": f"{_ITEM}transcription.delta", "delta": f" {delta}" if follows else delta}

    def _phrase(self, event: events.EmotionCompleted) -> Body:
        emotion = event.emotion
        scores = sorted(emotion.scores.items(), key=lambda each: -each[1])
        phrase = {
            "type": f"{_ITEM}emotion.completed",
            "phrase_id": event.item_id,
            "start": emotion.window.start_ms / 1000,
            "end": emotion.window.end_ms / 1000,
            "text": self._texts.get(event.item_id, ""),
            "emotions": [{"label": label, "score": score} for label, score in scores],
            "emotion": msgspec.to_builtins(emotion),
        }
        return phrase if emotion.speaker is None else {**phrase, "speaker": emotion.speaker}

    def _end(self, audio_s: float) -> list[Body]:
        text = " ".join(text for text in self._texts.values() if text)
        final: Body = {"type": f"{_ITEM}transcription.completed", "transcript": text}
        if self._asked.word_timestamps:
            final["words"] = [
                {"word": word.word, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
                for word in self._words
            ]
        return [final, {"type": "session.usage", "usage": {"audio_seconds": audio_s}}]

    def _session(self, session_id: str) -> Body:
        asked = msgspec.to_builtins(self._asked)
        return {"session": {"id": session_id, "model": ORUK, **asked}}


def phrase_stream(
    usual: StreamSettings, asked: PhraseSettings, languages: LanguageSupport
) -> StreamSettings:
    """Return the stream that a client asks for; raises ``ConfigError``."""
    language = None if asked.language in (None, "auto") else asked.language
    endpointing = replace(
        usual.endpointing,
        silence_ms=asked.phrase_silence_ms,
        tail_ms=None,
        max_utterance_ms=asked.phrase_max_ms,
        cut_search_ms=None,
    )
    endpointer_settings(endpointing)
    return replace(
        usual,
        format=usable(replace(_FORMAT, rate=asked.sample_rate)),
        endpointing=endpointing,
        language=languages.wanted(language),
        speakers="auto" if asked.diarize and usual.speaker is None else usual.speakers,
    )
