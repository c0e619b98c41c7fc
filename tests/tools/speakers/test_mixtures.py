"""Made talk tells the truth about itself, and a perfect listener is told from a deaf one."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.audio.clip import Samples
from streamser.speech.overlap import Activity
from tools.speakers.judge import Spoken
from tools.speakers.mixtures import Alone, Mixture, alone, mixed, score

RNG = np.random.default_rng(5)


def clips() -> list[Spoken]:
    """Make two clips of two seconds of each of four people."""
    return [
        Spoken(RNG.normal(scale=0.1, size=32_000).astype(np.float32), person, "neutral")
        for person in ("ann", "bob", "cem", "dee")
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def mixtures() -> list[Mixture]:
    """Make some once."""
    return list(mixed(clips(), 8, seed=2, seconds=(8.0, 12.0)))


def test_mixtures_are_of_two_or_three_and_the_same_again(mixtures: list[Mixture]) -> None:
    """Some of it is said at once, and some by nobody; the seed decides."""
    assert {each.truth.shape[1] for each in mixtures} == {2, 3}
    said = np.concatenate([each.truth.sum(axis=1) for each in mixtures])
    assert {0, 1, 2} <= set(said.tolist())
    assert all(8.0 <= len(each.samples) / 16_000 <= 12.0 for each in mixtures)
    (again,) = mixed(clips(), 1, seed=2, seconds=(8.0, 12.0))
    assert again.truth.tolist() == mixtures[0].truth.tolist()


def test_who_speaks_is_where_sound_is(mixtures: list[Mixture]) -> None:
    """Silence between turns belongs to nobody."""
    for each in mixtures:
        centres = np.arange(len(each.truth)) * 270 + 495
        loud = [np.abs(each.samples[c - 135 : c + 135]).max() > 0.0 for c in centres]
        assert (each.truth.any(axis=1) == loud).mean() > 0.98


def test_who_hears_all_makes_no_error(mixtures: list[Mixture]) -> None:
    """Whatever the tracks are called."""
    answers = iter(mixtures)

    def hear(_: Samples) -> Activity:
        truth = next(answers).truth[:, ::-1].astype(np.float32)
        tracks = np.pad(truth, ((0, 0), (0, 3 - truth.shape[1])))
        return Activity(tracks, (tracks.sum(axis=1) >= 2).astype(np.float32))

    found = score(hear, mixtures)
    assert (found.precision, found.recall, found.confused) == (1.0, 1.0, 0.0)
    assert found.change_recall > 0.9
    assert found.change_precision > 0.9


def test_who_hears_one_voice_finds_nothing(mixtures: list[Mixture]) -> None:
    """Neither two at once nor changes; what others say is on the wrong track."""

    def hear(samples: Samples) -> Activity:
        count = 1 + (len(samples) - 991) // 270
        tracks = np.zeros((count, 3), np.float32)
        tracks[:, 0] = 1.0
        return Activity(tracks, np.zeros(count, np.float32))

    found = score(hear, mixtures)
    assert (found.recall, found.change_recall) == (0.0, 0.0)
    assert found.confused > 0.25


def test_two_in_a_clip_of_one_are_counted_as_wrong() -> None:
    """By frames, by clips where they last, and by clips in which they take turns."""
    answers = iter([(60, 20), (78, 2), (80, 0), (40, 0)])

    def hear(samples: Samples) -> Activity:
        one, two = next(answers)
        tracks = np.zeros((80, 3), np.float32)
        tracks[:one, 0] = 1.0
        tracks[one:, 1] = 1.0
        several = np.zeros(80, np.float32)
        several[:two] = 1.0
        return Activity(tracks, several)

    assert alone(hear, clips()[:4]) == Alone(22 / 320, 1 / 4, 2 / 4)
