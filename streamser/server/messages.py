"""The messages of a client on ``/v1/realtime``: OpenAI's for transcription (GA), and ours."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = [
    "AppendMessage",
    "AudioInputUpdate",
    "AudioUpdate",
    "ClearMessage",
    "ClientMessage",
    "CommitMessage",
    "FinishMessage",
    "FormatUpdate",
    "MarkerMessage",
    "OwnUpdate",
    "SemanticVad",
    "ServerVad",
    "SessionChange",
    "TranscriptionUpdate",
    "UpdateMessage",
]


class ClientRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A value in a client's message; what is absent stays as it is, what is unknown is ignored.

    Numbers are also taken with a point, as some languages write all of theirs. An object that is
    null is absent, unless it says otherwise.
    """


class FormatUpdate(ClientRecord, frozen=True, kw_only=True):
    """How the sound is written from here on."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] | None = "audio/pcm"
    rate: Annotated[
        float | None, Meta(description="`audio/pcm`: 8000 to 192000 frames a second; null: 24000.")
    ] = None
    encoding: Literal["s16le", "f32le"] | None = "s16le"


class TranscriptionUpdate(ClientRecord, frozen=True, kw_only=True):
    """Which words are wanted; the server's model is the one it has, whatever is asked for."""

    model: str | None = None
    language: Annotated[
        str | None,
        Meta(description="A code such as `de` or `pt-BR`; null: as the server is set up."),
    ] = None
    prompt: Annotated[str | None, Meta(description="Not used; its beginning is told again.")] = None


class ServerVad(msgspec.Struct, frozen=True, kw_only=True, tag="server_vad", tag_field="type"):
    """Find utterances by pauses; what is absent is as the server is set up."""

    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    prefix_padding_ms: Annotated[float, Meta(ge=0, le=10_000)] | None = None
    silence_duration_ms: Annotated[
        Annotated[float, Meta(ge=0, le=60_000)] | None, Meta(description="Under 60: 60.")
    ] = None


class SemanticVad(msgspec.Struct, frozen=True, kw_only=True, tag="semantic_vad", tag_field="type"):
    """Find utterances by pauses, longer or shorter; this server knows no other way."""

    eagerness: Literal["low", "medium", "high", "auto"] | None = "auto"


class AudioInputUpdate(ClientRecord, frozen=True, kw_only=True):
    """What changes about the sound of a session."""

    format: FormatUpdate | UnsetType | None = UNSET
    transcription: Annotated[
        TranscriptionUpdate | UnsetType | None, Meta(description="null: no words, only emotion.")
    ] = UNSET
    turn_detection: Annotated[
        ServerVad | SemanticVad | UnsetType | None,
        Meta(description="null: utterances end where the client commits."),
    ] = UNSET


class AudioUpdate(ClientRecord, frozen=True, kw_only=True):
    """What changes about the sound of a session; there is only input."""

    input: AudioInputUpdate | None = AudioInputUpdate()


class OwnUpdate(ClientRecord, frozen=True, kw_only=True):
    """What changes about the settings that are ours."""

    partial_every_ms: Annotated[
        Annotated[float, Meta(ge=0, le=60_000)] | UnsetType | None,
        Meta(description="Speech between partials; 0: none."),
    ] = UNSET
    ordered: Annotated[
        bool | UnsetType | None,
        Meta(description="One order of all events, whatever the timing; before any sound."),
    ] = UNSET
    speaker: Annotated[
        Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType | None,
        Meta(description="Who speaks from here on."),
    ] = UNSET


class SessionChange(ClientRecord, frozen=True, kw_only=True):
    """What changes about a session."""

    type: Literal["transcription"] | None = "transcription"
    audio: AudioUpdate | None = AudioUpdate()
    streamser: OwnUpdate | None = OwnUpdate()


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every message may carry."""

    event_id: Annotated[str, Meta(max_length=512)] | None = None


class UpdateMessage(Message, frozen=True, kw_only=True, tag="session.update"):
    """Change the settings; answered by `session.updated` with all that is in force."""

    session: SessionChange


class AppendMessage(Message, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """Send sound, in base64; a binary frame is the same without it. Nothing answers."""

    audio: str


class CommitMessage(Message, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """End the open utterance here; answered by `input_audio_buffer.committed` or `error`."""


class ClearMessage(Message, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Throw the open utterance away; answered by `input_audio_buffer.cleared`."""


class MarkerMessage(Message, frozen=True, kw_only=True, tag="streamser.marker"):
    """Ask for an echo once everything about the sound so far has been told."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]


class FinishMessage(Message, frozen=True, kw_only=True, tag="streamser.finish"):
    """End the stream: its finals, `streamser.session.closed`, and close code 1000 follow."""


ClientMessage: TypeAlias = (
    UpdateMessage | AppendMessage | CommitMessage | ClearMessage | MarkerMessage | FinishMessage
)
