"""Every event that leaves the program; ``docs/protocol.md`` is generated from this package.

Names and fields of the transcription events are those of the OpenAI Realtime transcription
API (GA schema); what is ours is called ``streamser.*``. Clients must ignore fields and types
that they do not know.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from streamser.events.meeting import (
    ListenerEvent,
    MeetingUpdated,
    MoodShifted,
    Placed,
    Snapshot,
    Stamp,
)
from streamser.events.session import (
    Advice,
    Cleared,
    Committed,
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    ErrorRaised,
    Event,
    Marker,
    MoodUpdated,
    Overload,
    SessionClosed,
    SessionCreated,
    SessionEvent,
    SessionResumed,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptPartial,
)
from streamser.events.values import (
    PROTOCOL,
    AudioConfig,
    AudioFormat,
    AudioInput,
    EmotionBody,
    ErrorBody,
    Finished,
    Limits,
    MeetingState,
    ModelNames,
    MoodBody,
    Record,
    Scale,
    SessionInfo,
    SessionState,
    SpeakerState,
    TranscriptionConfig,
    TurnDetection,
    Usage,
    Window,
    WordTiming,
)

__all__ = [
    "PROTOCOL",
    "Advice",
    "AnyEvent",
    "AudioConfig",
    "AudioFormat",
    "AudioInput",
    "Cleared",
    "Committed",
    "EmotionBody",
    "EmotionCompleted",
    "EmotionDelta",
    "EmotionProvisional",
    "ErrorBody",
    "ErrorRaised",
    "Event",
    "Finished",
    "Limits",
    "ListenerEvent",
    "Marker",
    "MeetingState",
    "MeetingUpdated",
    "ModelNames",
    "MoodBody",
    "MoodShifted",
    "MoodUpdated",
    "Overload",
    "Placed",
    "Record",
    "Scale",
    "SessionClosed",
    "SessionCreated",
    "SessionEvent",
    "SessionInfo",
    "SessionResumed",
    "SessionState",
    "SessionUpdated",
    "Snapshot",
    "SpeakerState",
    "SpeechStarted",
    "SpeechStopped",
    "Stamp",
    "TranscriptPartial",
    "TranscriptionCompleted",
    "TranscriptionConfig",
    "TranscriptionDelta",
    "TranscriptionFailed",
    "TurnDetection",
    "Usage",
    "Window",
    "WordTiming",
    "decode_event",
    "encode_event",
]

AnyEvent: TypeAlias = SessionEvent | ListenerEvent


def encode_event(event: Event | ListenerEvent) -> bytes:
    """Encode an event as one line of JSON, without the line break."""
    return msgspec.json.encode(event)


def decode_event(line: bytes | str) -> AnyEvent:
    """Decode a line of JSON.

    Raises ``msgspec.ValidationError`` for an unknown type, and ``msgspec.DecodeError``, which
    that is too, for what is no JSON, no text, or nested too deeply to be read.
    """
    try:
        event: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
    except (RecursionError, UnicodeError) as error:
        raise msgspec.DecodeError(f"this cannot be read: {error}") from None
    return event
