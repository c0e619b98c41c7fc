"""The events of one session, from its first to its last, and what only listeners hear besides.

Listeners of a server hear of meetings, and of what they have missed.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from streamser.events.values import (
    PROTOCOL,
    AudioEnd,
    AudioStart,
    EmotionBody,
    ErrorBody,
    Finished,
    ItemId,
    MeetingState,
    PreviousItemId,
    SessionInfo,
    SessionState,
    SpeakerChange,
    SpeakerPart,
    Usage,
    WordTiming,
)
from streamser.taxonomy import Dimensions

__all__ = [
    "Advice",
    "AnyEvent",
    "Cleared",
    "Committed",
    "EmotionCompleted",
    "EmotionDelta",
    "EmotionProvisional",
    "ErrorRaised",
    "Event",
    "ListenerEvent",
    "Marker",
    "MeetingUpdated",
    "MoodShifted",
    "MoodUpdated",
    "Overload",
    "Placed",
    "SessionClosed",
    "SessionCreated",
    "SessionEvent",
    "SessionResumed",
    "SessionUpdated",
    "Snapshot",
    "SpeakersChanged",
    "SpeechStarted",
    "SpeechStopped",
    "TranscriptPartial",
    "TranscriptionCompleted",
    "TranscriptionDelta",
    "TranscriptionFailed",
    "decode_event",
    "encode_event",
]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event carries."""

    event_id: Annotated[str, Meta(description="Unique; made of session and `seq`.")]
    session_id: Annotated[str, Meta(description="The stream of sound that the event belongs to.")]
    seq: Annotated[int, Meta(description="Counts the session's events from 1, without gaps.")]
    lag_ms: Annotated[
        float | None,
        Meta(
            description="Wall time since the last sound the event speaks of arrived, in ms."
            " At a server: in its socket, or, of a client faster than it may be, when it was due."
        ),
    ] = None

    @property
    def type(self) -> str:
        """Return the name of its kind, as the protocol has it."""
        return str(self.__struct_config__.tag)

    @property
    def clock_ms(self) -> int | None:
        """Return the place in the audio that ``lag_ms`` is counted from, in ms."""
        return None


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created"):
    """The first event of a session: what it is, which models work in it, labels and scales."""

    session: SessionInfo


class SessionUpdated(Event, frozen=True, kw_only=True, tag="session.updated"):
    """The settings of a session have changed; this is all that is in force now."""

    session: SessionInfo


class SessionResumed(Event, frozen=True, kw_only=True, tag="streamser.session.resumed"):
    """The client of a stream is back; what it missed has just been sent again."""

    received_frames: Annotated[
        int,
        Meta(description="Frames of sound received so far, at the stream's rate: send on there."),
    ]
    lost_events: Annotated[
        int,
        Meta(description="Events after `after=` that are kept no more and were not sent again."),
    ] = 0
    lost_finals: Annotated[
        int, Meta(description="How many of them were finals: send their sound anew to have them.")
    ] = 0


