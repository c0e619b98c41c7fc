"""A client's language, from its message to the recogniser and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_whisper import build_scripted_whisper
from tests.server.serving import Stage, Told, demo, dial, encode, of_kind, refusal

COMPLETED = "conversation.item.input_audio_transcription.completed"
PCM16K = encode(demo(4.0))


def stage_with(model: Path) -> Iterator[Stage]:
    """Run a server with a recogniser."""
    flags = {"asr.engine": "whisper", "asr.model": str(model), "partial.every_ms": 0}
    stage = Stage({**flags, "asr.compute_type": "int8"})
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run a server that knows only English."""
    model = tmp_path_factory.mktemp("english") / "tiny.en"
    yield from stage_with(build_scripted_whisper(model, "I am so happy today"))


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run a server that always hears German, unless it is told what is spoken."""
    model = tmp_path_factory.mktemp("german") / "base"
    yield from stage_with(build_scripted_whisper(model, "Ich bin hier", language="de"))


def in_force(event: Told) -> Any:
    """Return the language that a session is told to be in."""
    return event["session"]["audio"]["input"]["transcription"]["language"]


async def hear(stage: Stage, query: str = "", **transcription: str) -> list[Told]:
    """Send four seconds of speech in a language; return all events."""
    async with dial(stage.server, query=f"rate=16000{query}") as wire:
        events = []
        if transcription:
            events = await wire.update({"transcription": transcription})
        await wire.sound(PCM16K)
        return events + await wire.finish()


def test_a_multilingual_model_is_told_what_is_spoken(multilingual: Stage) -> None:
    """In the query or in an update; the region aside, and told in both directions."""
    asked = multilingual.play(hear(multilingual, language="fr-CA"))
    (updated,) = of_kind(asked, "session.updated")
    assert in_force(updated) == "fr"
    assert {event["language"] for event in of_kind(asked, COMPLETED)} == {"fr"}
    queried = multilingual.play(hear(multilingual, "&language=en_US"))
    assert in_force(queried[0]) == "en"
    assert {event["language"] for event in of_kind(queried, COMPLETED)} == {"en"}


def test_without_a_language_it_is_detected(multilingual: Stage) -> None:
    """And null is told to be in force."""
    events = multilingual.play(hear(multilingual))
    assert in_force(events[0]) is None
    assert {event["language"] for event in of_kind(events, COMPLETED)} == {"de"}


def test_an_english_model_refuses_another_language_and_the_stream_goes_on(english: Stage) -> None:
    """One error, by its code; then the words come as before."""
    events = english.play(hear(english, language="de", model="whisper-1"))
    assert in_force(of_kind(events, "session.created")[0]) == "en"
    (error,) = of_kind(events, "error")
    assert error["error"]["code"] == "unsupported_language"
    assert "knows only English" in error["error"]["message"]
    assert of_kind(events, "session.updated") == []
    assert of_kind(events, COMPLETED)[0]["transcript"] == "I am so happy today"


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/listen"])
def test_at_the_door_both_dialects_say_why(english: Stage, path: str) -> None:
    """The handshake is refused with the same code."""
    status, _, error = english.play(refusal(english.server, path, query="language=de"))
    assert (status, error["code"]) == (400, "unsupported_language")
