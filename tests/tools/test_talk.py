"""Talk to measure with: the bundled conversation, and sound cut as it is live."""

from __future__ import annotations

from itertools import pairwise

import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE
from streamser.taxonomy import CATEGORIES
from tools.talk import ASSETS, turns, utterances


def test_a_recording_is_cut_as_it_is_live_and_its_last_utterance_is_not_lost() -> None:
    """A pause within a turn of the bundled conversation makes it two utterances."""
    sound, _ = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    found = turns()
    end = found[-1].end_ms * SAMPLE_RATE // 1000
    cut = list(utterances(sound[:end]))
    assert len(found) <= len(cut) <= len(found) + 2
    assert sum(map(len, cut)) > 0.95 * sum(len(turn.samples) for turn in found)
    assert len(list(utterances(found[-1].samples))) == 1


def test_a_turn_is_as_long_as_it_says() -> None:
    """All are of three speakers, in one of the four moods, one after the other."""
    found = turns()
    for turn in found:
        length_ms = turn.end_ms - turn.start_ms
        assert len(turn.samples) * 1000 / SAMPLE_RATE == pytest.approx(length_ms, abs=0.1)
        assert turn.style in CATEGORIES
    assert len({turn.speaker for turn in found}) == 3
    assert all(one.end_ms <= other.start_ms for one, other in pairwise(found))
