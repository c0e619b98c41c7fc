"""One real instance of every event, for the protocol document: an utterance from end to end."""

from __future__ import annotations

from typing import Any

from streamser.events import (
    Committed,
    EmotionBody,
    EmotionCompleted,
    EmotionDelta,
    ErrorBody,
    ErrorRaised,
    Event,
    Marker,
    ModelNames,
    MoodUpdated,
    Overload,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
    TranscriptPartial,
    Usage,
    Window,
    WordTiming,
)
from streamser.taxonomy import Dimensions

__all__ = ["examples"]

_SESSION = "sess_5f0c"
_FIRST = f"item_{_SESSION}_1"
_SECOND = f"item_{_SESSION}_2"


def examples() -> list[Event]:
    """Return the examples in the order in which a session sends them."""
    scores = {"neutral": 0.18, "happy": 0.61, "sad": 0.09, "angry": 0.12}
    dimensions = Dimensions(valence=0.64, arousal=0.31, dominance=None)
    delta = _emotion(dict.fromkeys(scores, 0.25), Dimensions(arousal=0.22), "audio", end=1700)
    final = _emotion(scores, dimensions, "audio", "text", end=2660)
    return [
        SessionCreated(
            **_envelope(1, None),
            session=SessionInfo(
                id=_SESSION,
                models=ModelNames(vad="silero", asr="pocketsphinx/en-us", emotion="rules"),
                silence_ms=500,
                max_utterance_ms=20_000,
            ),
        ),
        SpeechStarted(**_envelope(2, 320.4), item_id=_FIRST, audio_start_ms=640),
        TranscriptPartial(
            **_envelope(3, 46.1),
            item_id=_FIRST,
            text="it is a wonderful surprise",
            committed="it is a",
            revisable="wonderful surprise",
            audio_start_ms=640,
            audio_end_ms=1700,
        ),
        EmotionDelta(**_envelope(4, 46.2), item_id=_FIRST, emotion=delta),
        SpeechStopped(**_envelope(5, 341.0), item_id=_FIRST, audio_end_ms=2660, reason="pause"),
        Committed(**_envelope(6, None), item_id=_FIRST, previous_item_id=None),
        TranscriptionCompleted(
            **_envelope(7, 352.7),
            item_id=_FIRST,
            transcript="it is a wonderful surprise",
            language="en",
            confidence=0.83,
            words=(WordTiming(word="it", start_ms=840, end_ms=930, confidence=0.97),),
            usage=Usage(seconds=2.02),
            audio_start_ms=640,
            audio_end_ms=2660,
            emotion=final,
        ),
        EmotionCompleted(**_envelope(8, 352.8), item_id=_FIRST, emotion=final),
        MoodUpdated(
            **_envelope(9, 352.9),
            category="happy",
            scores=scores,
            dimensions=dimensions,
            shift=True,
            previous="neutral",
            audio_end_ms=2660,
        ),
        Overload(
            **_envelope(10, None),
            kind="partials",
            dropped=3,
            total=3,
            since_ms=4200,
            reason="full",
        ),
        TranscriptionFailed(
            **_envelope(11, 912.5),
            item_id=_SECOND,
            error=ErrorBody(
                type="server_error",
                code="overloaded",
                message="32 utterances are waiting already",
            ),
            audio_start_ms=4010,
            audio_end_ms=6230,
        ),
        Marker(**_envelope(12, None), id="end of question 1", audio_ms=6500),
        ErrorRaised(
            **_envelope(13, None),
            error=ErrorBody(
                type="server_error",
                code="device_lost",
                message="the microphone is gone; what was heard before is still analysed",
            ),
        ),
        SessionClosed(
            **_envelope(14, None),
            audio_ms=7040,
            speech_ms=4240,
            utterances=2,
            failed=1,
            partials_dropped=3,
            audio_dropped_ms=0,
        ),
    ]


def _envelope(seq: int, lag_ms: float | None) -> dict[str, Any]:
    return {
        "event_id": f"event_{_SESSION}_{seq}",
        "session_id": _SESSION,
        "seq": seq,
        "lag_ms": lag_ms,
    }


def _emotion(
    scores: dict[str, float], dimensions: Dimensions, *modalities: str, end: int
) -> EmotionBody:
    best = max(scores, key=scores.__getitem__)
    flat = len(set(scores.values())) == 1
    return EmotionBody(
        category="unsure" if flat else best,
        confidence=scores[best],
        scores=scores,
        dimensions=dimensions,
        uncertainty=1.0 if flat else 0.79,
        modalities=modalities,
        speaker=None,
        window=Window(start_ms=640, end_ms=end),
        model="rules",
        evidence={"f0_median_hz": 213.0},
    )
