from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.peers.peer import TOKEN, Peer

CLIENT = Peer("livekit", "livekit_stt.py")
pytestmark = CLIENT.marks


def test_its_speech_recogniser_hears_every_utterance(
    server: str, sound: Callable[[int], Path]
) -> None:
    """Starts, ends, finals in order, and how long each was; what it does not know it ignores."""
    report = CLIENT.succeed(f"http://{server}/v1", TOKEN, sound(24_000), 4)
    finals = report.of("final_transcript")
    assert len(finals) == 4
    assert all(text for final in finals for text in final["texts"])
    numbers = [int(final["item_id"].rpartition("_")[2]) for final in finals]
    assert numbers == sorted(set(numbers))
    turns = [one["type"] for one in report.of("start_of_speech", "end_of_speech")]
    assert turns[::2] == ["start_of_speech"] * len(turns[::2])
    assert turns[1::2] == ["end_of_speech"] * len(turns[1::2])
    assert len(turns) >= 8
    assert all(usage["seconds"] > 1 for usage in report.of("recognition_usage"))
