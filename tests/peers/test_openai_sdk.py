from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamser.taxonomy import CATEGORIES, UNSURE
from tests.peers.peer import TOKEN, Peer, Report

CLIENT = Peer("openai", "openai_sdk.py")
pytestmark = CLIENT.marks
COMMITTED = "input_audio_buffer.committed"
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
WAYS = ("append", "raw")

Sound = Callable[[int], Path]


def finals(report: Report) -> list[tuple[str, Any]]:
    """List what was said, and the emotion as users reach it."""
    return [(one["transcript"], one["attribute"]["category"]) for one in report.of(COMPLETED)]


def check_chain(report: Report) -> None:
    """Each utterance follows the one before it and has one final, in the same order."""
    items = [one["item_id"] for one in report.of(COMMITTED)]
    previous = [one["previous_item_id"] for one in report.of(COMMITTED)]
    assert previous == [None, *items[:-1]]
    assert [one["item_id"] for one in report.of(COMPLETED)] == items


def test_it_iterates_over_typed_events_with_emotion_on_the_finals(
    server: str, sound: Sound
) -> None:
    """Base64 at 24 kHz, server VAD; ours arrive by their type, the attribute by its name."""
    report = CLIENT.succeed(f"http://{server}/v1", TOKEN, sound(24_000), "append")
    first, second = report.seen[:2]
    assert (first["class"], second["class"]) == ("SessionCreatedEvent", "SessionUpdatedEvent")
    heard = second["session"]["audio"]["input"]
    assert heard["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert heard["turn_detection"]["silence_duration_ms"] == 500
    check_chain(report)
    assert len(report.of(COMPLETED)) >= 4
    for final in report.of(COMPLETED):
        assert final["class"] == "ConversationItemInputAudioTranscriptionCompletedEvent"
        assert final["transcript"]
        assert final["usage"]["type"] == "duration"
        assert final["attribute"] == final["emotion"]
        assert final["emotion"]["category"] in (*CATEGORIES, UNSURE)
        assert final["emotion"]["scores"].keys() == set(CATEGORIES)
    assert all(one["delta"] for one in report.of(DELTA))
    ours = {one["type"] for one in report.seen if one["type"].startswith("streamser.")}
    assert {"streamser.emotion.completed", "streamser.mood.updated"} <= ours
    assert [one["seq"] for one in report.seen] == list(range(1, len(report.seen) + 1))


def test_binary_frames_say_the_same_as_base64(server: str, sound: Sound) -> None:
    """Its ``send_raw`` saves a quarter of the line; handlers are called for our types too."""
    sent = [CLIENT.succeed(f"http://{server}/v1", TOKEN, sound(24_000), way) for way in WAYS]
    assert finals(sent[0]) == finals(sent[1])
    (closed,) = sent[1].of("streamser.session.closed")
    assert closed["utterances"] == len(sent[1].of("streamser.emotion.completed"))
    assert closed["failed"] == 0


def test_the_client_may_end_utterances_itself(server: str, sound: Sound) -> None:
    """Without turn detection each commit is an utterance; an empty one is an error, no end."""
    report = CLIENT.succeed(
        f"http://{server}/v1", TOKEN, sound(24_000), "commit", 5000, 8700, 11_600
    )
    assert report.of("session.updated")[0]["session"]["audio"]["input"]["turn_detection"] is None
    check_chain(report)
    assert len(report.of(COMMITTED)) == 3
    assert all(text and category for text, category in finals(report))
    (error,) = report.of("error")
    assert error["class"] == "RealtimeErrorEvent"
    assert error["error"]["code"] == "input_audio_buffer_commit_empty"
    assert error["error"]["event_id"] == "mine"
    assert report.of("input_audio_buffer.cleared")


def test_a_wrong_token_is_refused_at_the_door(server: str, sound: Sound) -> None:
    """The library raises, and its error has the status."""
    report = CLIENT.run(f"http://{server}/v1", f"not-{TOKEN}", sound(24_000), "append")
    assert report.code == 1
    assert report.seen == []
    assert "HTTP 401" in report.errors
