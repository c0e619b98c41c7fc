"""Intervals hold what they promise, and systems are compared on equal terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.training.evaluation import metrics
from streamser.training.evaluation.bootstrap import clusters, compare, estimate
from streamser.training.evaluation.metrics import (
    BRIER,
    CROSS_ENTROPY,
    ECE,
    KULLBACK_LEIBLER,
    MACRO_F1,
    NLL,
    UAR,
    WAR,
    Measure,
    ccc_of,
    coverage_where,
    mae_of,
    precision_where,
)
from streamser.training.evaluation.predictions import Predictions
from tests.training.planted import table, voices

VALENCE = ccc_of(0)


def expected(name: str, predictions: Predictions) -> float:
    """Return a figure as ``streamser.training.evaluation.metrics`` defines it."""
    labels, classes = predictions.labels, len(predictions.categories)
    guess = predictions.logits.argmax(axis=1)
    raised = np.exp(predictions.logits)
    scores = raised / raised.sum(axis=1, keepdims=True)
    ratings = predictions.truth[:, 0], predictions.dimensions[:, 0]
    return {
        "uar": lambda: metrics.uar(labels, guess, classes),
        "war": lambda: metrics.war(labels, guess, classes),
        "f1": lambda: metrics.macro_f1(labels, guess, classes),
        "nll": lambda: metrics.nll(labels, scores),
        "brier": lambda: metrics.brier(labels, scores),
        "ece": lambda: metrics.ece(labels, scores),
        "cross": lambda: metrics.cross_entropy(predictions.votes, scores),
        "kl": lambda: metrics.kullback_leibler(predictions.votes, scores),
        "ccc": lambda: metrics.ccc(*ratings),
        "mae": lambda: metrics.mae(*ratings),
    }[name]()


MEASURES = {
    "uar": UAR,
    "war": WAR,
    "f1": MACRO_F1,
    "nll": NLL,
    "brier": BRIER,
    "ece": ECE,
    "cross": CROSS_ENTROPY,
    "kl": KULLBACK_LEIBLER,
    "ccc": VALENCE,
    "mae": mae_of(0),
}


@pytest.fixture
def incomplete() -> Predictions:
    """Return answers of which some lack a label, some a rating."""
    made = voices(1)
    votes, truth = made.votes.copy(), made.truth.copy()
    votes[::7], truth[::5] = np.nan, np.nan
    votes[1] = (0.5, 0.5, 0.0, 0.0)
    return replace(made, votes=votes, truth=truth)


@pytest.mark.parametrize("name", MEASURES)
def test_sums_give_the_same_figure_as_the_items(name: str, incomplete: Predictions) -> None:
    """What adds up over speakers is what ``metrics`` computes, to rounding."""
    found = estimate([incomplete], [MEASURES[name]], replicates=0)[0]
    assert found.value == pytest.approx(expected(name, incomplete), rel=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_draws_are_what_drawing_items_would_give(name: str, incomplete: Predictions) -> None:
    """The interval is that of the slow way: copy the utterances of the speakers drawn."""
    rng = np.random.default_rng(5)
    numbers = clusters(incomplete)
    slow = []
    for _ in range(300):
        picked = rng.integers(20, size=20)
        rows = np.concatenate([np.flatnonzero(numbers == speaker) for speaker in picked])
        slow.append(expected(name, incomplete.select(rows)))
    found = estimate([incomplete], [MEASURES[name]], replicates=2000, seed=1)[0]
    assert found.low is not None
    assert found.high is not None
    width = np.percentile(slow, 97.5) - np.percentile(slow, 2.5)
    assert found.low == pytest.approx(np.percentile(slow, 2.5), abs=0.2 * width)
    assert found.high == pytest.approx(np.percentile(slow, 97.5), abs=0.2 * width)


def coverage(measure: Measure, goal: float, *, by_item: bool) -> float:
    """Return how many of 200 samples of 30 speakers have the true figure in their interval."""
    held = 0
    for seed in range(200):
        sample = voices(seed, speakers=30, each=15, spread=1.0)
        if by_item:
            sample = replace(sample, speakers=("",) * len(sample))
        found = estimate([sample], [measure], replicates=300, seed=seed)[0]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= goal <= found.high
    return held / 200


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """About 95 % of the intervals by speaker hold the true UAR; by item far fewer do."""
    goal = estimate([voices(999, speakers=8000, spread=1.0)], [UAR], replicates=0)[0].value
    assert goal is not None
    assert 0.90 <= coverage(UAR, goal, by_item=False) <= 0.98
    assert coverage(UAR, goal, by_item=True) < 0.85


def test_intervals_of_ccc_hold_the_truth_as_often_as_they_say() -> None:
    """About 95 % of the intervals hold the true CCC."""
    goal = estimate([voices(999, speakers=8000, spread=1.0)], [VALENCE], replicates=0)[0].value
    assert goal is not None
    assert 0.90 <= coverage(VALENCE, goal, by_item=False) <= 0.98


def test_the_same_seed_draws_the_same_speakers() -> None:
    """An interval can be had again."""
    made = voices(0)
    assert estimate([made], [UAR, WAR], seed=3) == estimate([made], [UAR, WAR], seed=3)
    assert estimate([made], [UAR], seed=3) != estimate([made], [UAR], seed=4)


def test_one_speaker_has_no_interval() -> None:
    """The spread between speakers cannot be had from one."""
    made = voices(0, speakers=1)
    found = estimate([made], [WAR])[0]
    assert found.value is not None
    assert found.low is None
    assert found.high is None


def test_a_draw_without_one_of_the_classes_is_of_another_figure() -> None:
    """One answer for all has a UAR of 1/4, however few classes the drawn speakers have."""
    labels = [0, 1, 2, 3] * 4 + [0, 1]
    speakers = tuple(f"s{i // 4}" for i in range(len(labels)))
    made = table(np.eye(4)[[0] * len(labels)], labels, speakers=speakers)
    found = estimate([made], [UAR])[0]
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_items_without_a_speaker_stand_alone() -> None:
    """Sentences by nobody are as many speakers; equal names in two corpora are two people."""
    made = table(
        np.zeros((6, 4)),
        [0] * 6,
        speakers=("a", "a", "b", "a", "", ""),
        corpora=("x", "x", "x", "y", "y", "y"),
    )
    assert clusters(made).tolist() == [0, 0, 1, 2, 3, 4]


def test_what_is_not_defined_has_no_value() -> None:
    """Without a label or a rating a figure is None, which JSON knows."""
    bare = table(np.zeros((8, 4)), [-1] * 8)
    for found in estimate([bare], [UAR, WAR, NLL, ECE, VALENCE, KULLBACK_LEIBLER]):
        assert (found.value, found.low, found.high) == (None, None, None)


def test_a_constant_answer_has_a_concordance_of_nothing() -> None:
    """As in ``metrics.ccc``: exactly 0 for a constant series, in every draw."""
    made = voices(0)
    flat = replace(made, dimensions=np.full_like(made.dimensions, 0.3))
    found = estimate([flat], [VALENCE])[0]
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_unsure_answers_count_for_coverage_alone() -> None:
    """Coverage is the share that is answered, precision the share of those that is right."""
    made = table(np.eye(4)[[0, 1, 2, 3, 0]], [0, 1, 0, 0, -1])
    answered = np.array([True, True, True, False, True])
    cover, right = estimate([made], [coverage_where(answered), precision_where(answered)])
    assert cover.value == pytest.approx(3 / 4)
    assert right.value == pytest.approx(2 / 3)


@dataclass(frozen=True)
class Pair:
    """Two systems on the same items."""

    first: Predictions
    second: Predictions


def pair(seed: int, help_of: float) -> Pair:
    """Return a system and another whose logits know ``help_of`` more of the truth."""
    made = voices(seed, speakers=25, each=16, spread=1.0)
    rng = np.random.default_rng(seed + 10_000)
    noise = rng.normal(scale=0.7, size=made.logits.shape)
    other = made.logits + noise + help_of * np.nan_to_num(made.votes)
    rival = rng.normal(scale=0.7, size=made.logits.shape)
    return Pair(replace(made, logits=other), replace(made, logits=made.logits + rival))


def test_a_better_system_is_found_better() -> None:
    """The difference, its interval and p all say so."""
    made = pair(0, 1.0)
    found = compare([made.first], [made.second], UAR)
    assert found.difference.low is not None
    assert found.difference.low > 0
    assert found.p is not None
    assert found.p < 0.01
    assert (found.items, found.speakers) == (400, 25)
    assert found.difference.value == pytest.approx((found.first or 0) - (found.second or 0))


def test_equal_systems_differ_significantly_one_time_in_twenty() -> None:
    """Under no difference p falls below .05 in about 5 % of 200 comparisons."""
    below = 0
    for seed in range(200):
        made = pair(seed, 0.0)
        found = compare([made.first], [made.second], WAR, replicates=300, seed=seed)
        below += (found.p or 1.0) < 0.05
    assert 0.01 <= below / 200 <= 0.10


def test_turned_around_a_comparison_says_the_opposite() -> None:
    """The same draws: difference and bounds change their sign, p stays."""
    made = pair(0, 0.3)
    there = compare([made.first], [made.second], UAR)
    back = compare([made.second], [made.first], UAR)
    assert there.p == back.p
    assert there.difference.value == pytest.approx(-(back.difference.value or 0))
    assert there.difference.low == pytest.approx(-(back.difference.high or 0))


def test_a_system_against_itself_is_no_difference() -> None:
    """Nothing differs, and p is 1."""
    made = voices(0)
    found = compare([made], [made], UAR)
    assert (found.difference.low, found.difference.high, found.p) == (0.0, 0.0, 1.0)


def test_pairing_narrows_the_interval() -> None:
    """A difference on the same items is surer than either figure."""
    made = pair(0, 0.3)
    apart = compare([made.first], [made.second], UAR).difference
    alone = estimate([made.first], [UAR])[0]
    assert (apart.high or 0) - (apart.low or 0) < (alone.high or 0) - (alone.low or 0)


def test_seeds_are_averaged_on_shared_draws() -> None:
    """Of several runs the mean counts, in whichever order their items stand."""
    made = pair(0, 0.5)
    values = [
        estimate([run], [UAR], replicates=0)[0].value or 0 for run in (made.first, made.second)
    ]
    mixed = made.second.select(np.random.default_rng(0).permutation(len(made.second)))
    found = estimate([made.first, mixed], [UAR])[0]
    assert found.value == pytest.approx(np.mean(values))
    against = compare([made.first, mixed], [made.first, made.second], UAR)
    assert against.difference.value == pytest.approx(0.0)
    assert against.p == 1.0


def test_systems_on_other_items_are_refused() -> None:
    """A comparison needs the same ids, and says so in one line."""
    made = voices(0)
    with pytest.raises(ConfigError, match="same items"):
        compare([made], [made.select(np.arange(10))], UAR)
