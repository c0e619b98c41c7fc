"""Recall's messages: sound, who is there, and what is wrong with those that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamser.server.ingest.messages import BotParticipant, BotSound, UnusableError
from streamser.server.ingest.recall import read_recall
from tests.server.ingest.bots import Piece, presence, recall

PIECE = Piece("100", 12_340, b"\x01\x02" * 1600)


def word(**changes: Any) -> str:
    """Write a message with other data."""
    message = recall(PIECE, "Ann")
    message["data"]["data"].update(changes)
    return json.dumps(message)


def test_a_piece_of_sound_is_read_with_who_says_it_and_when() -> None:
    """The time is that of its beginning, in the recording."""
    assert read_recall(word()) == BotSound(
        bot="bot-of-recall",
        participant="100",
        name="Ann",
        start_s=12.34,
        rate=16_000,
        data=PIECE.data,
    )


def test_who_comes_and_goes_is_read() -> None:
    """What else they do is none of ours."""
    joined = read_recall(json.dumps(presence("join", "100", None)))
    assert joined == BotParticipant("bot-of-recall", "100", None)
    left = read_recall(json.dumps(presence("leave", "100", "Ann")))
    assert left == BotParticipant("bot-of-recall", "100", "Ann", left=True)
    assert read_recall(json.dumps(presence("chat_message", "100", "Ann"))) is None
    assert read_recall('{"event": "transcript.data", "data": {"data": {"words": []}}}') is None


def test_what_comes_without_a_bot_goes_by_its_recording() -> None:
    """As their desktop SDK sends it; the sound of all together is of nobody."""
    message = recall(PIECE, "Ann")
    del message["data"]["bot"], message["data"]["data"]["participant"]
    message["event"] = "audio_mixed_raw.data"
    sound = read_recall(json.dumps(message))
    assert isinstance(sound, BotSound)
    assert (sound.bot, sound.participant, sound.name) == ("recording", None, None)
    del message["data"]["recording"]
    sound = read_recall(json.dumps(message))
    assert isinstance(sound, BotSound)
    assert sound.bot is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nothing", "invalid_json"),
        (b"\x00\x01", "binary_message"),
        ("[]", "invalid_value"),
        ('{"event": "audio_separate_raw.data"}', "invalid_value"),
        ('{"event": "audio_separate_raw.data", "data": {"data": {}}}', "no_participant"),
        (word(participant={"name": "Ann"}), "no_participant"),
        (word(participant={"id": 1.5, "name": "Ann"}), "no_participant"),
        (word(buffer="="), "invalid_audio"),
        (word(buffer=None), "no_sound"),
        (word(buffer="AAAA"), "odd_bytes"),
        (word(timestamp=None), "invalid_time"),
        (word(timestamp={"relative": -0.1}), "invalid_time"),
        (word(timestamp={"relative": float("inf")}), "invalid_json"),
        (word(timestamp={"absolute": "2026"}), "invalid_value"),
        (json.dumps(recall(PIECE, "Ann", bot="")), "no_bot"),
    ],
)
def test_what_cannot_be_used_says_why_in_a_word(message: str | bytes, code: str) -> None:
    """Never by a traceback."""
    with pytest.raises(UnusableError) as refused:
        read_recall(message)
    assert refused.value.code == code
