"""The values inside events."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from streamser.taxonomy import CATEGORIES, Dimensions

__all__ = [
    "PROTOCOL",
    "AudioConfig",
    "AudioFormat",
    "AudioInput",
    "EmotionBody",
    "ErrorBody",
    "Finished",
    "Limits",
    "MeetingState",
    "ModelNames",
    "MoodBody",
    "PartEmotion",
    "Record",
    "Scale",
    "SessionInfo",
    "SessionState",
    "SpeakerChange",
    "SpeakerPart",
    "SpeakerState",
    "Stamp",
    "TranscriptionConfig",
    "TurnDetection",
    "Usage",
    "Window",
    "WordTiming",
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
    speaker: Annotated[
        str | None,
        Meta(
            description="Who spoke, where the client has said; else, in finals, whose voice it is."
        ),
    ]
    speaker_provisional: Annotated[
        bool, Meta(description="The speaker is a guess by the sound of the voice.")
    ] = False
    window: Annotated[Window, Meta(description="The sound that was judged.")]
    model: Annotated[str, Meta(description="What judged: `rules`, or a trained model by its name.")]
    evidence: Annotated[
        dict[str, float],
        Meta(
            description="Named measurements behind the judgement. In finals also how it was spoken:"
            " `speech_rate`, syllables a second by the sound alone; `pause_share` and"
            " `longest_pause_s`, of pauses of 0.2 s or more. They judge nothing."
        ),
    ] = {}


class PartEmotion(Record, frozen=True, kw_only=True):
    """What is read of one who speaks in an utterance, beside others: fields as in EmotionBody."""

    category: str
    confidence: float
    scores: dict[str, float]
    dimensions: Dimensions
    uncertainty: float
    modalities: Annotated[
        tuple[str, ...], Meta(description="`text`: words with times that were said in the part.")
    ]


class SpeakerPart(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Whose a stretch of an utterance is, in ms of audio."""

    start_ms: int
    end_ms: int
    speaker: Annotated[str | None, Meta(description="A guess by the voice; null: nobody can tell.")]
    emotion: Annotated[
        PartEmotion | None,
        Meta(
            description="Of the part alone, against what is usual for its speaker; not of parts"
            " under 1 s, and not told again where speakers change."
        ),
    ] = None


class SpeakerChange(Record, frozen=True, kw_only=True):
    """Whose an earlier utterance is after all."""

    item_id: str
    speaker: Annotated[
        str | None, Meta(description="Of several the one with most of its time; null: unknown.")
    ]
    parts: Annotated[
        tuple[SpeakerPart, ...], Meta(description="All of it, where several people speak in it.")
    ] = ()


class ErrorBody(Record, frozen=True, kw_only=True):
    """What went wrong, for programs (`code`) and people (`message`)."""

    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: Annotated[
        str | None, Meta(description="The field of the client's message that is at fault.")
    ] = None
    event_id: Annotated[
        str | None, Meta(description="The `event_id` of the client's message, if it had one.")
    ] = None


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
    asr_arithmetic: Annotated[
        str | None, Meta(description="Number format of the recogniser, where it says.")
    ] = None
    emotion: str


