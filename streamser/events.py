"""Every event that leaves the program; ``docs/protocol.md`` is generated from this file.

Names and fields of the transcription events are those of the OpenAI Realtime transcription
API (GA schema); what is ours is called ``streamser.*``. Clients must ignore fields and types
that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from streamser.taxonomy import CATEGORIES, Dimensions

__all__ = [
    "PROTOCOL",
    "AnyEvent",
    "Committed",
    "EmotionBody",
    "EmotionCompleted",
    "EmotionDelta",
    "ErrorBody",
    "ErrorRaised",
    "Event",
    "Marker",
    "ModelNames",
    "MoodUpdated",
    "Overload",
    "Scale",
    "SessionClosed",
    "SessionCreated",
    "SessionInfo",
    "SpeechStarted",
    "SpeechStopped",
    "TranscriptPartial",
    "TranscriptionCompleted",
    "TranscriptionFailed",
    "Usage",
    "Window",
    "WordTiming",
    "decode_event",
    "encode_event",
]

PROTOCOL = "streamser.v1"

ItemId: TypeAlias = Annotated[str, Meta(description="The utterance; unique within the session.")]
PreviousItemId: TypeAlias = Annotated[
    str | None, Meta(description="The utterance before it, null for the first.")
]
AudioStart: TypeAlias = Annotated[
    int, Meta(description="Where the utterance begins, pre-roll included, ms of audio.")
]
AudioEnd: TypeAlias = Annotated[
    int, Meta(description="Where the utterance ends, trailing padding included, ms of audio.")
]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A value inside events."""


class Window(Record, frozen=True, kw_only=True):
    """The stretch of sound that a judgement speaks of, in ms of audio."""

    start_ms: int
    end_ms: int


class WordTiming(Record, frozen=True, kw_only=True):
    """One word with its place in the audio."""

    word: str
    start_ms: int
    end_ms: int
    confidence: Annotated[float | None, Meta(description="0 to 1, where the engine says.")] = None


class EmotionBody(Record, frozen=True, kw_only=True):
    """One judgement of emotion, with how sure it is and what it rests on."""

    category: Annotated[
        str, Meta(description="The likeliest category, or `unsure` where the scores are flat.")
    ]
    confidence: Annotated[float, Meta(description="Probability of the likeliest category, 0 to 1.")]
    scores: Annotated[
        dict[str, float],
        Meta(description="Probability of every category; they sum to 1, but for rounding."),
    ]
    dimensions: Annotated[
        Dimensions, Meta(description="Valence, arousal, dominance in [-1, 1]; null: not measured.")
    ]
    uncertainty: Annotated[float, Meta(description="Normalised entropy of the scores, 0 to 1.")]
    modalities: Annotated[
        tuple[str, ...], Meta(description="What was used: `audio`, `text`, both, or nothing.")
    ]
    speaker: Annotated[str | None, Meta(description="Who spoke, where the client has said.")]
    window: Annotated[Window, Meta(description="The sound that was judged.")]
    model: Annotated[str, Meta(description="What judged: `rules`, or a trained model by its name.")]
    evidence: Annotated[
        dict[str, float], Meta(description="Named measurements behind the judgement.")
    ] = {}


class ErrorBody(Record, frozen=True, kw_only=True):
    """What went wrong, for programs (`code`) and people (`message`)."""

    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None


class Usage(Record, frozen=True, kw_only=True):
    """How much sound a transcription was made from."""

    type: Literal["duration"] = "duration"
    seconds: float


class Scale(Record, frozen=True, kw_only=True):
    """The range of a dimension and what its ends mean."""

    min: float
    max: float
    low: str
    high: str


def _scales() -> dict[str, Scale]:
    return {
        "valence": Scale(min=-1, max=1, low="negative", high="positive"),
        "arousal": Scale(min=-1, max=1, low="calm", high="excited"),
        "dominance": Scale(min=-1, max=1, low="submissive", high="dominant"),
    }


