from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest

from streamser.events import (
    AnyEvent,
    Cleared,
    Event,
    MeetingState,
    MeetingUpdated,
    MoodShifted,
    Placed,
    SpeechStarted,
    decode_event,
    encode_event,
)

STARTED = SpeechStarted(
    event_id="event_s_2", session_id="s", seq=2, item_id="item_s_1", audio_start_ms=312
)


def test_an_event_is_one_line_of_json_that_names_its_type() -> None:
    """The type is the protocol's, not the class's."""
    line = encode_event(STARTED)
    assert b"\n" not in line
    assert json.loads(line) == {
        "type": "input_audio_buffer.speech_started",
        "event_id": "event_s_2",
        "session_id": "s",
        "seq": 2,
        "lag_ms": None,
        "item_id": "item_s_1",
        "audio_start_ms": 312,
    }
    assert decode_event(line) == STARTED


@pytest.mark.parametrize(
    "event",
    [
        STARTED,
        Cleared(event_id="event_s_3", session_id="s", seq=3),
        MoodShifted(
            event_id="e", meeting="m", at_ms=1, speaker=None, category="happy", previous="sad"
        ),
        MeetingUpdated(event_id="e", meeting="m", at_ms=1, mood=None, speakers=(), overlap_ms=0),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_says_of_which_type_it_is(event: AnyEvent) -> None:
    """By the name that stands on the wire, so that nobody needs the classes."""
    assert event.type == json.loads(encode_event(event))["type"]


def test_unknown_fields_are_ignored_and_unknown_types_are_not() -> None:
    """A newer program may say more; what it says must still be of a known kind."""
    fields = json.loads(encode_event(STARTED))
    assert decode_event(json.dumps(fields | {"mood": "bright"})) == STARTED
    with pytest.raises(msgspec.ValidationError):
        decode_event(json.dumps(fields | {"type": "streamser.unheard_of"}))


@pytest.mark.parametrize(
    "line", ["", "\xff", "\ud800", b'{"type": "\xff"}', '{"type": "x", "a": ' + "[" * 100_000]
)
def test_what_cannot_be_read_is_no_event(line: bytes | str) -> None:
    """No JSON, no text, nested too deeply: one kind of error for all."""
    with pytest.raises(msgspec.DecodeError):
        decode_event(line)


def test_every_event_is_of_the_open_protocol_or_named_ours() -> None:
    """Names that are not OpenAI's are ``streamser.*``."""
    ours_or_theirs = (
        "streamser.",
        "session.",
        "input_audio_buffer.",
        "conversation.item.input_audio_transcription.",
        "error",
    )
    tags = [msgspec.inspect.type_info(kind).tag for kind in get_args(AnyEvent)]  # type: ignore[attr-defined]
    kinds = [base.__subclasses__() for base in (Event, Placed, MeetingState)]
    assert len(set(tags)) == len(tags) == sum(map(len, kinds))
    assert all(tag.startswith(ours_or_theirs) for tag in tags)


def test_an_update_of_a_meeting_is_its_state_with_an_id() -> None:
    """What a listener who comes late is told is what the others have been told."""
    fields = MeetingUpdated.__struct_fields__
    assert set(fields) == {*MeetingState.__struct_fields__, "event_id"}
    assert issubclass(MeetingUpdated, MeetingState)


def test_events_cannot_be_changed() -> None:
    """What was told was told."""
    with pytest.raises(AttributeError):
        STARTED.seq = 3  # type: ignore[misc]
