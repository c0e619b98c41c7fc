"""The dialect of ``/v1/realtime``: OpenAI's Realtime transcription API, GA schema, and ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from streamser.audio.source import decode_base64, usable
from streamser.errors import AudioError, ConfigError
from streamser.events import PROTOCOL, AnyEvent, AudioFormat, ErrorBody, Event, Stamp, encode_event
from streamser.pipeline.build import endpointer_settings
from streamser.pipeline.emitter import client_error
from streamser.pipeline.speaker_state import (
    AssignSpeaker,
    ForgetVoices,
    MergeSpeakers,
    RenameSpeaker,
)
from streamser.server.dialects.commands import (
    ANY_LANGUAGE,
    Append,
    Clear,
    Command,
    Commit,
    Configure,
    Finish,
    LanguageSupport,
    Mark,
    Refuse,
    StreamSettings,
    read_speakers,
)
from streamser.text import read_name

_SILENCE_MS: Final = {"low": 900, "medium": 500, "high": 300}
"""What OpenAI's eagerness means to who only hears pauses."""
_BETA: Final = "transcription_session.update"
_ENCODINGS: Final = {
    "s16le": AudioFormat(type="audio/pcm"),
    "f32le": AudioFormat(type="audio/pcm", encoding="f32le"),
    "pcmu": AudioFormat(type="audio/pcmu"),
    "pcma": AudioFormat(type="audio/pcma"),
}
_THRESHOLDS: Final = (0.01, 0.99)
"""At 0 everything would be speech, at 1 nothing: what is nearest to that is meant."""
_SHORTEST_SILENCE_MS: Final = 60
_LONGEST_PROMPT: Final = 1024
"""No recogniser here takes one, but every listener is told it again."""
_LONGEST_ID: Final = 512
_LONGEST_REASON: Final = 300
_PLACE: Final = re.compile(r"^(?P<reason>.*?)(?: - at `\$\.?(?P<place>[^`]*)`)?$", re.DOTALL)


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
    speakers: Annotated[
        Literal["auto", "off"] | Annotated[float, Meta(ge=1, le=64)] | UnsetType | None,
        Meta(description="Tell voices apart? Or how many people there are; `off` forgets them."),
    ] = UNSET
    streamser: OwnUpdate | None = OwnUpdate()


SpeakerName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=80)]


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


class RenameMessage(Message, frozen=True, kw_only=True, tag="streamser.speaker.rename"):
    """Give a speaker a name; whoever has it already is the same person."""

    speaker: SpeakerName
    name: SpeakerName


class MergeMessage(Message, frozen=True, kw_only=True, tag="streamser.speaker.merge"):
    """Say that two speakers are one person, who keeps the name `into`."""

    speaker: SpeakerName
    into: SpeakerName


class AssignMessage(Message, frozen=True, kw_only=True, tag="streamser.speaker.assign"):
    """Say whose an utterance of the last two minutes is; a name that is new is a new speaker's."""

    item_id: Annotated[str, Meta(min_length=1, max_length=200)]
    name: SpeakerName


class ForgetMessage(Message, frozen=True, kw_only=True, tag="streamser.speaker.forget"):
    """Drop all voiceprints of the session at once; whoever speaks next is a stranger."""


class FinishMessage(Message, frozen=True, kw_only=True, tag="streamser.finish"):
    """End the stream: its finals, `streamser.session.closed`, and close code 1000 follow."""


ClientMessage: TypeAlias = (
    UpdateMessage
    | AppendMessage
    | CommitMessage
    | ClearMessage
    | MarkerMessage
    | RenameMessage
    | MergeMessage
    | AssignMessage
    | ForgetMessage
    | FinishMessage
)


