"""Deepgram live v1 (``/v1/listen``), for the clients that already speak it.

Their libraries make nothing of a message of a type they do not know, so emotion comes inside the
final ``Results``: whole as ``emotion``, and as the ``sentiment`` of Deepgram's recordings API.
What the voice alone says before that is not told: interim ``Results`` replace each other, and one
without words would wipe those that were already shown. Who spoke after all is not told either:
there is no such message, and a number once given stays.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from streamser import __version__, events
from streamser.audio.source import SENT_MAX_RATE, SENT_MIN_RATE, frame_bytes, rate_of, usable
from streamser.errors import ConfigError
from streamser.events import AudioFormat, EmotionBody, Event, Marker, SpeakerPart, WordTiming
from streamser.server.dialects.commands import (
    ANY_LANGUAGE,
    Append,
    Command,
    Commit,
    Finish,
    Hangup,
    LanguageSupport,
    Mark,
    StreamSettings,
)

Body: TypeAlias = dict[str, Any]

_FORMATS: Final = {
    "linear16": AudioFormat(type="audio/pcm", rate=16_000),
    "linear32": AudioFormat(type="audio/pcm", rate=16_000, encoding="f32le"),
    "mulaw": AudioFormat(type="audio/pcmu"),
    "alaw": AudioFormat(type="audio/pcma"),
}
_CONTAINERS: Final = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3")
_SHORTEST_PAUSE_MS: Final = 200
_FINALIZED: Final = "finalized"


class ListenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a client asks for in its query.

    ``endpointing``: a pause is called the end of speech; ``named``: the encoding was, so that
    samples will come, and not a file; ``diarize``: words have the number of who speaks them.
    """

    settings: StreamSettings
    named: bool = True
    interim_results: bool = False
    vad_events: bool = False
    diarize: bool = False
    endpointing: bool = True
    utterance_end_ms: int | None = None


def parse_listen(
    query: Mapping[str, list[str]], base: StreamSettings, languages: LanguageSupport = ANY_LANGUAGE
) -> ListenOptions:
    """Read the query of ``/v1/listen``; ``base`` stands where it asks for nothing else.

    Sound is ``linear16`` at 16 kHz (G.711: 8 kHz) unless said otherwise. What changes the
    spelling only, and models, are ignored. Raises ``ConfigError``.
    """
    given = {name: values[-1].strip().lower() for name, values in query.items() if values}
    encoding = given.get("encoding", "linear16")
    if encoding not in _FORMATS:
        raise ConfigError(f"encoding must be one of {', '.join(_FORMATS)}, not {encoding[:40]!r}")
    if _number(given, "channels", 1, 1, 64) != 1:
        raise ConfigError("channels must be 1: connect once for each channel")
    form = _FORMATS[encoding]
    rate = _number(given, "sample_rate", rate_of(form), SENT_MIN_RATE, SENT_MAX_RATE)
    form = usable(msgspec.structs.replace(form, rate=rate))
    endpointing, pause = base.endpointing, given.get("endpointing", "true")
    if pause not in ("true", "false", "0"):
        # Theirs, 10 ms unless said otherwise, waits for a word to be understood; ours goes by
        # the sound alone, and less would cut words in two.
        silence = max(_SHORTEST_PAUSE_MS, _number(given, "endpointing", 0, 1, 60_000))
        endpointing = msgspec.structs.replace(endpointing, silence_ms=silence, tail_ms=None)
    return ListenOptions(
        settings=msgspec.structs.replace(
            base,
            format=form,
            endpointing=endpointing,
            language=languages.wanted(given.get("language")),
            speakers=_speakers(given, base),
        ),
        named="encoding" in given,
        interim_results=_flag(given, "interim_results"),
        vad_events=_flag(given, "vad_events"),
        diarize=_flag(given, "diarize"),
        endpointing=pause not in ("false", "0"),
        utterance_end_ms=_number(given, "utterance_end_ms", 0, 0, 60_000) or None,
    )