class SpeechStarted(Event, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """Somebody has begun to speak."""

    item_id: ItemId
    audio_start_ms: AudioStart

    @property
    def clock_ms(self) -> int:
        """Return where the utterance begins."""
        return self.audio_start_ms


class SpeechStopped(Event, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """The utterance is over: by a pause, its length, the client, or the end of the sound."""

    item_id: ItemId
    audio_end_ms: AudioEnd
    reason: Annotated[
        Literal["pause", "max_length", "commit", "no_sound", "flush"],
        Meta(
            description="Why it ended here: `commit`: the client said so; `no_sound`: nothing came"
            " any more, not even silence."
        ),
    ]

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
        return self.audio_end_ms


class Committed(Event, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    """The utterance has been handed to the models; its final event will follow."""

    item_id: ItemId
    previous_item_id: PreviousItemId


class Cleared(Event, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    """The sound of the utterance that was open, or not yet committed, has been thrown away."""


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


class TranscriptionDelta(
    Event, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.delta"
):
    """Words that are settled now; they follow those of the deltas before."""

    item_id: ItemId
    content_index: int = 0
    delta: Annotated[str, Meta(description="To be appended as it is.")]


class EmotionDelta(Event, frozen=True, kw_only=True, tag="streamser.emotion.delta"):
    """The emotion of the last seconds of an utterance that is still going on."""

    item_id: ItemId
    emotion: EmotionBody

    @property
    def clock_ms(self) -> int:
        """Return the end of the judged window."""
        return self.emotion.window.end_ms


class EmotionProvisional(Event, frozen=True, kw_only=True, tag="streamser.emotion.provisional"):
    """What the voice alone says of an utterance that is over, whose words are late.

    The final reading, with words, follows and takes its place.
    """

    item_id: ItemId
    emotion: EmotionBody

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
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
    parts: Annotated[
        tuple[SpeakerPart, ...],
        Meta(description="Who speaks when, where several do; `emotion` above is of all of it."),
    ] = ()

    @property
    def clock_ms(self) -> int:
        """Return where the utterance ends."""
        return self.emotion.window.end_ms


class SpeakersChanged(Event, frozen=True, kw_only=True, tag="streamser.speakers.changed"):
    """Who spoke earlier is known better now; emotions that were told stay as they are.

    First `renamed` holds, for everything told before, moods too; then `changes`.
    """

    changes: Annotated[
        tuple[SpeakerChange, ...],
        Meta(description="Utterances that are another's after all."),
    ] = ()
    renamed: Annotated[
        dict[str, str], Meta(description="What had one label, ever, has another from now on.")
    ] = {}


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
        str, Meta(description="What it is called after the last turns, or `unsure`: see server.md.")
    ]
    scores: Annotated[dict[str, float], Meta(description="The smoothed scores.")]
    dimensions: Annotated[
        Dimensions, Meta(description="The smoothed dimensions; null: never measured so far.")
    ]
    shift: Annotated[bool, Meta(description="True if it has just got another name than it had.")]
    previous: Annotated[str | None, Meta(description="The name before the last shift.")]
    speaker: Annotated[
        str | None,
        Meta(description="Who spoke, where the client has said; else whose voice it is."),
    ] = None
    speaker_provisional: Annotated[
        bool, Meta(description="The speaker is a guess by the sound of the voice.")
    ] = False
    audio_end_ms: Annotated[int, Meta(description="Up to where the mood was followed.")]

    @property
    def clock_ms(self) -> int:
        """Return up to where the mood was followed."""
        return self.audio_end_ms


class Overload(Event, frozen=True, kw_only=True, tag="streamser.overload"):
    """Something was given up to keep pace; advice, not a fault."""

    kind: Annotated[
        Literal["partials", "audio", "deltas", "finals"],
        Meta(
            description="`partials`: readings skipped. `audio`: sound lost, replaced by silence."
            " `deltas`: events not sent to this slow connection; it stands in their place."
            " `finals`: told later than `server.late_s`, not lost; to the stream's client alone."
        ),
    ]
    dropped: Annotated[
        int, Meta(description="Readings, events, or ms of sound (0: unknown), since the last told.")
    ]
    total: Annotated[int, Meta(description="The same since the session began.")]
    since_ms: Annotated[int, Meta(description="Since where in the audio.")]
    reason: Annotated[
        str,
        Meta(
            description="`full`, `failed`: partials; `dropped`, `overflow`: sound; `slow`: deltas;"
            " `late`: finals."
        ),
    ]


class Advice(Event, frozen=True, kw_only=True, tag="streamser.advice"):
    """The sound is likely not what it was said to be; told once a stream, which goes on."""

    kind: Annotated[
        Literal["container", "byte_order", "encoding", "scale"],
        Meta(
            description="`container`: a file, not samples. `byte_order`: big endian, or begun"
            " within a sample. `encoding`: floats as integers, or reverse. `scale`: floats over 1."
        ),
    ]
    message: Annotated[str, Meta(description="What to do, for people.")]


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


SessionEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | SessionResumed
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | TranscriptPartial
    | TranscriptionDelta
    | EmotionDelta
    | EmotionProvisional
    | TranscriptionCompleted
    | EmotionCompleted
    | TranscriptionFailed
    | SpeakersChanged
    | MoodUpdated
    | Overload
    | Advice
    | Marker
    | ErrorRaised
    | SessionClosed
)

EventId: TypeAlias = Annotated[str, Meta(description="Unique.")]


class Placed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event of a meeting carries."""

    event_id: EventId

    @property
    def type(self) -> str:
        """Return the name of its kind, as the protocol has it."""
        return str(self.__struct_config__.tag)


class Snapshot(Placed, frozen=True, kw_only=True, tag="streamser.snapshot"):
    """The first event for a listener: everything it would know had it been there before."""

    protocol: str = PROTOCOL
    cursor: Annotated[
        int, Meta(description="Everything up to this `cursor` is in it; live events follow.")
    ]
    replay_from: Annotated[
        int | None,
        Meta(description="Events from this one on are sent again first, for `?after=`."),
    ]
    lost: Annotated[
        bool,
        Meta(
            description="True: `?after=` is too old; some events cannot be sent again."
            " Never for `after=0`, which asks for all there is."
        ),
    ]
    playback: Annotated[
        float | None,
        Meta(
            description="A recording is played back, so many times as fast as it was, and `at_ms`"
            " is the recording's; null: everything is live."
        ),
    ] = None
    sessions: Annotated[tuple[SessionState, ...], Meta(description="Those that go on.")]
    meetings: Annotated[
        tuple[MeetingState, ...],
        Meta(description="A snapshot has 2 MiB at most; of what is over the oldest is left out."),
    ]
    finals: Annotated[
        tuple[Finished, ...], Meta(description="The last finished utterances, the oldest first.")
    ]


class MeetingUpdated(
    MeetingState, frozen=True, kw_only=True, tag_field="type", tag="streamser.meeting.updated"
):
    """The mood and the speakers of a meeting after a final, or a provisional reading.

    Moods count a provisional reading as if it were the final, until that takes its place.
    """

    event_id: EventId

    @property
    def type(self) -> str:
        """Return the name of its kind, as the protocol has it."""
        return str(self.__struct_config__.tag)


class MoodShifted(Placed, frozen=True, kw_only=True, tag="streamser.mood.shifted"):
    """The leading category of a speaker, or of a whole meeting, has changed."""

    meeting: str
    at_ms: int
    speaker: Annotated[str | None, Meta(description="null: the mood of the whole meeting.")]
    category: str
    previous: str


ListenerEvent: TypeAlias = Snapshot | MeetingUpdated | MoodShifted

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
