from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamser.taxonomy import CATEGORIES
from tests.peers.peer import TOKEN, Peer, Report

CLIENT = Peer("oruk", "oruk_pipecat.py")
pytestmark = CLIENT.marks
TURNS = (8700, 17_900)
"""Where the turns end in ms: after three phrases, and after three more."""

Sound = Callable[[int], Path]


def endpoint(server: str) -> str:
    """Return what their service connects to; it takes ``ws`` on this machine alone."""
    return f"ws://{server}/v1/realtime?model=oruk-realtime"


def run(server: str, sound: Sound, way: str) -> Report:
    """Feed two turns to a pipeline, and let it end well; what it logs by itself is its own."""
    report = CLIENT.run(endpoint(server), TOKEN, sound(16_000), way, *TURNS)
    assert (report.code, report.of("error")) == (0, [])
    assert "Traceback" not in report.errors
    return report


def test_each_turn_has_its_words_its_phrases_and_a_clean_end(server: str, sound: Sound) -> None:
    """The service checks every event, and takes a turn for done with all of them alone."""
    report = run(server, sound, "plain")
    finals, turns = report.of("final"), report.of("turn")
    assert (len(finals), len(turns)) == (2, 2)
    assert all(final["text"] for final in finals)
    for turn, seconds in zip(turns, (8.7, 9.2), strict=True):
        assert turn["seconds"] == seconds
        assert abs(turn["usage"]["audio_seconds"] - seconds) < 0.01
    phrases = [one["event"] for one in report.of("phrase")]
    assert [turn["phrases"] for turn in turns] == [3, 3]
    assert len(phrases) == 6
    for phrase in phrases:
        assert {score["label"] for score in phrase["emotions"]} == set(CATEGORIES)
        assert phrase["emotion"]["dimensions"].keys() == {"valence", "arousal", "dominance"}
    assert {one["offset"] for one in report.of("phrase")} == {0.0, 8.7}
    assert " ".join(phrase["text"] for phrase in phrases[:3]) == finals[0]["text"]
    assert report.of("interim")


def test_who_waits_has_the_phrases_with_the_words(server: str, sound: Sound) -> None:
    """In ``metadata``, where their example takes them from for an LLM."""
    report = run(server, sound, "waiting")
    finals = report.of("final")
    assert [len(final["phrases"]) for final in finals] == [3, 3]
    for final in finals:
        assert " ".join(phrase["text"] for phrase in final["phrases"]) == final["text"]


def test_who_asks_who_speaks_is_told(server: str, sound: Sound) -> None:
    """Their ``diarize`` has voices told apart, within a turn."""
    phrases = [one["event"] for one in run(server, sound, "speakers").of("phrase")]
    assert phrases
    assert all(phrase["speaker"].startswith("speaker ") for phrase in phrases)


def test_a_wrong_token_ends_the_service_with_an_error(server: str, sound: Sound) -> None:
    """By the status of the answer."""
    report = CLIENT.run(endpoint(server), f"not-{TOKEN}", sound(16_000), "plain", *TURNS)
    assert report.of("final") == []
    assert "websocket_upgrade_failed" in report.of("error")[0]["error"]
