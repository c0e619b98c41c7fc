"""Who speaks when within a stretch: two at once are found, tracks keep their speakers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import AudioError
from streamser.speech.campplus import DIRECTORY
from streamser.speech.overlap import (
    STEP,
    WINDOW,
    Activity,
    Segmentation,
    Stretch,
    load_segmentation,
)
from tools.speakers.reference import sounds

DEMO = DIRECTORY.parent / "demo.flac"
REFERENCE = Path(__file__).with_name("segmentation_reference.npz")
"""Of pyannote's network: `python -m tools.speakers reference segmentation`."""
FIRST = 360
"""Where the first frame begins, if each is as wide as a step."""


@pytest.fixture(scope="module")
def segmentation() -> Segmentation:
    """Load it once."""
    return load_segmentation()


@pytest.fixture(scope="module")
def turns() -> list[tuple[str, Samples]]:
    """Return who speaks in the bundled conversation, and what is heard of each turn."""
    spoken, _ = soundfile.read(DEMO, dtype="float32")
    script = msgspec.json.decode(DEMO.with_suffix(".json").read_bytes())["utterances"]
    return [
        (line["speaker"], spoken[line["start_ms"] * 16 : line["end_ms"] * 16]) for line in script
    ]


def activity(*runs: tuple[str, int]) -> Activity:
    """Make what is heard of runs of frames: ``a``, ``b``, ``c`` alone, ``ab`` at once, or none."""
    tracks = [[float(each in who) for each in "abc"] for who, count in runs for _ in range(count)]
    found = np.array(tracks, np.float32)
    return Activity(found, (found.sum(axis=1) > 1).astype(np.float32))


def span(first: int, last: int) -> Stretch:
    """Name frames by their samples."""
    return Stretch(FIRST + first * STEP, FIRST + last * STEP)


