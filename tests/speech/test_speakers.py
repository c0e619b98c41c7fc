"""Speakers of one microphone: guessed from the likeness of voices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.speech.speakers import SpeakerClusters, Voice

SIZE = 32


def voice(speaker: int, chance: int = 0, spread: float = 0.0) -> Voice:
    """Return a voice near the axis that is the speaker's own, off it by ``spread`` radians."""
    off = np.random.default_rng(chance).normal(size=SIZE)
    off[speaker] = 0.0
    sound = off / np.linalg.norm(off) * math.sin(spread)
    sound[speaker] = math.cos(spread)
    return sound.astype(np.float32)


def between(share: float) -> Voice:
    """Return a voice that has so much of the first speaker, and the rest of the second."""
    return np.float32(math.sqrt(share)) * voice(0) + np.float32(math.sqrt(1 - share)) * voice(1)


turns = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 10_000), st.integers(1_500, 20_000)), max_size=40
)


@given(turns, st.floats(0.0, 0.6))
def test_well_separated_speakers_are_found_exactly(
    said: list[tuple[int, int, int]], spread: float
) -> None:
    """In any order, however long each speaks: one label each, numbered as they come."""
    clusters = SpeakerClusters(0.6)
    labels: dict[int, str] = {}
    for speaker, chance, duration_ms in said:
        label = clusters.assign(voice(speaker, chance, spread / 2), duration_ms)
        assert label == labels.setdefault(speaker, f"speaker {len(labels) + 1}")


@given(turns)
def test_the_same_voices_get_the_same_labels(said: list[tuple[int, int, int]]) -> None:
    """There is no chance in it, even where voices are hardly alike."""
    one, two = SpeakerClusters(0.5), SpeakerClusters(0.5)
    heard = [(voice(speaker, chance, 1.0), ms) for speaker, chance, ms in said]
    assert [one.assign(*turn) for turn in heard] == [two.assign(*turn) for turn in heard]


@given(turns, st.integers(1, 5))
def test_there_are_never_more_speakers_than_there_is_room_for(
    said: list[tuple[int, int, int]], limit: int
) -> None:
    """Who comes too late is taken for somebody who is there."""
    clusters = SpeakerClusters(0.5, limit=limit)
    labels = {clusters.assign(voice(speaker), ms) for speaker, _, ms in said}
    assert labels <= {f"speaker {number + 1}" for number in range(limit)}


def test_who_comes_too_late_does_not_change_whom_they_are_taken_for() -> None:
    """The first speaker is still known after a stranger has talked for long."""
    clusters = SpeakerClusters(0.9, limit=1)
    clusters.assign(voice(0), 2_000)
    assert clusters.assign(voice(1), 60_000) == "speaker 1"
    assert clusters.assign(voice(0), 500) == "speaker 1"


def test_a_short_utterance_founds_no_speaker() -> None:
    """It is given to one who is known, or to nobody."""
    clusters = SpeakerClusters(0.5)
    assert clusters.assign(voice(0), 1_499) is None
    assert clusters.assign(voice(0), 1_500) == "speaker 1"
    assert clusters.assign(voice(0), 400) == "speaker 1"
    assert clusters.assign(voice(1), 400) is None
    assert clusters.assign(voice(2), 4_000) == "speaker 2"


def test_what_is_known_of_a_voice_follows_it() -> None:
    """The mean moves with every long utterance, the more the longer it is; no short one moves it.

    What is half way between a speaker's first voice and the second speaker's is not close enough
    to the first, but is once the speaker has sounded a little more like it.
    """
    far = between(0.5)
    for in_between_ms, expected in ((20_000, "speaker 1"), (1_600, "speaker 2"), (1, "speaker 2")):
        clusters = SpeakerClusters(0.8)
        clusters.assign(voice(0), 8_000)
        clusters.assign(between(0.75), in_between_ms)
        assert clusters.assign(far, 2_000) == expected


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, math.nan])
def test_a_threshold_lies_between_nothing_and_everything(threshold: float) -> None:
    """Anything else makes all voices one, or none."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        SpeakerClusters(threshold)


def test_there_must_be_room_for_somebody() -> None:
    """A limit of no speakers has no meaning."""
    with pytest.raises(ValueError, match="room"):
        SpeakerClusters(0.5, limit=0)


@pytest.mark.parametrize("sound", [0.0, math.nan, math.inf])
def test_a_voice_without_direction_is_refused(sound: float) -> None:
    """It would be like everybody or nobody."""
    with pytest.raises(ValueError, match="direction"):
        SpeakerClusters(0.5).assign(np.full(SIZE, sound, np.float32), 2_000)


def test_the_length_of_a_vector_does_not_matter() -> None:
    """Only its direction tells voices apart."""
    clusters = SpeakerClusters(0.5)
    assert clusters.assign(voice(0) * np.float32(7.0), 2_000) == "speaker 1"
    assert clusters.assign(voice(0) * np.float32(0.01), 2_000) == "speaker 1"
