"""Events for the tests of what people see."""

from __future__ import annotations

from typing import Any

import msgspec

from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    EmotionProvisional,
    ErrorBody,
    ModelNames,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    TranscriptionCompleted,
    TranscriptionFailed,
    Usage,
    Window,
)
from streamser.taxonomy import Dimensions

__all__ = ["ENVELOPE", "closed", "created", "emotion", "failed", "felt", "said", "sounded"]

ENVELOPE: dict[str, Any] = {"event_id": "event_s_1", "session_id": "s", "seq": 1}


def emotion(
    category: str = "happy",
    *,
    valence: float | None = 0.5,
    arousal: float | None = -0.5,
    start: int = 1000,
    end: int = 3000,
) -> EmotionBody:
    """Make a judgement; `unsure` leans to neutral."""
    scores = {"neutral": 0.16, "happy": 0.12, "sad": 0.08, "angry": 0.04}
    best = "neutral" if category == "unsure" else category
    scores[best] = 0.6 + scores[best]
    return EmotionBody(
        category=category,
        confidence=scores[best],
        scores=scores,
        dimensions=Dimensions(valence=valence, arousal=arousal),
        uncertainty=0.5,
        modalities=("audio", "text"),
        speaker=None,
        window=Window(start_ms=start, end_ms=end),
        model="rules",
    )


def created(
    asr: str | None = "faster-whisper/tiny.en", arithmetic: str | None = None
) -> SessionCreated:
    """Make the first event of a session."""
    models = ModelNames(vad="silero", asr=asr, asr_arithmetic=arithmetic, emotion="rules")
    info = SessionInfo(id="s", models=models, silence_ms=500, max_utterance_ms=20_000)
    return SessionCreated(**ENVELOPE, session=info)


def said(
    transcript: str, body: EmotionBody | None = None, lag_ms: float | None = 80.0
) -> TranscriptionCompleted:
    """Make the event of an utterance with words."""
    body = body or emotion()
    return TranscriptionCompleted(
        **ENVELOPE,
        lag_ms=lag_ms,
        item_id="item_s_1",
        transcript=transcript,
        usage=Usage(seconds=2.0),
        audio_start_ms=body.window.start_ms,
        audio_end_ms=body.window.end_ms,
        emotion=body,
    )


def felt(body: EmotionBody | None = None) -> EmotionCompleted:
    """Make the event of an utterance's emotion."""
    return EmotionCompleted(**ENVELOPE, lag_ms=81.0, item_id="item_s_1", emotion=body or emotion())


def sounded(body: EmotionBody | None = None) -> EmotionProvisional:
    """Make the event of what the voice alone says of an utterance."""
    body = msgspec.structs.replace(body or emotion(), modalities=("audio",))
    return EmotionProvisional(**ENVELOPE, lag_ms=300.0, item_id="item_s_1", emotion=body)


def failed(message: str = "the queue is full") -> TranscriptionFailed:
    """Make the event of an utterance that could not be analysed."""
    return TranscriptionFailed(
        **ENVELOPE,
        item_id="item_s_2",
        error=ErrorBody(type="server_error", code="overloaded", message=message),
        audio_start_ms=4000,
        audio_end_ms=5000,
    )


def closed(utterances: int = 2, **changes: int) -> SessionClosed:
    """Make the last event of a session, without losses but for ``changes``."""
    event = SessionClosed(
        **ENVELOPE,
        audio_ms=65_000,
        speech_ms=12_300,
        utterances=utterances,
        failed=0,
        partials_dropped=0,
        audio_dropped_ms=0,
    )
    return msgspec.structs.replace(event, **changes)
