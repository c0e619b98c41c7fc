"""Vocal arousal against a speaker's baseline: percentiles, prior, weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.prosody import (
    EQUAL_UNTIL,
    MEMORY,
    Baseline,
    Features,
    features_of,
    measure,
    spearman,
)

features = st.tuples(st.floats(math.log(75), math.log(600)), st.floats(-80, 0), st.floats(-40, 40))


def heard(history: list[Features]) -> Baseline:
    """Return a baseline that has heard utterances in order."""
    baseline = Baseline()
    for utterance in history:
        baseline = baseline.extended(utterance)
    return baseline


def ordinary(count: int, seed: int = 0) -> list[Features]:
    """Return utterances of a woman whose effort moves all three features together."""
    effort = np.random.default_rng(seed).normal(0.0, 1.0, count)
    return [(math.log(200) + 0.1 * e, -25 + 3 * e, -1 + 2 * e) for e in effort.tolist()]


def test_more_effort_than_ever_scores_high_and_less_than_ever_low() -> None:
    """An utterance above (below) all others comes near 1 (-1), the usual one near 0."""
    baseline = heard(ordinary(40))
    assert baseline.score((math.log(330), -12.0, 9.0)).score > 0.85
    assert baseline.score((math.log(130), -38.0, -11.0)).score < -0.85
    assert abs(baseline.score((math.log(200), -25.0, -1.0)).score) < 0.2


def test_a_strange_speaker_is_scored_by_the_population() -> None:
    """At first a pitch between men and women is usual, a very high one aroused; level is mute."""
    nobody = Baseline()
    assert abs(nobody.score((math.log(152), -25.0, -1.2)).score) < 0.05
    assert nobody.score((math.log(350), -25.0, -1.2)).feature_scores[0] > 0.9
    assert nobody.score((math.log(152), 0.0, -1.2)).feature_scores[1] == 0.0


def test_the_prior_never_vanishes() -> None:
    """Somebody shrill in every utterance still scores above somebody who whispers in every one."""
    shrill: Features = (math.log(380), -15.0, 10.0)
    whisper: Features = (math.log(85), -45.0, -14.0)
    assert heard([shrill] * 200).score(shrill).score > 0.03
    assert heard([whisper] * 200).score(whisper).score < -0.03


def test_ties_count_half() -> None:
    """An utterance just like all others scores 0 in the feature without a population."""
    same: Features = (math.log(200), -25.0, -1.0)
    assert heard([same] * 10).score(same).feature_scores[1] == 0.0


def test_weights_are_equal_at_first_and_then_follow_agreement() -> None:
    """A feature that runs against the others loses its weight once there are enough utterances."""
    opposed = [(f0, -50.0 - level, hf) for f0, level, hf in ordinary(30)]
    assert heard(opposed[: EQUAL_UNTIL - 1]).weights == (1 / 3, 1 / 3, 1 / 3)
    pitch, intensity, brightness = heard(opposed).weights
    assert intensity == 0.0
    assert pitch == pytest.approx(0.5, abs=0.1)
    assert brightness == pytest.approx(0.5, abs=0.1)


def test_gain_does_not_matter() -> None:
    """The same speech through a microphone 12 dB louder or softer scores the same."""
    history, now = ordinary(20), (math.log(220), -22.0, 1.0)
    usual = heard(history).score(now)
    for gain in (-12.0, 12.0):
        moved = heard([(f0, level + gain, hf) for f0, level, hf in history])
        assert moved.score((now[0], now[1] + gain, now[2])) == usual


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    """Only the last utterances count, however long the session."""
    history = ordinary(MEMORY + 30)
    assert len(heard(history)) == MEMORY
    assert heard(history) == heard(history[-MEMORY:])


def test_a_baseline_never_changes_in_place() -> None:
    """Extending one returns another."""
    before = heard(ordinary(6))
    before.extended((math.log(300), -10.0, 5.0))
    assert before == heard(ordinary(6))


@given(st.lists(features, max_size=20), features)
def test_scores_and_weights_stay_in_their_ranges(history: list[Features], now: Features) -> None:
    """Whatever was heard, scores are in [-1, 1] and weights are shares."""
    arousal = heard(history).score(now)
    assert -1.0 <= arousal.score <= 1.0
    assert all(-1.0 <= score <= 1.0 for score in arousal.feature_scores)
    assert min(arousal.weights) >= 0.0
    assert sum(arousal.weights) == pytest.approx(1.0)


def test_rank_correlation_is_spearmans() -> None:
    """Any rising curve correlates 1, any falling one -1, a constant 0; ties share a rank."""
    x = np.arange(10.0)
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -(x**3)) == pytest.approx(-1.0)
    assert spearman(x, np.ones(10)) == 0.0
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    tied = spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert tied == pytest.approx(math.sqrt(0.9))


def test_silence_has_no_features() -> None:
    """An unvoiced clip cannot enter a baseline."""
    assert features_of(measure(np.zeros(16_000, np.float32))) is None