class ModelNames(Record, frozen=True, kw_only=True):
    """The engines at work in a session."""

    vad: str
    asr: Annotated[str | None, Meta(description="null: the session is not transcribed.")]
    emotion: str


class SessionInfo(Record, frozen=True, kw_only=True):
    """A session as it is set up."""

    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    type: Literal["transcription"] = "transcription"
    protocol: str = PROTOCOL
    models: ModelNames
    categories: tuple[str, ...] = CATEGORIES
    scales: dict[str, Scale] = msgspec.field(default_factory=_scales)
    silence_ms: Annotated[int, Meta(description="Silence that ends an utterance (hangover).")]
    max_utterance_ms: Annotated[int, Meta(description="An utterance is cut at this length.")]
    source: Annotated[
        str | None, Meta(description="Where the sound comes from: a file or a device.")
    ] = None
    speaker: Annotated[str | None, Meta(description="Who speaks, where the client has said.")] = (
        None
    )


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event carries."""

    event_id: Annotated[str, Meta(description="Unique; made of session and `seq`.")]
    session_id: Annotated[str, Meta(description="The stream of sound that the event belongs to.")]
    seq: Annotated[int, Meta(description="Counts the session's events from 1, without gaps.")]
    lag_ms: Annotated[
        float | None,
        Meta(description="Wall time since the last sound the event speaks of arrived, in ms."),
    ] = None

    @property
    def clock_ms(self) -> int | None:
        """Return the place in the audio that ``lag_ms`` is counted from, in ms."""
        return None


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created"):
    """The first event of a session: what it is, which models work in it, labels and scales."""

    session: SessionInfo


class SpeechStarted(Event, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """Somebody has begun to speak."""

    item_id: ItemId
    audio_start_ms: AudioStart

    @property
    def clock_ms(self) -> int:
        """Return where the utterance begins."""
        return self.audio_start_ms


class SpeechStopped(Event, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """The utterance is over: the pause was long enough, it was too long, or the stream ended."""

    item_id: ItemId
    audio_end_ms: AudioEnd
    reason: Annotated[
        Literal["pause", "max_length", "flush"], Meta(description="Why it ended here.")
    ]

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
        return self.audio_end_ms


class Committed(Event, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    """The utterance has been handed to the models; its final event will follow."""

    item_id: ItemId
    previous_item_id: PreviousItemId


class TranscriptPartial(Event, frozen=True, kw_only=True, tag="streamser.transcript.partial"):
    """What has been understood so far; replaces the previous partial of the utterance."""

    item_id: ItemId
    text: Annotated[str, Meta(description="`committed` and `revisable` together.")]
    committed: Annotated[str, Meta(description="Words that later partials will not change.")]
    revisable: Annotated[str, Meta(description="Words that may still change.")]
    audio_start_ms: AudioStart
    audio_end_ms: Annotated[int, Meta(description="How far has been listened, ms of audio.")]

    @property
    def clock_ms(self) -> int:
        """Return how far has been listened."""
        return self.audio_end_ms


class EmotionDelta(Event, frozen=True, kw_only=True, tag="streamser.emotion.delta"):
    """The emotion of the last seconds of an utterance that is still going on."""

    item_id: ItemId
    emotion: EmotionBody

    @property
    def clock_ms(self) -> int:
        """Return the end of the judged window."""
        return self.emotion.window.end_ms


class TranscriptionCompleted(
    Event, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    """What was said in an utterance, and the emotion in it; not sent where ASR is off."""

    item_id: ItemId
    content_index: int = 0
    transcript: Annotated[
        str, Meta(description="Empty where nothing was understood, or it was not to be trusted.")
    ]
    language: str | None = None
    confidence: Annotated[float | None, Meta(description="0 to 1, where the engine says.")] = None
    words: tuple[WordTiming, ...] = ()
    distrusted: Annotated[
        str | None, Meta(description="Why the recogniser's text was withheld, if it was.")
    ] = None
    usage: Usage
    audio_start_ms: AudioStart
    audio_end_ms: AudioEnd
    emotion: EmotionBody

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
        return self.audio_end_ms


class EmotionCompleted(Event, frozen=True, kw_only=True, tag="streamser.emotion.completed"):
    """The emotion of a whole utterance; one for each committed utterance that did not fail."""

    item_id: ItemId
    emotion: EmotionBody

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
        return self.emotion.window.end_ms


class TranscriptionFailed(
    Event, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"
):
    """An utterance could not be analysed; takes the place of its final events."""

    item_id: ItemId
    content_index: int = 0
    error: ErrorBody
    audio_start_ms: AudioStart
    audio_end_ms: AudioEnd

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
        return self.audio_end_ms


class MoodUpdated(Event, frozen=True, kw_only=True, tag="streamser.mood.updated"):
    """The smoothed mood of the session after a final."""

    category: Annotated[
        str, Meta(description="The leading category; it changes with hysteresis, or is `unsure`.")
    ]
    scores: Annotated[dict[str, float], Meta(description="The smoothed scores.")]
    dimensions: Annotated[
        Dimensions, Meta(description="The smoothed dimensions; null: never measured so far.")
    ]
    shift: Annotated[bool, Meta(description="True if the leading category has just changed.")]
    previous: Annotated[str | None, Meta(description="The leading category before the shift.")]
    speaker: Annotated[str | None, Meta(description="Who spoke, where the client has said.")] = None
    audio_end_ms: Annotated[int, Meta(description="Up to where the mood was followed.")]

    @property
    def clock_ms(self) -> int:
        """Return up to where the mood was followed."""
        return self.audio_end_ms


class Overload(Event, frozen=True, kw_only=True, tag="streamser.overload"):
    """Something was given up to keep pace; advice, not a fault."""

    kind: Annotated[
        Literal["partials", "audio"],
        Meta(description="`partials`: readings skipped. `audio`: sound lost, replaced by silence."),
    ]
    dropped: Annotated[
        int, Meta(description="Readings, or ms of sound (0: unknown), since the last such event.")
    ]
    total: Annotated[int, Meta(description="The same since the session began.")]
    since_ms: Annotated[int, Meta(description="Since where in the audio.")]
    reason: Annotated[
        str,
        Meta(description="`full`, `failed`: partials; `dropped`, `overflow`: sound."),
    ]


class Marker(Event, frozen=True, kw_only=True, tag="streamser.marker"):
    """Echo of a marker: everything about the sound before it has been sent."""

    id: Annotated[str, Meta(description="The marker's own name.")]
    audio_ms: Annotated[int, Meta(description="Where in the audio the marker was set.")]


class ErrorRaised(Event, frozen=True, kw_only=True, tag="error"):
    """A fault of the session or its source; the session goes on unless it says it is closed."""

    error: ErrorBody


class SessionClosed(Event, frozen=True, kw_only=True, tag="streamser.session.closed"):
    """The last event of a session: what there was in it."""

    audio_ms: Annotated[int, Meta(description="Length of the audio.")]
    speech_ms: Annotated[int, Meta(description="Length of all utterances together.")]
    utterances: Annotated[int, Meta(description="How many there were.")]
    failed: Annotated[int, Meta(description="Utterances that could not be analysed.")]
    partials_dropped: Annotated[
        int, Meta(description="Readings left out, or overtaken by a newer one before they began.")
    ]
    audio_dropped_ms: Annotated[int, Meta(description="Sound lost, where known how much.")]


AnyEvent: TypeAlias = (
    SessionCreated
    | SpeechStarted
    | SpeechStopped
    | Committed
    | TranscriptPartial
    | EmotionDelta
    | TranscriptionCompleted
    | EmotionCompleted
    | TranscriptionFailed
    | MoodUpdated
    | Overload
    | Marker
    | ErrorRaised
    | SessionClosed
)


def encode_event(event: Event) -> bytes:
    """Encode an event as one line of JSON, without the line break."""
    return msgspec.json.encode(event)


def decode_event(line: bytes | str) -> AnyEvent:
    """Decode a line of JSON; raises ``msgspec.ValidationError`` for an unknown type."""
    event: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
    return event
