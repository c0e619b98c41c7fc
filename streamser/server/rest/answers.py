"""What is answered: transcriptions as OpenAI words them, with the emotion inside, and refusals."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from streamser.events import ModelNames
from streamser.export.records import UtteranceRecord
from streamser.export.subtitles import to_srt, to_vtt
from streamser.server.rest.exchange import RefusedUpload
from streamser.server.rest.form import MODELS, TranscriptionOrder
from streamser.server.rest.transcription import Heard
from streamser.taxonomy import DIMENSIONS, LEAD, UNSURE, weighted_mean

Body: TypeAlias = dict[str, Any]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_VTT: Final = "text/vtt; charset=utf-8"


def word_transcription(
    heard: Heard, order: TranscriptionOrder, models: ModelNames
) -> tuple[str, bytes]:
    """Word what was found in a file as its sender asked for it; returns media type and body."""
    match order.form:
        case "text":
            return _TEXT, f"{text_of(heard.timeline.utterances)}\n".encode()
        case "srt":
            return _TEXT, to_srt(heard.timeline).encode()
        case "vtt":
            return _VTT, to_vtt(heard.timeline).encode()
        case "verbose_json":
            return JSON, encode_body(_verbose(heard, order, models))
    return JSON, encode_body({"text": text_of(heard.timeline.utterances), **_closing(heard)})


def word_delta(utterance: UtteranceRecord, number: int) -> bytes:
    """Word an utterance, counted from 0, as an event of a stream of them."""
    text = utterance.transcript or ""
    delta = f" {text}" if number and text else text
    segment = word_segment(utterance, number)
    return _event({"type": "transcript.text.delta", "delta": delta, "segment": segment})


def word_done(heard: Heard) -> bytes:
    """Word the last event of such a stream."""
    text = text_of(heard.timeline.utterances)
    return _event({"type": "transcript.text.done", "text": text, **_closing(heard)})


def word_error(fault: RefusedUpload) -> Body:
    """Word a refusal."""
    error = msgspec.structs.replace(fault.refusal.error, param=fault.param)
    return {"error": {name: getattr(error, name) for name in ("message", "type", "param", "code")}}


def word_late_error(fault: RefusedUpload) -> bytes:
    """Word a fault that has ended a stream of events."""
    return _event(word_error(fault))


def word_model(name: str, created: int, models: ModelNames) -> Body:
    """Word what one of ``MODELS`` is; ``created`` in s since 1970."""
    about = {"id": name, "object": "model", "created": created, "owned_by": "streamser"}
    return {**about, "models": msgspec.to_builtins(models)}


def word_models(created: int, models: ModelNames) -> Body:
    """Word all there are."""
    return {"object": "list", "data": [word_model(name, created, models) for name in MODELS]}


def encode_body(body: Body) -> bytes:
    """Encode a body as a line of JSON."""
    return msgspec.json.encode(body) + b"\n"


def text_of(utterances: Sequence[UtteranceRecord]) -> str:
    """Return all that was said."""
    return " ".join(each.transcript for each in utterances if each.transcript)


def word_segment(utterance: UtteranceRecord, number: int) -> Body:
    """Word an utterance, counted from 0, as a segment; times in s.

    What Whisper's own decoder would tell and ours does not is 0 or empty; what is not known is
    null. ``compression_ratio`` is that of the text, as Whisper has it.
    """
    text, confidence = utterance.transcript or "", utterance.confidence
    raw = text.encode()
    segment: Body = {
        "id": number,
        "seek": 0,
        "start": utterance.start_ms / 1000,
        "end": utterance.end_ms / 1000,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": math.log(confidence) if confidence else None,
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 3) if raw else 0.0,
        "no_speech_prob": 0.0,
        "emotion": msgspec.to_builtins(utterance.emotion),
    }
    if utterance.speaker is not None or utterance.speaker_provisional:
        segment["speaker"] = utterance.speaker
    if utterance.parts:
        segment["parts"] = msgspec.to_builtins(utterance.parts)
    if utterance.distrusted is not None:
        segment["distrusted"] = utterance.distrusted
    if utterance.fault is not None:
        segment["error"] = msgspec.to_builtins(utterance.fault)
    return segment


def summarise(utterances: Sequence[UtteranceRecord]) -> Body | None:
    """Return the mean of all readings, each weighted by its length; ``None`` without any.

    Its category is the likeliest, or ``unsure`` where that is not 0.1 ahead of all others.
    """
    read = [
        (each.emotion, float(each.end_ms - each.start_ms))
        for each in utterances
        if each.emotion is not None and each.end_ms > each.start_ms
    ]
    if not read:
        return None
    names = dict.fromkeys(name for emotion, _ in read for name in emotion.scores)
    scores = {
        name: _mean([(emotion.scores.get(name, 0.0), length) for emotion, length in read]) or 0.0
        for name in names
    }
    first, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    dimensions = {
        name: _mean([(getattr(emotion.dimensions, name), length) for emotion, length in read])
        for name in DIMENSIONS
    }
    category = first if scores[first] - scores[second] >= LEAD else UNSURE
    return {"category": category, "scores": scores, "dimensions": dimensions}


def _mean(weighted: Sequence[tuple[float | None, float]]) -> float | None:
    mean = weighted_mean(weighted)
    return None if mean is None else round(mean, 4)


def _verbose(heard: Heard, order: TranscriptionOrder, models: ModelNames) -> Body:
    utterances = heard.timeline.utterances
    body: Body = {
        "task": "transcribe",
        "language": _language(utterances) or order.language or "",
        "duration": round(heard.seconds, 3),
        "text": text_of(utterances),
        "segments": [word_segment(each, number) for number, each in enumerate(utterances)],
    }
    if order.words:
        body["words"] = [
            {"word": word.word, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
            for each in utterances
            for word in each.words
        ]
    return {**body, **_closing(heard), "models": msgspec.to_builtins(models)}


def _closing(heard: Heard) -> Body:
    """Return what stands at the end of each answer in JSON."""
    closing: Body = {
        "usage": {"type": "duration", "seconds": round(heard.seconds, 3)},
        "emotion": summarise(heard.timeline.utterances),
    }
    if heard.cut is not None:
        closing["warnings"] = [{"code": heard.cut.code, "message": heard.cut.message}]
    return closing


def _language(utterances: Sequence[UtteranceRecord]) -> str | None:
    """Return the language in which most was said."""
    spoken: Counter[str] = Counter()
    for each in utterances:
        if each.language is not None and each.transcript:
            spoken[each.language] += each.end_ms - each.start_ms
    return spoken.most_common(1)[0][0] if spoken else None


def _event(body: Body) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(body)
