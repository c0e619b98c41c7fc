"""Good conversations, of clients and of servers, to be spoilt."""

from __future__ import annotations

import base64
import json
from typing import Any

from streamser.events import (
    AudioConfig,
    AudioFormat,
    AudioInput,
    Cleared,
    Committed,
    EmotionBody,
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    ErrorBody,
    ErrorRaised,
    Event,
    Limits,
    Marker,
    ModelNames,
    MoodUpdated,
    Overload,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SessionResumed,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionConfig,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptPartial,
    TurnDetection,
    Usage,
    Window,
    WordTiming,
    encode_event,
)
from streamser.taxonomy import Dimensions
from tests.server.ingest.bots import attendee, pieces, presence, recall

__all__ = ["ANSWERS", "BOTS", "EVENTS", "FORMATS", "REALTIME", "TARGETS"]

FORMATS = [
    AudioFormat(type="audio/pcm", rate=16_000),
    AudioFormat(type="audio/pcm", rate=48_000, encoding="f32le"),
    AudioFormat(type="audio/pcmu"),
    AudioFormat(type="audio/pcma"),
]


def _say(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "event_id": "e1", **fields})


def _update(own: dict[str, Any] | None = None, **sound: Any) -> str:
    session = {"type": "transcription", "audio": {"input": sound}, "streamser": own or {}}
    return _say("session.update", session=session)