class Renaming:
    """Hear a speaker by the level of the sound; each window names its tracks in another order."""

    def __init__(self, orders: Sequence[tuple[int, ...]]) -> None:
        self._orders = list(orders)
        self.lengths: list[int] = []

    def run(self, _: list[str], given: dict[str, Any]) -> list[Any]:
        samples = given["samples"][0]
        order = self._orders[len(self.lengths)]
        self.lengths.append(len(samples))
        centres = np.arange(1 + (len(samples) - 991) // STEP) * STEP + 495
        sets = np.full((1, len(centres), 7), 0.01, np.float32)
        for frame, level in enumerate(samples[centres]):
            sets[0, frame, 1 + order.index(int(level))] = 0.94
        return [np.log(sets)]


def test_classes_are_those_of_the_published_network(segmentation: Segmentation) -> None:
    """Nearly, for weights are rounded; and the likeliest is the same nearly always."""
    wanted = np.load(REFERENCE)["classes"]
    found = segmentation.hear(sounds()[3][:WINDOW])
    assert found.tracks.shape == (len(wanted), 3)
    np.testing.assert_allclose(found.several, wanted[:, 4:].sum(axis=1), atol=0.05)
    whose = np.stack([wanted[:, [1, 4, 5]], wanted[:, [2, 4, 6]], wanted[:, [3, 5, 6]]])
    np.testing.assert_allclose(found.tracks.T, whose.sum(axis=2), atol=0.1)


def test_two_at_once_are_found_where_they_are(
    segmentation: Segmentation, turns: list[tuple[str, Samples]]
) -> None:
    """And nobody else is heard in the turns of one speaker."""
    (one, first), (other, second) = turns[0], turns[1]
    assert one != other
    late = len(first) - SAMPLE_RATE
    mixture = np.zeros(late + len(second), np.float32)
    mixture[: len(first)] += first
    mixture[late:] += second
    (found,) = segmentation.hear(mixture).overlaps(least=SAMPLE_RATE // 4)
    assert abs(found.start - late) < 0.4 * SAMPLE_RATE
    assert abs(found.end - len(first)) < 0.4 * SAMPLE_RATE
    for _, turn in turns[:4]:
        assert segmentation.hear(turn).overlaps(least=SAMPLE_RATE // 4) == []


def test_a_change_without_a_pause_is_found(
    segmentation: Segmentation, turns: list[tuple[str, Samples]]
) -> None:
    """Within a quarter of a second."""
    (_, first), (_, second) = turns[0], turns[1]
    found = segmentation.hear(np.concatenate([first, second])).turns(least=SAMPLE_RATE // 4)
    assert len({track for track, _ in found}) == 2
    (start,) = [b.start for (a, _), (c, b) in pairwise(found) if a != c]
    assert abs(start - len(first)) < SAMPLE_RATE // 4


@pytest.mark.parametrize(
    ("length", "frames"), [(0, 0), (990, 0), (991, 1), (1_260, 1), (1_261, 2), (16_000, 56)]
)
def test_frames_lie_wholly_in_the_sound(
    segmentation: Segmentation, length: int, frames: int
) -> None:
    """What is shorter than a frame has none."""
    sound = np.random.default_rng(0).normal(scale=0.1, size=length).astype(np.float32)
    found = segmentation.hear(sound)
    assert found.tracks.shape == (frames, 3)
    assert found.counts.shape == (frames,)
    assert np.isfinite(found.tracks).all()


def test_in_silence_nobody_is_heard(segmentation: Segmentation) -> None:
    """Nor in what clips from end to end of the range does anything break."""
    found = segmentation.hear(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert found.counts.max() == 0
    assert found.turns() == []
    loud = np.sign(np.random.default_rng(1).normal(size=SAMPLE_RATE)).astype(np.float32)
    assert np.isfinite(segmentation.hear(loud).tracks).all()


def test_samples_that_are_no_numbers_are_refused(segmentation: Segmentation) -> None:
    """In one line."""
    with pytest.raises(AudioError, match="samples that are no numbers"):
        segmentation.hear(np.full(SAMPLE_RATE, np.nan, np.float32))


def test_a_speaker_keeps_the_track_over_windows() -> None:
    """However each window names who is in it."""
    levels = np.repeat([0, 1, 2, 1, 0, 2] * 4, 20_000).astype(np.float32)
    graph = Renaming([(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0)])
    found = Segmentation(graph).hear(levels)
    assert len(found.tracks) == 1 + (len(levels) - 991) // STEP
    assert max(graph.lengths) == WINDOW
    centres = np.arange(len(found.tracks)) * STEP + 495
    np.testing.assert_array_equal(found.tracks.argmax(axis=1), levels[centres])


def test_overlaps_are_runs_of_frames_long_enough() -> None:
    """Shorter ones are left out."""
    heard = activity(("a", 10), ("ab", 4), ("b", 6), ("bc", 9), ("", 3))
    assert heard.overlaps() == [span(10, 14), span(20, 29)]
    assert heard.overlaps(least=5 * STEP) == [span(20, 29)]
    assert heard.counts.tolist() == [1] * 10 + [2] * 4 + [1] * 6 + [2] * 9 + [0] * 3


def test_turns_follow_each_other_or_a_pause() -> None:
    """A change of speaker without a pause ends one turn where the next begins."""
    heard = activity(("a", 10), ("b", 8), ("", 5), ("b", 6))
    assert heard.turns() == [(0, span(0, 10)), (1, span(10, 18)), (1, span(23, 29))]


@pytest.mark.parametrize(
    ("runs", "wanted"),
    [
        ([("a", 10), ("b", 2), ("a", 8)], [(0, 0, 20)]),
        ([("a", 10), ("b", 2), ("c", 8)], [(0, 0, 12), (2, 12, 20)]),
        ([("a", 2), ("b", 10)], [(1, 0, 12)]),
        ([("a", 2)], [(0, 0, 2)]),
    ],
    ids=["within", "between", "first", "alone"],
)
def test_what_is_too_short_to_be_a_turn_is_given_to_its_neighbour(
    runs: list[tuple[str, int]], wanted: list[tuple[int, int, int]]
) -> None:
    """To the one before; the first to the next."""
    found = activity(*runs).turns(least=4 * STEP)
    assert found == [(track, span(first, last)) for track, first, last in wanted]
