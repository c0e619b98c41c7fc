"""OpenAI's Realtime transcription dialect, GA schema: what messages ask for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from streamser.errors import ConfigError
from streamser.events import AudioFormat, ErrorBody
from streamser.pipeline.speaker_state import (
    AssignSpeaker,
    ForgetVoices,
    MergeSpeakers,
    RenameSpeaker,
)
from streamser.server.dialects.commands import (
    Append,
    Clear,
    Commit,
    Configure,
    Finish,
    LanguageSupport,
    Mark,
    Refuse,
    StreamSettings,
)
from streamser.server.dialects.openai_realtime import RealtimeDialect, parse_realtime
from streamser.settings import EndpointingSettings, PartialSettings

USUAL = StreamSettings(
    format=AudioFormat(type="audio/pcm", rate=24_000),
    endpointing=EndpointingSettings(),
    partial=PartialSettings(),
)


def ask(dialect: RealtimeDialect, kind: str, **fields: Any) -> Any:
    """Send a message; return the one action it leads to."""
    (action,) = dialect.receive(json.dumps({"type": kind, **fields}))
    return action


def configure(dialect: RealtimeDialect, **audio_input: Any) -> StreamSettings:
    """Change settings of the sound; return all that is in force."""
    session = {"type": "transcription", "audio": {"input": audio_input}}
    action = ask(dialect, "session.update", session=session)
    assert isinstance(action, Configure), action
    return action.settings


def fault(message: str) -> ErrorBody:
    """Send a message that cannot be followed; return what is said about it."""
    (action,) = RealtimeDialect(USUAL).receive(message)
    assert isinstance(action, Refuse), action
    return action.error


def test_sound_comes_in_base64_or_binary() -> None:
    """Both are the same; none at all is nothing."""
    dialect = RealtimeDialect(USUAL)
    audio = base64.b64encode(b"\x01\x02").decode()
    assert ask(dialect, "input_audio_buffer.append", audio=audio) == Append(b"\x01\x02")
    assert dialect.receive(b"\x01\x02") == [Append(b"\x01\x02")]
    assert dialect.receive(b"") == []
    assert dialect.receive('{"type":"input_audio_buffer.append","audio":""}') == []


def test_every_message_has_its_action() -> None:
    """The client's own name for a message goes with what may have to be answered."""
    dialect = RealtimeDialect(USUAL)
    assert ask(dialect, "input_audio_buffer.commit", event_id="e1") == Commit("e1")
    assert ask(dialect, "input_audio_buffer.clear") == Clear()
    assert ask(dialect, "streamser.marker", id="here") == Mark("here")
    assert ask(dialect, "streamser.finish") == Finish()


def test_who_speaks_can_be_said() -> None:
    """With the client's own name for the message, should it be refused."""
    dialect = RealtimeDialect(USUAL)
    renamed = ask(dialect, "streamser.speaker.rename", speaker="speaker 1", name=" Ann ")
    assert renamed == RenameSpeaker("speaker 1", "Ann")
    merged = ask(dialect, "streamser.speaker.merge", speaker="speaker 2", into="Ann", event_id="e")
    assert merged == MergeSpeakers("speaker 2", "Ann", "e")
    assigned = ask(dialect, "streamser.speaker.assign", item_id="item_s_1", name="Ann")
    assert assigned == AssignSpeaker("item_s_1", "Ann")
    assert ask(dialect, "streamser.speaker.forget") == ForgetVoices()
    refused = ask(dialect, "streamser.speaker.rename", speaker="speaker 1", name=" ")
    assert isinstance(refused, Refuse)
    assert (refused.error.code, refused.error.param) == ("invalid_value", "name")


@pytest.mark.parametrize("asked", ["auto", "off", 3, 3.0])
def test_a_client_says_whether_voices_are_told_apart(asked: str | float) -> None:
    """In a message or in the address; else it is as the server is set up."""
    action = ask(RealtimeDialect(USUAL), "session.update", session={"speakers": asked})
    assert isinstance(action, Configure)
    assert action.settings.speakers == asked
    told_apart, _ = parse_realtime({"speakers": [str(asked).removesuffix(".0")]}, USUAL)
    assert told_apart.speakers == asked
    assert parse_realtime({}, USUAL)[0].speakers == "off"


@pytest.mark.parametrize("asked", ["many", 0, 65])
def test_nonsense_about_voices_is_refused(asked: str | int) -> None:
    """Wherever it stands."""
    action = ask(RealtimeDialect(USUAL), "session.update", session={"speakers": asked})
    assert isinstance(action, Refuse)
    with pytest.raises(ConfigError, match="auto, off, or a number from 1 to 64"):
        parse_realtime({"speakers": [str(asked)]}, USUAL)


def test_settings_that_are_absent_stay() -> None:
    """One change after another adds up."""
    dialect = RealtimeDialect(USUAL)
    configure(dialect, format={"type": "audio/pcm", "rate": 16_000})
    settings = configure(dialect, turn_detection=None)
    assert settings.format.rate == 16_000
    assert settings.manual
    assert settings.endpointing == USUAL.endpointing


