"""A snapshot fits into one message, however much goes on."""

from __future__ import annotations

import msgspec
import pytest

from streamser.events import (
    Finished,
    MeetingState,
    MoodBody,
    SessionState,
    Snapshot,
    SpeakerState,
    decode_event,
)
from streamser.server.outgoing import SNAPSHOT_BYTES, encode_snapshot
from streamser.taxonomy import CATEGORIES, Dimensions
from tests.client.pretend import PretendSession

MOOD = MoodBody(
    category="neutral",
    scores=dict.fromkeys(CATEGORIES, 0.25),
    dimensions=Dimensions(valence=0.1234, arousal=-0.1234),
)


def meeting(name: str, speakers: int) -> MeetingState:
    """Describe a meeting with as long names as there may be."""
    return MeetingState(
        meeting=name,
        at_ms=3_600_000,
        mood=MOOD,
        speakers=tuple(
            SpeakerState(
                speaker=f"{number}".ljust(80, "ä"),
                speaking=False,
                speech_ms=1000,
                share=0.0312,
                utterances=100,
                mood=MOOD,
            )
            for number in range(speakers)
        ),
        overlap_ms=0,
    )


def final(number: int, words: int = 100) -> Finished:
    """Describe an utterance of so many words."""
    return Finished(
        session_id="s",
        item_id=f"item_{number}",
        speaker="Anna",
        meeting="m0",
        at_ms=number,
        lag_ms=20.0,
        audio_start_ms=number,
        audio_end_ms=number + 1,
        transcript="word " * words,
        emotion=None,
    )


def snapshot(meetings: int = 2, speakers: int = 2, finals: int = 2, words: int = 100) -> Snapshot:
    """Describe a server on which one session goes on, in the meeting that began first."""
    created = PretendSession("s").events[0]
    info = msgspec.structs.replace(created.session, meeting="m0")  # type: ignore[attr-defined]
    return Snapshot(
        event_id="event_snapshot_1",
        cursor=1,
        replay_from=None,
        lost=False,
        sessions=(SessionState(session=info, seq=1),),
        meetings=tuple(meeting(f"m{number}", speakers) for number in range(meetings)),
        finals=tuple(final(number, words) for number in range(finals)),
    )


def read(body: bytes) -> Snapshot:
    """Decode a snapshot."""
    event = decode_event(body)
    assert isinstance(event, Snapshot)
    return event


def test_what_fits_is_told_whole() -> None:
    """Nothing is left out without need."""
    assert read(encode_snapshot(snapshot())) == snapshot()


def test_the_fullest_server_has_a_snapshot_that_clients_take() -> None:
    """All that goes on is told, the last words, and the meetings that began last."""
    full = snapshot(meetings=320, speakers=32, finals=200, words=300)
    assert len(msgspec.json.encode(full)) > 2 * SNAPSHOT_BYTES
    body = encode_snapshot(full)
    assert SNAPSHOT_BYTES // 2 < len(body) <= SNAPSHOT_BYTES
    told = read(body)
    assert told.sessions == full.sessions
    assert told.finals == full.finals
    assert told.meetings[0] == full.meetings[0]
    kept = len(told.meetings) - 1
    assert told.meetings[1:] == full.meetings[-kept:]


@pytest.mark.parametrize("most", [2_000, 3_000, 4_000, 5_000])
def test_the_oldest_finals_go_first(most: int) -> None:
    """However little room there is."""
    told = read(body := encode_snapshot(snapshot(finals=20), most))
    assert len(body) <= most
    assert told.finals == tuple(final(number) for number in range(20 - len(told.finals), 20))


def test_no_snapshot_is_shorter_than_an_empty_one() -> None:
    """Such a limit is a fault of ours."""
    with pytest.raises(ValueError, match="no snapshot has 10 bytes"):
        encode_snapshot(snapshot(), 10)