class DeepgramDialect:
    """Speak Deepgram with one client; ``created`` is when it came, in ISO 8601."""

    tells_all = False

    def __init__(self, request_id: str, created: str, options: ListenOptions) -> None:
        self._request_id, self._created = request_id, created
        self._options = options
        self._models = events.ModelNames(vad="", asr=None, emotion="")
        self._digest = hashlib.sha256()
        self._bytes = 0
        form = options.settings.format
        self._bytes_per_ms = rate_of(form) * frame_bytes(form) / 1000
        # Why the utterances ended whose finals are still to come.
        self._reasons: dict[str, str] = {}
        self._finalized = False
        # Until where in the audio nobody may speak, and the mark set once that place is reached.
        self._silent_until: int | None = None
        self._silent_mark = ""
        self._last_word_end = 0.0
        # Words wait for who spoke them, which the very next event of theirs says.
        self._worded: events.TranscriptionCompleted | None = None
        self._numbers: dict[str, int] = {}

    def receive(self, message: str | bytes) -> list[Command]:
        """Say what a message asks for; an empty binary one ends the stream, as it used to."""
        if isinstance(message, bytes):
            return self._hear(message) if message else [Finish()]
        try:
            kind = msgspec.json.decode(message, type=_Control).type
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return [Hangup(1008, "DATA-0000: a text message must be JSON with a type")]
        match kind:
            # What can be configured is of the kind that is ignored in the query.
            case "KeepAlive" | "Configure":
                return []
            case "Finalize":
                return [Commit(lenient=True), Mark(_FINALIZED)]
            case "CloseStream":
                return [Finish()]
        return [Hangup(1008, "DATA-0000: type must be KeepAlive, Finalize or CloseStream")]

    def encode(self, event: Event) -> list[bytes]:
        """Word an event as messages of the types that Deepgram has; times in seconds of audio."""
        return [msgspec.json.encode(message) for message in self._word(event)]

    def _hear(self, sound: bytes) -> list[Command]:
        # A header before named samples is a click of a millisecond; alone it says what they are.
        if not self._bytes and not self._options.named and sound.startswith(_CONTAINERS):
            return [Hangup(1008, "DATA-0000: send samples without a header and name the encoding")]
        self._digest.update(sound)
        self._bytes += len(sound)
        asked: list[Command] = [Append(sound)]
        if (until := self._silent_until) is not None and self._bytes >= until * self._bytes_per_ms:
            # The echo comes behind the final, and behind the start of whoever speaks again.
            self._silent_until, self._silent_mark = None, f"silent_{until}"
            asked.append(Mark(self._silent_mark))
        return asked

    def _word(self, event: Event) -> list[Body]:
        match event:
            case events.SessionCreated():
                self._models = event.session.models
            case events.SpeechStarted(audio_start_ms=at):
                self._silent_until, self._silent_mark = None, ""
                if self._options.vad_events:
                    return [{"type": "SpeechStarted", "channel": [0, 1], "timestamp": at / 1000}]
            case events.SpeechStopped():
                self._reasons[event.item_id] = event.reason
                if self._options.utterance_end_ms:
                    self._silent_until = event.audio_end_ms + self._options.utterance_end_ms
            case events.TranscriptPartial() if self._options.interim_results:
                span = (event.audio_start_ms, event.audio_end_ms)
                return [self._results(*span, _alternative(event.text))]
            case events.TranscriptionCompleted() if self._options.diarize:
                self._worded = event
            case events.EmotionCompleted() if self._worded is not None:
                worded, self._worded = self._worded, None
                return [self._attributed(worded, event.parts)]
            case events.TranscriptionCompleted(emotion=emotion):
                said = _alternative(event.transcript, event.confidence, event.words, emotion)
                span = (event.audio_start_ms, event.audio_end_ms)
                return [self._final(event.item_id, *span, said, emotion=emotion)]
            # Where words are told, the emotion was told with them.
            case events.EmotionCompleted(emotion=emotion) if self._models.asr is None:
                said = _alternative("", emotion=emotion)
                span = (emotion.window.start_ms, emotion.window.end_ms)
                return [self._final(event.item_id, *span, said, emotion=emotion)]
            case events.TranscriptionFailed():
                span = (event.audio_start_ms, event.audio_end_ms)
                return [self._final(event.item_id, *span, _alternative(""), error=event.error)]
            case Marker():
                return self._pass(event)
            case events.ErrorRaised(error=error):
                return [{"type": "Error", "variant": error.code, "description": error.message}]
            case events.SessionClosed(audio_ms=length):
                # Of a busy server the end may be told when all the sound has come.
                silent = self._silent_until is not None and length >= self._silent_until
                return [*([self._ended()] if silent else []), self._metadata(length)]
        return []

    def _attributed(
        self, worded: events.TranscriptionCompleted, parts: tuple[SpeakerPart, ...]
    ) -> Body:
        """Word a final with the numbers of its speakers, from 0 as they come."""
        emotion = worded.emotion
        said = _alternative(worded.transcript, worded.confidence, worded.words, emotion)
        for timed, word in zip(said["words"], worded.words, strict=True):
            middle = (word.start_ms + word.end_ms) / 2
            of_it = (part.speaker for part in parts if part.start_ms <= middle < part.end_ms)
            label = next(of_it, emotion.speaker)
            # Of whom nobody can tell there is no number.
            if label is not None:
                timed["speaker"] = self._numbers.setdefault(label, len(self._numbers))
        span = (worded.audio_start_ms, worded.audio_end_ms)
        more: Body = {"parts": parts} if parts else {}
        return self._final(worded.item_id, *span, said, emotion=emotion, **more)

    def _pass(self, marker: Marker) -> list[Body]:
        if marker.id == _FINALIZED:
            # Who asks waits for an answer, also where nobody was speaking.
            finalized, self._finalized = self._finalized, False
            at, flags = marker.audio_ms, {"is_final": True, "from_finalize": True}
            return [] if finalized else [self._results(at, at, _alternative(""), **flags)]
        return [self._ended()] if marker.id == self._silent_mark else []

    def _ended(self) -> Body:
        return {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": self._last_word_end}

    def _final(self, item_id: str, start_ms: int, end_ms: int, said: Body, **more: Any) -> Body:
        reason = self._reasons.pop(item_id, "pause")
        if reason == "commit":
            self._finalized = more["from_finalize"] = True
        self._last_word_end = said["words"][-1]["end"] if said["words"] else end_ms / 1000
        paused = reason != "max_length" and (self._options.endpointing or reason != "pause")
        return self._results(start_ms, end_ms, said, is_final=True, speech_final=paused, **more)

    def _results(self, start_ms: int, end_ms: int, said: Body, **more: Any) -> Body:
        model, about = self._model()
        place = {"start": start_ms / 1000, "duration": (end_ms - start_ms) / 1000}
        flags = {"is_final": False, "speech_final": False, "from_finalize": False}
        metadata = {"request_id": self._request_id, "model_info": about, "model_uuid": model}
        heard = {"channel": {"alternatives": [said]}, "metadata": metadata}
        return {"type": "Results", "channel_index": [0, 1], **place, **flags, **heard, **more}

    def _metadata(self, audio_ms: int) -> Body:
        model, about = self._model()
        ids = {"transaction_key": "deprecated", "request_id": self._request_id}
        made = {"created": self._created, "models": [model], "model_info": {model: about}}
        heard = {"duration": audio_ms / 1000, "channels": 1, "sha256": self._digest.hexdigest()}
        return {"type": "Metadata", **ids, **made, **heard}

    def _model(self) -> tuple[str, dict[str, str]]:
        name, arch = self._models.asr or "none", self._models.emotion
        model = str(uuid.uuid5(uuid.NAMESPACE_URL, f"streamser/{name}/{arch}"))
        return model, {"name": name, "version": __version__, "arch": arch}


class _Control(msgspec.Struct, frozen=True):
    type: str


def _alternative(
    text: str,
    confidence: float | None = None,
    words: tuple[WordTiming, ...] = (),
    emotion: EmotionBody | None = None,
) -> Body:
    # Clients drop what has little confidence: where the engine says nothing, nothing is unsure.
    sure = float(bool(text)) if confidence is None else confidence
    timed = [_timed(word, sure) for word in words]
    said: Body = {"transcript": text, "confidence": sure, "words": timed}
    valence = emotion.dimensions.valence if emotion else None
    if valence is None:
        return said
    tone = "neutral" if abs(valence) < 1 / 3 else "positive" if valence > 0 else "negative"
    return said | {"sentiment": tone, "sentiment_score": valence}


def _timed(word: WordTiming, sure: float) -> Body:
    sure = sure if word.confidence is None else word.confidence
    place = {"start": word.start_ms / 1000, "end": word.end_ms / 1000}
    return {"word": word.word, **place, "confidence": sure, "punctuated_word": word.word}


def _speakers(given: Mapping[str, str], base: StreamSettings) -> Literal["auto", "off"] | int:
    """Return how voices are told apart: as the server has it where the client does not say."""
    if "diarize" not in given:
        return base.speakers
    if not _flag(given, "diarize"):
        return "off"
    return "auto" if base.speakers == "off" else base.speakers


def _number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name, str(default))
    if text.isdecimal() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise ConfigError(f"{name} must be a whole number, {least} to {most}, not {text[:40]!r}")


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "false")
    if text in ("true", "false"):
        return text == "true"
    raise ConfigError(f"{name} must be true or false, not {text[:40]!r}")