def test_server_vad_sets_the_endpointing() -> None:
    """OpenAI's names for what we call threshold, pre-roll and hangover."""
    turns = {
        "type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 300,
        "silence_duration_ms": 350, "create_response": False, "idle_timeout_ms": None,
    }  # fmt: skip
    found = configure(RealtimeDialect(USUAL), turn_detection=turns).endpointing
    assert (found.threshold, found.pre_roll_ms, found.silence_ms) == (0.7, 300, 350)


def test_server_vad_without_values_is_as_the_server_is_set_up() -> None:
    """Coming back from manual commits leaves nothing behind."""
    dialect = RealtimeDialect(USUAL)
    configure(dialect, turn_detection={"type": "server_vad", "silence_duration_ms": 900})
    configure(dialect, turn_detection=None)
    settings = configure(dialect, turn_detection={"type": "server_vad"})
    assert not settings.manual
    assert settings.endpointing == USUAL.endpointing


def test_semantic_vad_becomes_a_longer_or_shorter_pause() -> None:
    """Pauses are all that is heard here."""
    found = [
        configure(
            RealtimeDialect(USUAL), turn_detection={"type": "semantic_vad", "eagerness": eagerness}
        ).endpointing.silence_ms
        for eagerness in ("high", "auto", "low")
    ]
    assert found == sorted(set(found))


def test_no_transcription_means_emotion_alone() -> None:
    """And any model that is asked for means words again, by the one that is there."""
    dialect = RealtimeDialect(USUAL)
    assert not configure(dialect, transcription=None).transcribe
    asked = {"model": "gpt-4o-transcribe", "language": "en", "prompt": "names"}
    settings = configure(dialect, transcription=asked)
    assert settings.transcribe
    assert settings.prompt == "names"


def test_our_own_settings_ride_along() -> None:
    """Partials, order and speaker."""
    own = {"partial_every_ms": 0, "ordered": True, "speaker": " Ann "}
    action = ask(RealtimeDialect(USUAL), "session.update", session={"streamser": own})
    assert isinstance(action, Configure)
    settings = action.settings
    assert (settings.partial.every_ms, settings.ordered, settings.speaker) == (0, True, "Ann")


def test_the_order_cannot_change_after_sound() -> None:
    """Numbers that are out cannot be taken back."""
    dialect = RealtimeDialect(USUAL)
    dialect.receive(b"\x00\x00")
    action = ask(dialect, "session.update", session={"streamser": {"ordered": True}})
    assert isinstance(action, Refuse)
    assert action.error.param == "session.streamser.ordered"


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("", "invalid_json", None),
        ("[1]", "invalid_json", None),
        ('{"type": 3}', "invalid_json", None),
        ("[" * 10_000, "invalid_json", None),
        ('{"type": "response.create", "event_id": "x"}', "unknown_message", "type"),
        ('{"type": "transcription_session.update", "event_id": "x"}', "unknown_message", "type"),
        ('{"type": "input_audio_buffer.append", "event_id": "x"}', "invalid_value", None),
        ('{"type": "input_audio_buffer.append", "audio": "%%"}', "invalid_audio", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 1}', "invalid_value", "audio"),
        ('{"type": "streamser.marker", "id": ""}', "invalid_value", "id"),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value",
         "session.type"),
        ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection":'
         ' {"type": "server_vad", "threshold": 7}}}}}', "invalid_value",
         "session.audio.input.turn_detection.threshold"),
        ('{"type": "session.update", "session": {"audio": {"input": {"format":'
         ' {"type": "audio/pcm", "rate": 1}}}}}', "invalid_value",
         "session.audio.input.format.rate"),
        ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection":'
         ' {"type": "server_vad", "prefix_padding_ms": 9999}}}}}', "invalid_value",
         "session.audio.input.turn_detection"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_answered_with_its_place(
    message: str, code: str, param: str | None
) -> None:
    """A typed error says which field is at fault; the client's event_id comes back."""
    error = fault(message)
    assert (error.type, error.code, error.param) == ("invalid_request_error", code, param)
    assert error.event_id == ("x" if '"x"' in message else None)


@pytest.mark.parametrize(
    "session",
    [
        {"type": None}, {"audio": None}, {"audio": {"input": None}}, {"streamser": None},
        {"audio": {"input": {"format": None}}}, {"streamser": {"ordered": None}},
        {"streamser": {"partial_every_ms": None}}, {"audio": {"output": {"voice": "alloy"}}},
        {"tools": [], "include": None, "instructions": "x" * 5000},
    ],
)  # fmt: skip
def test_what_says_nothing_changes_nothing(session: dict[str, Any]) -> None:
    """Null is as if it were absent, and what belongs to other sessions is ignored."""
    action = ask(RealtimeDialect(USUAL), "session.update", session=session)
    assert action == Configure(USUAL)


