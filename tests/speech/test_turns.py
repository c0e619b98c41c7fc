"""How utterances are found: by a detector, or where the client commits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.clip import Ring, Samples
from streamser.speech.endpointing import Closed, EndpointerSettings, EndpointEvent, Extended, Opened
from streamser.speech.turns import MIN_COMMIT, ManualTurnDetector, TurnDetector, VadTurnDetector
from tests.pipeline.doubles import WINDOW, LevelVad, speech

SETTINGS = EndpointerSettings.from_ms()
LONGEST = 16_000


def by_detector(ring: Ring) -> TurnDetector:
    """Find utterances by level."""
    return VadTurnDetector(ring, LevelVad(), SETTINGS)


def by_hand(ring: Ring) -> TurnDetector:
    """Find utterances by commits; the longest lasts a second."""
    return ManualTurnDetector(ring, LONGEST, WINDOW)


def hear(turns: TurnDetector, samples: Samples) -> list[EndpointEvent]:
    """Hear all samples."""
    found = []
    while len(samples):
        taken, events = turns.detect(samples)
        assert 0 < taken <= len(samples)
        samples = samples[taken:]
        found += events
    return found


def test_an_utterance_by_hand_lasts_from_commit_to_commit() -> None:
    """Every sample belongs to one; silence does too."""
    turns = by_hand(Ring(2 * LONGEST))
    sound = speech((0.2, 0.3), (0.15, 0.0))
    events = hear(turns, sound)
    assert events[0] == Opened(0)
    assert [event for event in events[1:] if not isinstance(event, Extended)] == []
    assert turns.commit() == [Closed(0, len(sound), "commit")]
    assert turns.idle
    assert hear(turns, sound)[0] == Opened(len(sound))


def test_too_little_cannot_be_committed_and_stays() -> None:
    """Under 100 ms, as OpenAI has it."""
    turns = by_hand(Ring(2 * LONGEST))
    assert turns.commit() == []
    hear(turns, np.zeros(MIN_COMMIT - 1, np.float32))
    assert turns.commit() == []
    hear(turns, np.zeros(1, np.float32))
    assert turns.commit() == [Closed(0, MIN_COMMIT, "commit")]


def test_who_never_commits_is_cut_at_the_longest() -> None:
    """So that memory is bounded, and an answer comes."""
    turns = by_hand(Ring(2 * LONGEST))
    events = hear(turns, np.zeros(2 * LONGEST + 100, np.float32))
    closed = [event for event in events if isinstance(event, Closed)]
    assert closed == [
        Closed(0, LONGEST, "max_length"), Closed(LONGEST, 2 * LONGEST, "max_length"),
    ]  # fmt: skip
    assert turns.flush() == []
    hear(turns, np.zeros(MIN_COMMIT, np.float32))
    begun = 2 * LONGEST + 100
    assert turns.flush() == [Closed(begun, begun + MIN_COMMIT, "flush")]


def test_a_detector_can_be_told_to_end_the_utterance() -> None:
    """What is open is closed at the last whole window; silence has nothing to close."""
    turns = by_detector(Ring(10 * LONGEST))
    hear(turns, speech((0.5, 0.0)))
    assert turns.commit() == []
    hear(turns, speech((0.5, 0.3)))
    (closed,) = turns.commit()
    assert isinstance(closed, Closed)
    assert closed.reason == "commit"
    assert turns.heard - WINDOW <= closed.end <= turns.heard


@pytest.mark.parametrize("make", [by_detector, by_hand])
def test_what_is_cleared_never_was(make: type) -> None:
    """The next utterance begins after it."""
    turns = make(Ring(10 * LONGEST))
    hear(turns, speech((0.5, 0.3)))
    turns.clear()
    assert turns.idle
    assert turns.commit() == []
    cleared = turns.heard
    events = hear(turns, speech((0.5, 0.3)))
    assert isinstance(events[0], Opened)
    assert events[0].start >= cleared - WINDOW


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_one_way_can_go_on_where_the_other_stopped(pieces: list[int]) -> None:
    """Positions stay those of the session, and no sample is lost or held twice."""
    ring = Ring(20 * LONGEST)
    turns: TurnDetector = by_detector(ring)
    total, values = 0, np.arange(60_000, dtype=np.float32) / 1e9
    for n, size in enumerate(pieces):
        hear(turns, values[total : total + size])
        total += size
        assert turns.heard == total
        turns.clear()
        turns.release()
        assert ring.end == total
        turns = by_hand(ring) if n % 2 else by_detector(ring)
    assert np.array_equal(ring.read(0, total), values[:total])


def test_a_detector_that_begins_late_speaks_of_the_sessions_own_samples() -> None:
    """Its utterances lie where they are heard."""
    ring = Ring(20 * LONGEST)
    ring.append(np.zeros(12_345, np.float32))
    turns = by_detector(ring)
    events = hear(turns, speech((0.5, 0.0), (0.5, 0.3), (1.0, 0.0)))
    opened = next(event for event in events if isinstance(event, Opened))
    closed = next(event for event in events if isinstance(event, Closed))
    assert 12_345 + 8000 - SETTINGS.pre_roll - WINDOW <= opened.start <= 12_345 + 8000
    assert 12_345 + 16_000 <= closed.end <= 12_345 + 16_000 + SETTINGS.tail + WINDOW
