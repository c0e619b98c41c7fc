"""Categories from class means: flat where nothing is known, sure where both proxies agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.calibration import entropy
from streamser.emotion.rules import PRIOR, ProxyValue, is_unsure, posterior
from streamser.taxonomy import CATEGORIES

proxies = st.none() | st.builds(ProxyValue, st.floats(-1, 1), st.floats(0, 1))


def test_nothing_measured_returns_the_prior_and_is_unsure() -> None:
    """Without a proxy there is no dominance either."""
    found = posterior(None, None)
    assert found.scores == pytest.approx(PRIOR)
    assert found.dominance is None
    assert is_unsure(found.scores)


@pytest.mark.parametrize("arousal", [-0.8, -0.5, 0.0, 0.5, 0.8])
def test_voice_alone_cannot_tell_angry_from_happy(arousal: float) -> None:
    """The two differ by valence: without words both are about as likely, and none is named."""
    found = posterior(ProxyValue(arousal), None)
    high, low = sorted((found.scores["angry"], found.scores["happy"]), reverse=True)
    assert high < 1.8 * low
    assert high - low < 0.15
    assert is_unsure(found.scores)


def test_a_raised_voice_makes_both_aroused_categories_likely() -> None:
    """Arousal tells angry and happy from sad and neutral, at least."""
    scores = posterior(ProxyValue(0.7), None).scores
    assert scores["angry"] + scores["happy"] > 0.8
    scores = posterior(ProxyValue(-0.7), None).scores
    assert scores["sad"] + scores["neutral"] > 0.8


@pytest.mark.parametrize(
    ("arousal", "valence", "category"),
    [
        (0.7, 0.8, "happy"),
        (0.7, -0.7, "angry"),
        (-0.7, -0.7, "sad"),
        (-0.4, 0.5, "neutral"),
    ],
)
def test_voice_and_words_together_name_a_category(
    arousal: float, valence: float, category: str
) -> None:
    """Each quadrant has its category, and it is sure of it."""
    scores = posterior(ProxyValue(arousal), ProxyValue(valence)).scores
    assert max(scores, key=scores.__getitem__) == category
    assert not is_unsure(scores)


def test_dominance_is_that_of_the_categories_it_lets_expect() -> None:
    """Angry is dominant (3.95 of 5), sad is not (2.83); what is derived lies between."""
    angry = posterior(ProxyValue(0.9), ProxyValue(-0.9)).dominance
    sad = posterior(ProxyValue(-0.9), ProxyValue(-0.9)).dominance
    assert angry == pytest.approx((3.95 - 3) / 2, abs=0.02)
    assert sad == pytest.approx((2.83 - 3) / 2, abs=0.02)


def test_less_reliable_measurements_move_the_prior_less() -> None:
    """Reliability and strength flatten, down to the prior itself."""
    sharp = [posterior(ProxyValue(0.9, r), ProxyValue(0.9, r)).scores for r in (1.0, 0.5, 0.1)]
    assert entropy(sharp[0]) < entropy(sharp[1]) < entropy(sharp[2])
    assert posterior(ProxyValue(0.9), ProxyValue(0.9), 0.0).scores == pytest.approx(PRIOR)
    assert posterior(ProxyValue(0.9, 0.0), ProxyValue(0.9, 0.0)).scores == pytest.approx(PRIOR)


@given(proxies, proxies, st.floats(0, 1))
def test_scores_are_probabilities(
    arousal: ProxyValue | None, valence: ProxyValue | None, strength: float
) -> None:
    """Whatever was measured, scores sum to 1 and dominance keeps its scale."""
    found = posterior(arousal, valence, strength)
    assert tuple(found.scores) == CATEGORIES
    assert sum(found.scores.values()) == pytest.approx(1.0)
    assert min(found.scores.values()) >= 0.0
    assert found.dominance is None or -1.0 <= found.dominance <= 1.0


def test_entropy_runs_from_certain_to_uniform() -> None:
    """It is 0 for certainty, 1 for no idea."""
    assert entropy({"a": 1.0, "b": 0.0}) == 0.0
    assert entropy({"a": 0.5, "b": 0.5}) == pytest.approx(1.0)


def test_a_tie_is_unsure_however_low_its_entropy() -> None:
    """Two likely categories are two, not one."""
    assert is_unsure({"neutral": 0.0, "happy": 0.5, "sad": 0.0, "angry": 0.5})
    assert not is_unsure({"neutral": 0.1, "happy": 0.7, "sad": 0.1, "angry": 0.1})