def test_values_at_the_edge_are_taken_as_near_as_can_be() -> None:
    """What is then in force is told; what is no such value at all is refused."""
    dialect = RealtimeDialect(USUAL)

    def turns(**asked: object) -> EndpointingSettings:
        return configure(dialect, turn_detection={"type": "server_vad", **asked}).endpointing

    assert turns(threshold=1.0).threshold == 0.99
    assert turns(threshold=0).threshold == 0.01
    assert turns(silence_duration_ms=0).silence_ms == 60
    usual = configure(dialect, turn_detection={"type": "semantic_vad", "eagerness": None})
    assert usual.endpointing == USUAL.endpointing


def test_whole_numbers_may_have_a_point() -> None:
    """Some languages write every number with one."""
    dialect = RealtimeDialect(USUAL)
    turns = {"type": "server_vad", "silence_duration_ms": 500.0, "prefix_padding_ms": 200.0}
    found = configure(dialect, turn_detection=turns).endpointing
    assert (found.silence_ms, found.pre_roll_ms) == (500, 200)
    assert isinstance(found.silence_ms, int)
    form = {"type": None, "rate": 16_000.0, "encoding": None}
    assert configure(dialect, format=form).format == AudioFormat(type="audio/pcm", rate=16_000)
    own = ask(dialect, "session.update", session={"streamser": {"partial_every_ms": 250.0}})
    assert own.settings.partial.every_ms == 250


def test_a_prompt_of_any_length_is_taken() -> None:
    """Nobody here uses it; no more than its beginning is told to everybody."""
    asked = {"model": "whisper-1", "prompt": "x" * 5000, "language": ""}
    settings = configure(RealtimeDialect(USUAL), transcription=asked)
    assert settings.transcribe
    assert settings.prompt == "x" * 1024
    assert settings.language is None


def test_a_refused_change_changes_nothing() -> None:
    """Not even the half of it that would have been good."""
    dialect = RealtimeDialect(USUAL)
    turns = {"type": "server_vad", "threshold": 0.4, "prefix_padding_ms": 10_000}
    bad = {"format": {"type": "audio/pcm", "rate": 8000}, "turn_detection": turns}
    action = ask(dialect, "session.update", session={"audio": {"input": bad}})
    assert isinstance(action, Refuse)
    assert configure(dialect, transcription=None).format.rate == 24_000


def test_the_address_sets_up_the_stream() -> None:
    """Rate, encoding, speaker and meeting; what others' clients add is ignored."""
    query = {
        "intent": ["transcription"], "model": ["streamser"], "rate": ["16000"],
        "encoding": ["f32le"], "speaker": ["Ann"], "meeting": ["stand up"],
    }  # fmt: skip
    settings, meeting = parse_realtime(query, USUAL)
    assert settings.format == AudioFormat(type="audio/pcm", rate=16_000, encoding="f32le")
    assert (settings.speaker, meeting) == ("Ann", "stand up")
    assert parse_realtime({"encoding": ["pcmu"]}, USUAL)[0].format.type == "audio/pcmu"


@pytest.mark.parametrize(
    "query",
    [
        {"rate": ["fast"]}, {"rate": ["7000"]}, {"rate": ["²"]}, {"encoding": ["mp3"]},
        {"speaker": [" "]}, {"meeting": ["a\nb"]}, {"meeting": ["x" * 81]},
        {"encoding": ["pcma"], "rate": ["16000"]},
    ],
)  # fmt: skip
def test_an_address_that_makes_no_sense_is_refused(query: dict[str, list[str]]) -> None:
    """In one line that names the parameter."""
    with pytest.raises(ConfigError) as refused:
        parse_realtime(query, USUAL)
    assert "\n" not in str(refused.value)


ENGLISH = LanguageSupport("faster-whisper/tiny.en", frozenset({"en"}))


def test_a_language_is_honoured_without_its_region() -> None:
    """Asked for in the query or later; what is not said again is as the server is set up."""
    known = LanguageSupport("faster-whisper/base", frozenset({"en", "de"}))
    settings, _ = parse_realtime({"language": ["de-DE"]}, USUAL, known)
    assert settings.language == "de"
    dialect = RealtimeDialect(settings, known)
    assert configure(dialect, turn_detection=None).language == "de"
    assert configure(dialect, transcription={"language": "en_GB"}).language == "en"
    assert configure(dialect, transcription={"model": "whisper-1"}).language is None


@pytest.mark.parametrize("language", ["de", "de-DE", "klingon", "x", "日本"])
def test_a_language_that_the_model_does_not_know_is_refused_and_nothing_changes(
    language: str,
) -> None:
    """The client gets a code of its own and the field; the stream goes on as it was."""
    dialect = RealtimeDialect(USUAL, ENGLISH)
    change = {"input": {"transcription": {"language": language}, "turn_detection": None}}
    session = {"type": "transcription", "audio": change}
    refused = ask(dialect, "session.update", session=session, event_id="e1")
    assert isinstance(refused, Refuse)
    assert (refused.error.code, refused.error.event_id) == ("unsupported_language", "e1")
    assert refused.error.param == "session.audio.input.transcription.language"
    assert not configure(dialect, transcription={"language": "en-US"}).manual
