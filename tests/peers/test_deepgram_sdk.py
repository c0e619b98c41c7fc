from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamser.taxonomy import CATEGORIES, UNSURE
from tests.peers.peer import TOKEN, Peer, Report

CLIENT = Peer("deepgram", "deepgram_sdk.py")
pytestmark = CLIENT.marks

Sound = Callable[[int], Path]


def finals(report: Report) -> list[dict[str, Any]]:
    """List the final results."""
    return [result for result in report.of("Results") if result["is_final"]]


def said(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a result understood."""
    (alternative,) = result["channel"]["alternatives"]
    assert isinstance(alternative, dict)
    return alternative


def check_kinds(report: Report) -> None:
    """Everything was of a type that it knows, and the metadata came last."""
    assert all(one["class"] == f"ListenV1{one.get('type')}" for one in report.seen)
    assert report.seen[-1]["type"] == "Metadata"


def test_it_iterates_over_results_with_emotion_inside(server: str, sound: Sound) -> None:
    """Everything it may ask for is told, and nothing reaches it as None."""
    asked = ("interim_results=true", "vad_events=true", "utterance_end_ms=1000")
    report = CLIENT.succeed(f"ws://{server}", TOKEN, sound(16_000), "iterate", *asked)
    check_kinds(report)
    assert len(finals(report)) >= 4
    for final in finals(report):
        assert "emotion" in final["extra"]
        assert final["emotion"]["category"] in (*CATEGORIES, UNSURE)
        assert final["speech_final"]
        assert said(final)["transcript"]
        assert said(final)["sentiment"] in ("negative", "neutral", "positive")
        assert -1 <= said(final)["sentiment_score"] <= 1
        words = said(final)["words"]
        assert " ".join(word["word"] for word in words) == said(final)["transcript"]
        assert final["start"] <= words[0]["start"] < words[-1]["end"]
        assert words[-1]["end"] <= final["start"] + final["duration"] + 0.01
    starts = [one["timestamp"] for one in report.of("SpeechStarted")]
    assert starts == [final["start"] for final in finals(report)]
    (end,) = report.of("UtteranceEnd")
    assert end["last_word_end"] == said(finals(report)[-1])["words"][-1]["end"]
    (metadata,) = report.of("Metadata")
    assert metadata["sha256"] == hashlib.sha256(sound(16_000).read_bytes()).hexdigest()
    assert metadata["duration"] == pytest.approx(19.4)


def test_finalize_is_answered_to_handlers_on_a_thread(server: str, sound: Sound) -> None:
    """Once in the middle of speech, and once in silence, at the end."""
    report = CLIENT.succeed(f"ws://{server}", TOKEN, sound(16_000), "listen")
    check_kinds(report)
    # Nothing was asked for but the finals.
    assert {one["type"] for one in report.seen} == {"Results", "Metadata"}
    middle, end = (one for one in finals(report) if one["from_finalize"])
    assert middle["start"] + middle["duration"] == pytest.approx(9.7, abs=0.2)
    assert middle["emotion"]["category"]
    assert (said(end)["transcript"], end["start"], end["duration"]) == ("", 19.4, 0)


def test_what_cannot_be_heard_is_refused_at_the_door(server: str, sound: Sound) -> None:
    """The library raises, and its error has the status."""
    for token, option, status in (
        (TOKEN, "channels=2", "400"),
        (f"not-{TOKEN}", "channels=1", "401"),
    ):
        report = CLIENT.run(f"ws://{server}", token, sound(16_000), "iterate", option)
        assert report.code == 1
        assert report.seen == []
        assert f"status_code: {status}" in report.errors
