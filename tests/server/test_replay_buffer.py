"""What a stream's client can still be told when it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from streamser.events import (
    Cleared,
    ErrorBody,
    Event,
    SessionResumed,
    SpeakersChanged,
    TranscriptionDelta,
    TranscriptionFailed,
    encode_event,
)
from streamser.server.outgoing import EncodedEvent, ReplayBuffer, can_be_left_out, short_of_history
from streamser.settings import ServerSettings


class Told:
    """Tell a history events of one stream, numbered."""

    def __init__(self, history: ReplayBuffer) -> None:
        self.history, self.seq = history, 0

    def tell(self, kind: type[Event], **fields: Any) -> None:
        """Add an event."""
        self.seq += 1
        event = kind(event_id="e", session_id="s", seq=self.seq, **fields)
        body = encode_event(event)
        self.history.add(event, EncodedEvent("s", self.seq, 0, can_be_left_out(event), (body,)))

    def reading(self) -> None:
        """Add a reading on the way."""
        self.tell(TranscriptionDelta, item_id="i", delta="and so")

    def final(self) -> None:
        """Add the end of an utterance."""
        error = ErrorBody(type="server_error", code="c", message="m")
        self.tell(TranscriptionFailed, item_id="i", error=error, audio_start_ms=0, audio_end_ms=1)


def test_who_comes_back_is_told_all_that_came_since() -> None:
    """In order, nothing twice, and nothing is said to be lost."""
    told = Told(ReplayBuffer())
    for _ in range(3):
        told.reading()
        told.final()
    missed = told.history.since(2)
    assert [encoded_event.seq for encoded_event in missed.events] == [3, 4, 5, 6]
    assert (missed.lost_events, missed.lost_finals) == (0, 0)


def test_finals_are_kept_longest() -> None:
    """Readings on the way go first, then what is no final; what went is counted."""
    told = Told(ReplayBuffer(most=4))
    told.final()
    told.tell(Cleared)
    for _ in range(5):
        told.reading()
    told.final()
    told.final()
    told.final()
    missed = told.history.since(0)
    assert [encoded_event.seq for encoded_event in missed.events] == [1, 8, 9, 10]
    assert (missed.lost_events, missed.lost_finals) == (6, 0)


def test_a_final_that_is_gone_is_told_to_those_who_lack_it_and_to_nobody_else() -> None:
    """It depends on how far the client has come."""
    told = Told(ReplayBuffer(most=2))
    for _ in range(5):
        told.final()
    assert [told.history.since(seq).lost_finals for seq in range(5)] == [3, 2, 1, 0, 0]
    assert [told.history.since(seq).lost_events for seq in range(5)] == [3, 2, 1, 0, 0]


def test_bytes_are_bounded_as_well() -> None:
    """However few events they are."""
    told = Told(ReplayBuffer(most_bytes=1_000))
    for _ in range(100):
        told.final()
    letters = told.history.since(0).events
    assert 0 < sum(encoded_event.size for encoded_event in letters) <= 1_000
    assert told.history.since(0).lost_finals == 100 - len(letters)


def test_an_earlier_return_is_neither_told_again_nor_lost() -> None:
    """Where it said to send on is true no more; its number is no gap."""
    told = Told(ReplayBuffer())
    told.final()
    told.tell(SessionResumed, received_frames=1)
    told.final()
    missed = told.history.since(0)
    assert [encoded_event.seq for encoded_event in missed.events] == [1, 3]
    assert missed.lost_events == 0


@pytest.mark.parametrize(
    ("own", "part"),
    [
        (ServerSettings(backlog_events=1000, replay_events=500), "raise it to 1000"),
        (ServerSettings(backlog_events=5000), "set it to 4000 or less"),
    ],
)
def test_more_may_not_wait_for_a_client_than_is_kept_for_it(own: ServerSettings, part: str) -> None:
    """What waits is lost with the connection; whoever sets a server up is told at its start."""
    line = short_of_history(own)
    assert line is not None
    assert part in line


def test_settings_that_fit_are_not_spoken_of() -> None:
    """The usual ones do, as do those of a server to which nobody can come back."""
    assert short_of_history(ServerSettings()) is None
    assert short_of_history(ServerSettings(backlog_events=5000, resume_s=0)) is None


def test_who_spoke_after_all_is_kept_as_long_as_any_final() -> None:
    """Who had heard the finals before would hold wrong names for ever."""
    told = Told(ReplayBuffer(most=3))
    told.tell(SpeakersChanged, renamed={"speaker 1": "Ann"})
    for _ in range(10):
        told.reading()
        told.final()
    missed = told.history.since(0)
    assert [event.seq for event in missed.events] == [1, 19, 21]