class RealtimeDialect:
    """Read what a client asks for, and remember how its stream is set up; pure.

    Without ``renames`` the speaker stays who it is.
    """

    tells_all = True

    def __init__(
        self,
        settings: StreamSettings,
        languages: LanguageSupport = ANY_LANGUAGE,
        *,
        renames: bool = True,
    ) -> None:
        self._renames = renames
        self._settings = settings
        self._tongues = languages
        self._usual = settings.endpointing
        self._heard = False
        self._decoder = msgspec.json.Decoder(ClientMessage)
        self._glance = msgspec.json.Decoder(_Glance)

    def receive(self, message: str | bytes) -> list[Command]:
        """Say what a message asks for; binary is sound."""
        if isinstance(message, bytes):
            self._heard = self._heard or bool(message)
            return [Append(message)] if message else []
        try:
            return self._read(self._decoder.decode(message))
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            return [Refuse(self._fault(message, error))]

    def encode(self, event: Event) -> list[bytes]:
        """Word an event as it is."""
        return [encode_event(event)]

    def _read(self, message: ClientMessage) -> list[Command]:
        match message:
            case AppendMessage(audio=audio):
                try:
                    data = decode_base64(audio)
                except AudioError as error:
                    return [_refuse(error.code, str(error), message.event_id, "audio")]
                self._heard = self._heard or bool(data)
                return [Append(data)] if data else []
            case CommitMessage(event_id=event_id):
                return [Commit(event_id)]
            case ClearMessage():
                return [Clear()]
            case MarkerMessage(id=marker):
                return [Mark(marker)]
            case RenameMessage() | MergeMessage() | AssignMessage() | ForgetMessage():
                return [_order(message)]
            case FinishMessage():
                return [Finish()]
            case UpdateMessage():
                return [self._update(message)]

    def _update(self, message: UpdateMessage) -> Command:
        change = message.session
        settings = self._settings
        try:
            if change.audio is not None and change.audio.input is not None:
                settings = self._with_audio(settings, change.audio.input)
            if isinstance(change.speakers, float | str):
                asked = change.speakers
                told_apart = round(asked) if isinstance(asked, float) else asked
                settings = replace(settings, speakers=told_apart)
            if change.streamser is not None:
                settings = self._with_own(settings, change.streamser)
            endpointer_settings(settings.endpointing)
        except _UnfitError as unfit:
            return _refuse(unfit.code, str(unfit), message.event_id, unfit.param)
        except ConfigError as error:
            param = "session.audio.input.turn_detection"
            return _refuse("invalid_value", str(error), message.event_id, param)
        self._settings = settings
        return Configure(settings)

    def _with_audio(self, settings: StreamSettings, change: AudioInputUpdate) -> StreamSettings:
        if isinstance(change.format, FormatUpdate):
            asked = change.format
            form = AudioFormat(
                type=asked.type or "audio/pcm",
                rate=None if asked.rate is None else round(asked.rate),
                encoding=asked.encoding or "s16le",
            )
            try:
                settings = replace(settings, format=usable(form))
            except ConfigError as error:
                raise _UnfitError(str(error), "session.audio.input.format.rate") from None
        if change.transcription is None:
            settings = replace(settings, transcribe=False, prompt=None, language=None)
        elif change.transcription is not UNSET:
            settings = self._with_words(settings, change.transcription)
        turns = change.turn_detection
        if turns is UNSET:
            return settings
        if turns is None:
            return replace(settings, manual=True)
        return self._with_turns(replace(settings, manual=False), turns)

    def _with_words(self, settings: StreamSettings, asked: TranscriptionUpdate) -> StreamSettings:
        try:
            language = self._tongues.wanted(asked.language or None)
        except ConfigError as error:
            param = "session.audio.input.transcription.language"
            raise _UnfitError(str(error), param, error.code) from None
        prompt = None if asked.prompt is None else asked.prompt[:_LONGEST_PROMPT]
        return replace(settings, transcribe=True, prompt=prompt, language=language)

    def _with_turns(
        self, settings: StreamSettings, turns: ServerVad | SemanticVad
    ) -> StreamSettings:
        usual = self._usual
        if isinstance(turns, SemanticVad):
            silence = _SILENCE_MS.get(turns.eagerness or "auto", usual.silence_ms)
            return replace(settings, endpointing=replace(usual, silence_ms=silence))
        chosen = usual
        if turns.threshold is not None:
            # A release that was set up for another threshold may lie above this one.
            low, high = _THRESHOLDS
            threshold = min(max(turns.threshold, low), high)
            chosen = replace(chosen, threshold=threshold, release=None)
        if turns.silence_duration_ms is not None:
            silence = max(round(turns.silence_duration_ms), _SHORTEST_SILENCE_MS)
            chosen = replace(chosen, silence_ms=silence, tail_ms=None)
        if turns.prefix_padding_ms is not None:
            chosen = replace(chosen, pre_roll_ms=round(turns.prefix_padding_ms))
        return replace(settings, endpointing=chosen)

    def _with_own(self, settings: StreamSettings, change: OwnUpdate) -> StreamSettings:
        if isinstance(change.partial_every_ms, float):
            partial = replace(settings.partial, every_ms=round(change.partial_every_ms))
            settings = replace(settings, partial=partial)
        if isinstance(change.ordered, bool) and change.ordered != settings.ordered:
            if self._heard:
                raise _UnfitError(
                    "the order of events cannot change once sound was sent",
                    "session.streamser.ordered",
                )
            settings = replace(settings, ordered=change.ordered)
        if change.speaker is not UNSET:
            speaker = change.speaker
            if speaker is not None:
                try:
                    speaker = read_name(speaker, "speaker")
                except ConfigError as error:
                    raise _UnfitError(str(error), "session.streamser.speaker") from None
            if not self._renames and speaker != settings.speaker:
                raise _UnfitError(
                    f"the token is for the speaker {settings.speaker!r} alone",
                    "session.streamser.speaker",
                    "forbidden",
                )
            settings = replace(settings, speaker=speaker)
        return settings

    def _fault(self, message: str, error: Exception) -> ErrorBody:
        try:
            seen = self._glance.decode(message)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            seen = _Glance()
        # What is told goes to every listener: no more of the message than helps to find it.
        event_id = _cut(seen.event_id, _LONGEST_ID) if isinstance(seen.event_id, str) else None
        if not isinstance(seen.type, str):
            told = "the message is not a JSON object with a type"
            return client_error("invalid_json", told, event_id)
        if seen.type == _BETA:
            hint = "this is the beta schema; send session.update with session.audio.input (GA)"
            return client_error("unknown_message", hint, event_id, "type")
        if "Invalid value" in str(error) and str(error).endswith("`$.type`"):
            told = f"unknown type {_cut(seen.type, 80)!r}"
            return client_error("unknown_message", told, event_id, "type")
        match = _PLACE.match(str(error))
        reason, place = (match["reason"], match["place"]) if match else (str(error), None)
        return client_error("invalid_value", _cut(reason, _LONGEST_REASON), event_id, place or None)


