"""Attendee's messages: what is read of them, and what is wrong with those that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamser.server.ingest.attendee import read_attendee
from streamser.server.ingest.messages import BotSound, UnusableError
from tests.server.ingest.bots import BEGAN_MS, Piece, attendee

PIECE = Piece("16778240", 500, b"\x01\x02" * 1600)


def word(**changes: Any) -> str:
    """Write a message with other data."""
    message = attendee(PIECE, sequence=4)
    message["data"].update(changes)
    return json.dumps(message)


def test_a_piece_of_sound_is_read_with_whose_it_is_and_when_it_began() -> None:
    """The time is that of the sending, so the end of the piece."""
    sound = read_attendee(word())
    assert sound == BotSound(
        bot="bot_12345abcdef",
        participant="16778240",
        name=None,
        start_s=(BEGAN_MS + 600) / 1000 - 0.1,
        rate=16_000,
        data=PIECE.data,
        number=4,
    )


def test_older_ones_do_not_count_and_leave_the_rate_out() -> None:
    """A participant may also be a number, and the sound that of all together."""
    message = attendee(PIECE)
    del message["data"]["sample_rate"]
    message["data"]["participant_uuid"] = 16778240
    sound = read_attendee(json.dumps(message))
    assert isinstance(sound, BotSound)
    assert (sound.number, sound.rate, sound.participant) == (None, 16_000, "16778240")
    del message["data"]["participant_uuid"]
    message["trigger"] = "realtime_audio.mixed"
    sound = read_attendee(json.dumps(message))
    assert isinstance(sound, BotSound)
    assert sound.participant is None


def test_what_is_no_sound_asks_for_nothing() -> None:
    """Video comes by the same socket, where the bot was made so."""
    for trigger in ("realtime_video.per_participant", "something.new"):
        assert read_attendee(json.dumps({"trigger": trigger, "data": {"frame": "…"}})) is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "invalid_json"),
        ('{"trigger": ' + "[" * 5000, "invalid_value"),
        ('{"data": ' + "[" * 5000, "invalid_json"),
        (b"{}", "binary_message"),
        ("{}", "invalid_value"),
        ('{"trigger": "realtime_audio.per_participant"}', "invalid_value"),
        (word(chunk="!not base64!"), "invalid_audio"),
        (word(chunk=""), "no_sound"),
        (word(chunk="AAAA"), "odd_bytes"),
        (word(chunk=7), "invalid_value"),
        (word(participant_uuid=None), "no_participant"),
        (word(participant_uuid=""), "no_participant"),
        (word(participant_uuid="x" * 300), "no_participant"),
        (word(participant_uuid=["a"]), "no_participant"),
        (word(participant_uuid=True), "no_participant"),
        (word(timestamp_ms=float("nan")), "invalid_json"),
        (word().replace(str(BEGAN_MS + 600), "1e999"), "invalid_value"),
        (word(timestamp_ms=-1), "invalid_time"),
        (word(timestamp_ms=1), "invalid_time"),
        (word(timestamp_ms=1e300), "invalid_time"),
        (word(timestamp_ms="now"), "invalid_value"),
        (word(sample_rate=0), "invalid_rate"),
        (word(sample_rate=16_000.5), "invalid_rate"),
        (word(sample_rate=1_000_000), "invalid_rate"),
    ],
)
def test_what_cannot_be_used_says_why_in_a_word(message: str | bytes, code: str) -> None:
    """Never by a traceback, and never with what somebody has said."""
    with pytest.raises(UnusableError) as refused:
        read_attendee(message)
    assert refused.value.code == code
    assert len(str(refused.value)) < 120