class AudioFormat(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How sound is written on its way to the server."""

    type: Annotated[
        Literal["audio/pcm", "audio/pcmu", "audio/pcma"],
        Meta(description="Little-endian PCM, or G.711 mu-law or A-law at 8 kHz."),
    ]
    rate: Annotated[int | None, Meta(description="`audio/pcm`: frames a second.")] = None
    encoding: Annotated[
        Literal["s16le", "f32le"], Meta(description="`audio/pcm`: how a sample is written.")
    ] = "s16le"


class TranscriptionConfig(Record, frozen=True, kw_only=True):
    """How speech becomes words."""

    model: str
    language: Annotated[str | None, Meta(description="null: detected, or the model's only one.")]
    prompt: str | None = None


class TurnDetection(Record, frozen=True, kw_only=True):
    """How utterances are found."""

    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Meta(description="Speech probability that counts as speech.")]
    prefix_padding_ms: Annotated[int, Meta(description="Sound kept before the first speech.")]
    silence_duration_ms: Annotated[int, Meta(description="Silence that ends an utterance.")]
    create_response: bool = False
    interrupt_response: bool = False


class AudioInput(Record, frozen=True, kw_only=True):
    """What is done with the sound of a session."""

    format: AudioFormat
    transcription: Annotated[
        TranscriptionConfig | None, Meta(description="null: the session is not transcribed.")
    ]
    turn_detection: Annotated[
        TurnDetection | None,
        Meta(description="null: utterances end where the client commits, or at the longest."),
    ]
    noise_reduction: None = None


class AudioConfig(Record, frozen=True, kw_only=True):
    """The sound of a session; there is only input."""

    input: AudioInput


class Limits(Record, frozen=True, kw_only=True):
    """What a server allows a session."""

    message_bytes: Annotated[int, Meta(description="Longest message.")]
    idle_s: Annotated[float, Meta(description="Without any message for so long, it is ended.")]
    session_s: Annotated[float, Meta(description="It is ended after so long.")]
    resume_s: Annotated[
        float, Meta(description="A stream whose client vanished is kept for so long.")
    ]
    speed: Annotated[float, Meta(description="Sound is taken at most at so many times real time.")]


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
    partial_every_ms: Annotated[
        int, Meta(description="A reading after so much more speech; 0: none.")
    ] = 0
    source: Annotated[
        str | None, Meta(description="Where the sound comes from: a file or a device.")
    ] = None
    speaker: Annotated[str | None, Meta(description="Who speaks, where the client has said.")] = (
        None
    )
    speakers: Annotated[
        Literal["auto", "off"] | int,
        Meta(description="Whether voices are told apart, and if it is known, how many people."),
    ] = "off"
    meeting: Annotated[
        str | None, Meta(description="The meeting it is part of, where the client has said.")
    ] = None
    ordered: Annotated[
        bool,
        Meta(description="All events come in the one order that no timing can change; no lag."),
    ] = False
    audio: Annotated[
        AudioConfig | None, Meta(description="Of a stream to a server: how it is sent and cut.")
    ] = None
    limits: Annotated[Limits | None, Meta(description="Of a stream to a server.")] = None


class MoodBody(Record, frozen=True, kw_only=True):
    """A mood: readings smoothed over turns and time."""

    category: Annotated[
        str, Meta(description="What it is called after the last turns, or `unsure`: see server.md.")
    ]
    scores: Annotated[dict[str, float], Meta(description="The smoothed scores; they sum to 1.")]
    dimensions: Annotated[
        Dimensions, Meta(description="The smoothed dimensions; null: never measured so far.")
    ]


class SpeakerState(Record, frozen=True, kw_only=True):
    """What a meeting knows of one speaker."""

    speaker: Annotated[
        str,
        Meta(
            description="The name, or the session's id where it has none. Of a guess: its label;"
            " from the second session that guesses on, with that session's number:"
            " `speaker 1 (stream 2)`."
        ),
    ]
    provisional: Annotated[
        bool, Meta(description="The speaker is a guess by the sound of the voice.")
    ] = False
    speaking: Annotated[bool, Meta(description="Whether an utterance of theirs is open.")]
    speech_ms: Annotated[int, Meta(description="How long they have spoken.")]
    share: Annotated[float, Meta(description="Their share of all speaking time, 0 to 1.")]
    utterances: Annotated[int, Meta(description="Utterances read or failed so far.")]
    mood: Annotated[MoodBody | None, Meta(description="null: nothing read yet.")]


class MeetingState(Record, frozen=True, kw_only=True):
    """A meeting as it is now."""

    meeting: str
    at_ms: Annotated[int, Meta(description="How long it has been going on.")]
    mood: Annotated[MoodBody | None, Meta(description="Of everybody; null: nothing read yet.")]
    speakers: Annotated[
        tuple[SpeakerState, ...], Meta(description="In the order in which they joined.")
    ]
    overlap_ms: Annotated[int, Meta(description="How long two or more spoke at once.")]
    more_speakers: Annotated[
        int,
        Meta(
            description="How many more there are: of the absent the longest unheard are not listed."
        ),
    ] = 0
    more_speakers_share: Annotated[
        float,
        Meta(description="Their share of all speaking time: with those of `speakers` it makes 1."),
    ] = 0.0


class SessionState(Record, frozen=True, kw_only=True):
    """A session that goes on, for a listener who comes late."""

    session: SessionInfo
    seq: Annotated[int, Meta(description="Of its last event so far.")]


class Finished(Record, frozen=True, kw_only=True):
    """An utterance that is over, for a listener who comes late."""

    session_id: str
    item_id: str
    speaker: Annotated[
        str | None, Meta(description="A guess where the emotion has `speaker_provisional`.")
    ]
    meeting: str | None
    at_ms: Annotated[int, Meta(description="When its final came, on the meeting's clock.")]
    lag_ms: float | None
    audio_start_ms: int
    audio_end_ms: int
    transcript: Annotated[str | None, Meta(description="null: not transcribed, or failed.")]
    distrusted: Annotated[
        str | None, Meta(description="Why the recogniser's text was withheld, if it was.")
    ] = None
    emotion: Annotated[EmotionBody | None, Meta(description="null: it could not be analysed.")]
    parts: Annotated[
        tuple[SpeakerPart, ...], Meta(description="Who speaks when, where several do.")
    ] = ()
    error: ErrorBody | None = None


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What a server adds to every event that it sends to listeners."""

    cursor: Annotated[
        int, Meta(description="Counts all events of the server, for `?after=`; never goes back.")
    ]
    meeting: Annotated[str | None, Meta(description="The meeting the event belongs to.")] = None
    at_ms: Annotated[
        int,
        Meta(description="When it was sent, ms since the meeting, or the session, began."),
    ] = 0