class _Glance(msgspec.Struct):
    """See as much of a message as is needed to answer it."""

    type: Any = None
    event_id: Any = None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


class _UnfitError(Exception):
    """Say which field cannot be followed, and why."""

    def __init__(self, message: str, param: str, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def parse_realtime(
    query: Mapping[str, list[str]],
    settings: StreamSettings,
    languages: LanguageSupport = ANY_LANGUAGE,
) -> tuple[StreamSettings, str | None]:
    """Read the query of a connection: the stream's settings, and its meeting.

    Raises ``ConfigError`` for a value that cannot be used.
    """
    speaker, meeting = (
        read_name(query[key][-1], key) if query.get(key) else None for key in ("speaker", "meeting")
    )
    form = settings.format
    if query.get("encoding"):
        encoding = query["encoding"][-1]
        if encoding not in _ENCODINGS:
            raise ConfigError(f"encoding is one of {', '.join(_ENCODINGS)}, not {encoding[:40]!r}")
        form = _ENCODINGS[encoding]
    if query.get("rate"):
        rate = query["rate"][-1]
        if not (rate.isascii() and rate.isdigit() and len(rate) < 10):
            raise ConfigError(f"rate is a number of Hz, not {rate[:40]!r}")
        form = AudioFormat(type=form.type, rate=int(rate), encoding=form.encoding)
    if query.get("language"):
        settings = replace(settings, language=languages.wanted(query["language"][-1]))
    if query.get("speakers"):
        settings = replace(settings, speakers=read_speakers(query["speakers"][-1]))
    return replace(settings, format=usable(form), speaker=speaker), meeting


def _order(message: RenameMessage | MergeMessage | AssignMessage | ForgetMessage) -> Command:
    try:
        match message:
            case RenameMessage(event_id=event_id, speaker=speaker, name=name):
                return RenameSpeaker(speaker, read_name(name, "name"), event_id)
            case MergeMessage(event_id=event_id, speaker=speaker, into=into):
                return MergeSpeakers(speaker, into, event_id)
            case AssignMessage(event_id=event_id, item_id=item_id, name=name):
                return AssignSpeaker(item_id, read_name(name, "name"), event_id)
            case ForgetMessage(event_id=event_id):
                return ForgetVoices(event_id)
    except ConfigError as error:
        return _refuse("invalid_value", str(error), message.event_id, "name")


def _refuse(code: str, message: str, event_id: str | None, param: str) -> Refuse:
    return Refuse(client_error(code, message, event_id, param))


def protocol_schemas() -> dict[str, Any]:
    """Return JSON Schemas (2020-12) of events, of clients' messages, and of the stamp."""
    kinds = {"events": AnyEvent, "messages": ClientMessage, "stamp": Stamp}
    schemas, components = msgspec.json.schema_components(
        tuple(kinds.values()), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PROTOCOL,
        "protocol": PROTOCOL,
        **dict(zip(kinds, schemas, strict=True)),
        "$defs": components,
    }


def protocol_json() -> bytes:
    """Write the schemas as JSON."""
    return json.dumps(protocol_schemas(), ensure_ascii=False).encode()