REALTIME = [
    [
        _update(
            {"partial_every_ms": 300, "ordered": True, "speaker": "Anna"},
            format={"type": "audio/pcm", "rate": 16_000, "encoding": "f32le"},
            transcription={"model": "x", "language": "en", "prompt": "names"},
            turn_detection={
                "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            },
        ),
        _say("input_audio_buffer.append", audio=base64.b64encode(bytes(range(64))).decode()),
        "\1abcdefgh",
        _say("streamser.marker", id="here"),
        _say("streamser.finish"),
    ],
    [
        _update(turn_detection={"type": "semantic_vad", "eagerness": "high"}, transcription=None),
        _say("input_audio_buffer.commit"),
        _update(turn_detection=None, format={"type": "audio/pcmu"}),
        _say("input_audio_buffer.clear"),
        _say("transcription_session.update"),
    ],
]  # fmt: skip

_DEEPGRAM = ['{"type": "KeepAlive"}', '{"type": "Finalize"}', "\1abcd", '{"type": "CloseStream"}']

_ORUK = [
    json.dumps({"type": "session.update", "session": {
        "model": "oruk-realtime", "language": "auto", "sample_rate": 16_000, "diarize": True,
        "phrase_silence_ms": 600, "phrase_max_ms": 8000, "word_timestamps": False,
    }}),
    "\1abcd", _say("input_audio_buffer.append", audio="YWI="), _say("input_audio_buffer.commit"),
]  # fmt: skip

TARGETS = [
    [
        "/v1/realtime?speaker=Anna&meeting=Team%20A&rate=16000&encoding=s16le"
        "&stream=0123456789abcdef&after=12",
        "localhost:8377", "http://localhost:8377", "Bearer a-long-enough-token", "realtime",
        *REALTIME[1],
    ],
    [
        "/v1/listen?encoding=linear16&sample_rate=16000&channels=1&endpointing=300"
        "&interim_results=true&vad_events=true&utterance_end_ms=1000&model=nova&speaker=B",
        "127.0.0.1:8377", "", "Token a-long-enough-token", "", *_DEEPGRAM,
    ],
    ["/v1/listen?endpointing=false", "[::1]:8377", "https://example.com", "",
     "token, a-long-enough-token", *_DEEPGRAM],
    ["/v1/realtime?model=oruk-realtime", "localhost:8377", "", "Bearer a-long-enough-token",
     "oruk-realtime", *_ORUK],
    ["/v1/events?meeting=Team&types=error,streamser.marker&after=3&token=a-long-enough-token",
     "localhost", "null", "", "streamser.v1, streamser.token.a-long-enough-token"],
    ["/v1/events?all", "localhost", "", "", "openai-insecure-api-key.a-long-enough-token"],
]  # fmt: skip

_INFO = SessionInfo(
    id="s",
    models=ModelNames(vad="silero", asr="whisper", emotion="compact"),
    silence_ms=500,
    max_utterance_ms=20_000,
    speaker="Anna",
    meeting="Team",
    audio=AudioConfig(
        input=AudioInput(
            format=AudioFormat(type="audio/pcm", rate=8000),
            transcription=TranscriptionConfig(model="x", language=None),
            turn_detection=TurnDetection(
                threshold=0.5, prefix_padding_ms=200, silence_duration_ms=500
            ),
        )
    ),
    limits=Limits(message_bytes=32_768, idle_s=300, session_s=14_400, resume_s=30, speed=8),
)


def _emotion(category: str, start: int, end: int, guess: str | None = None) -> EmotionBody:
    scores = dict.fromkeys(("neutral", "happy", "sad", "angry"), 0.1) | {category: 0.7}
    return EmotionBody(
        category=category,
        confidence=0.7,
        scores=scores,
        dimensions=Dimensions(0.2, -0.3, None),
        uncertainty=0.6,
        modalities=("audio", "text"),
        speaker=guess,
        speaker_provisional=guess is not None,
        window=Window(start_ms=start, end_ms=end),
        model="rules",
        evidence={"pitch": 120.0},
    )


def _utterance(item: str, start: int, end: int, category: str, guess: str | None) -> list[Any]:
    emotion = _emotion(category, start, end, guess)
    place = {"item_id": item, "audio_start_ms": start, "audio_end_ms": end}
    return [
        (SpeechStarted, {"item_id": item, "audio_start_ms": start}),
        (TranscriptPartial, {"text": "a b", "committed": "a", "revisable": "b", **place}),
        (EmotionDelta, {"item_id": item, "emotion": emotion}),
        (SpeechStopped, {"item_id": item, "audio_end_ms": end, "reason": "commit"}),
        (Committed, {"item_id": item, "previous_item_id": None}),
        (EmotionProvisional, {"item_id": item, "emotion": emotion}),
        (TranscriptionDelta, {"item_id": item, "delta": "a b"}),
        (
            TranscriptionCompleted,
            {
                "transcript": "a b",
                "words": (WordTiming(word="a", start_ms=start, end_ms=end),),
                "usage": Usage(seconds=1.0),
                "emotion": emotion,
                **place,
            },
        ),
        (EmotionCompleted, {"item_id": item, "emotion": emotion}),
        (
            MoodUpdated,
            {
                "category": category,
                "scores": emotion.scores,
                "dimensions": emotion.dimensions,
                "shift": False,
                "previous": None,
                "audio_end_ms": end,
            },
        ),
    ]


def _tell(parts: list[Any]) -> list[str]:
    told: list[str] = []
    for seq, (kind, fields) in enumerate(parts, 1):
        event: Event = kind(event_id=f"e{seq}", session_id="s", seq=seq, lag_ms=12.5, **fields)
        line = encode_event(event).decode()
        told.append(line if seq % 2 else f'{line[:-1]},"cursor":{seq},"meeting":"m","at_ms":9}}')
    return told


_SUMS = {
    "audio_ms": 4000,
    "speech_ms": 2400,
    "utterances": 2,
    "failed": 0,
    "partials_dropped": 0,
    "audio_dropped_ms": 0,
}
_FAULT = ErrorBody(type="server_error", code="x", message="y", event_id="client_1")
EVENTS = [
    _tell(
        [
            (SessionCreated, {"session": _INFO}),
            (SessionUpdated, {"session": _INFO}),
            *_utterance("a", 100, 1500, "happy", None),
            (Marker, {"id": "streamser.client.1", "audio_ms": 1800}),
            *_utterance("b", 2000, 3000, "sad", "speaker 1"),
            (SessionClosed, _SUMS),
        ]
    ),
    _tell(
        [
            (SessionCreated, {"session": _INFO}),
            (SessionResumed, {"received_frames": 800}),
            (Cleared, {}),
            (SpeechStarted, {"item_id": "a", "audio_start_ms": 100}),
            (ErrorRaised, {"error": _FAULT}),
            (
                TranscriptionFailed,
                {"item_id": "a", "error": _FAULT, "audio_start_ms": 1, "audio_end_ms": 900},
            ),
            (
                Overload,
                {"kind": "audio", "dropped": 1, "total": 1, "since_ms": 5, "reason": "dropped"},
            ),
        ]
    ),
]

_REFUSAL = '{"error": {"type": "server_error", "code": "busy", "message": "try again"}}'
ANSWERS = [
    ["503", "5", "too_many_sessions; retry in 5 s", _REFUSAL],
    ["1013", "", "too_many_sessions; retry in 5 s", ""],
    ["401", "Wed, 21 Oct 2026 07:28:00 GMT", "", _REFUSAL],
]

_PIECES = list(pieces("16778240", bytes(range(256)) * 50))
BOTS = [
    [json.dumps(attendee(piece, sequence=number)) for number, piece in enumerate(_PIECES)],
    [
        json.dumps(presence("join", "16778240", "Ann")),
        *(json.dumps(recall(piece, "Ann")) for piece in _PIECES),
        json.dumps(presence("leave", "16778240", None)),
    ],
]
