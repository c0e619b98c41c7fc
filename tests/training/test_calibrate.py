"""What is fitted on validation speakers repairs what was planted, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.calibration import Calibration, is_unsure, probabilities
from streamser.training.evaluation.metrics import ccc, ece, nll
from streamser.training.evaluation.predictions import Predictions
from streamser.training.validation import FEWEST, apply_calibration, fit_calibration
from tests.training.planted import table, voices


def drawn(seed: int, *, temperature: float = 1.0, count: int = 3000) -> Predictions:
    """Return logits whose softmax at ``temperature`` is exactly how labels were drawn."""
    rng = np.random.default_rng(seed)
    honest = 2.0 * rng.normal(size=(count, 4))
    scores = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (rng.uniform(size=(count, 1)) > scores.cumsum(axis=1)).sum(axis=1)
    return table(honest * temperature, np.minimum(labels, 3))


def close(seed: int) -> Predictions:
    """Return answers whose dimensions miss the ratings by a little noise alone."""
    made = voices(seed, speakers=30)
    noise = np.random.default_rng(seed + 50).normal(scale=0.04, size=made.truth.shape)
    return replace(made, dimensions=np.clip(made.truth + noise, 0, 1))


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(planted: float) -> None:
    """Logits that are too bold or too shy by a factor are brought back by that factor."""
    found = fit_calibration(drawn(0, temperature=planted))
    assert found.temperature == pytest.approx(planted, rel=0.1)


def test_calibration_helps_on_others() -> None:
    """Fitted on one sample, it lowers NLL and ECE of another that errs alike."""
    found = fit_calibration(drawn(0, temperature=3.0))
    fresh = drawn(1, temperature=3.0)
    better = apply_calibration(fresh, found)
    labels = fresh.labels
    raw, calibrated = probabilities(fresh.logits), probabilities(better.logits)
    assert nll(labels, calibrated) < nll(labels, raw) - 0.1
    assert ece(labels, calibrated) < ece(labels, raw) / 3
    assert (calibrated.argmax(axis=1) == raw.argmax(axis=1)).all()


def test_the_temperature_stays_in_bounds() -> None:
    """Answers that are all right, or worth nothing, do not drive it out of 0.05 to 20."""
    labels = np.arange(100) % 4
    sure = fit_calibration(table(np.eye(4)[labels], labels)).temperature
    wrong = fit_calibration(table(50 * np.eye(4)[(labels + 1) % 4], labels)).temperature
    assert 0.05 <= sure < 0.1
    assert 19 < wrong <= 20
    assert fit_calibration(table(np.zeros((100, 4)), labels)).temperature == 1.0


def test_a_planted_distortion_is_undone() -> None:
    """Answers that rise with the ratings along a curve become the ratings, on new speakers."""

    def distorted(seed: int) -> Predictions:
        made = close(seed)
        curved = made.dimensions.copy()
        curved[:, 0] = 0.45 + 0.1 * made.dimensions[:, 0] ** 3
        return replace(made, dimensions=curved)

    found = fit_calibration(distorted(0))
    fresh = distorted(1)
    better = apply_calibration(fresh, found)
    before = ccc(fresh.truth[:, 0], fresh.dimensions[:, 0])
    after = ccc(fresh.truth[:, 0], better.dimensions[:, 0])
    assert set(found.maps) == {"valence"}
    assert after > before + 0.4
    assert after > 0.85


def test_a_map_rises_and_has_few_points() -> None:
    """At most 32 points, x strictly rising, y never falling, all in [0, 1]."""
    made = voices(0, speakers=50)
    shifted = replace(made, dimensions=made.dimensions * 0.5)
    chart = fit_calibration(shifted).maps["valence"]
    assert 2 <= len(chart.x) <= 32
    assert (np.diff(chart.x) > 0).all()
    assert (np.diff(chart.y) >= 0).all()
    assert 0 <= min(chart.y) <= max(chart.y) <= 1


def test_what_is_good_gets_no_map() -> None:
    """Answers that err by noise alone are left as they are."""
    assert fit_calibration(close(0)).maps == {}


def test_answers_that_say_nothing_get_no_map() -> None:
    """Noise, a constant, and answers that fall where ratings rise are not mapped."""
    made = voices(0)
    rng = np.random.default_rng(0)
    for useless in (rng.uniform(size=(400, 2)), np.full((400, 2), 0.4), 1 - made.truth):
        assert fit_calibration(replace(made, dimensions=useless)).maps == {}


def test_few_labels_fit_nothing() -> None:
    """Below ``FEWEST`` labels temperature, maps and threshold stay, and the words say so."""
    few = voices(0).select(np.arange(FEWEST - 1))
    found = fit_calibration(few, fitted_on="dev")
    assert (found.temperature, found.unsure_below, found.maps) == (1.0, 0.0, {})
    assert "too few" in found.fitted_on
    nothing = table(np.zeros((0, 4)), [])
    assert fit_calibration(nothing).temperature == 1.0


def test_the_threshold_reaches_the_precision() -> None:
    """Of the answers that are not unsure at least 80 % are right, and no lower one does that."""
    made = voices(0, speakers=40)
    found = fit_calibration(made)
    scores = probabilities(made.logits, found)
    right = scores.argmax(axis=1) == made.labels
    answered = ~is_unsure(scores, found)
    assert right.mean() < 0.75
    assert right[answered].mean() >= 0.8
    lower = [level for level in np.sort(scores.max(axis=1)) if level < found.unsure_below]
    assert all(right[scores.max(axis=1) >= level].mean() < 0.8 for level in lower)
    assert answered.mean() > 0.5


def test_the_threshold_holds_about_on_new_speakers() -> None:
    """Speakers that it was not fitted on are answered about as precisely."""
    found = fit_calibration(voices(0, speakers=60))
    fresh = voices(1, speakers=60)
    scores = probabilities(fresh.logits, found)
    answered = ~is_unsure(scores, found)
    assert (scores.argmax(axis=1) == fresh.labels)[answered].mean() == pytest.approx(0.8, abs=0.04)


def test_a_precise_model_is_never_unsure() -> None:
    """Where all answers together are precise enough, none is withheld."""
    assert fit_calibration(voices(0, clearness=6.0)).unsure_below == 0.0


def test_a_precision_out_of_reach_is_said() -> None:
    """Of a model that knows little the surest are answered, one in twenty at least."""
    made = voices(0, speakers=50, clearness=0.2, spread=0.0)
    found = fit_calibration(made, precision=0.95, fitted_on="dev speakers")
    scores = probabilities(made.logits, found)
    answered = ~is_unsure(scores, found)
    assert "no threshold gives a precision of 0.95" in found.fitted_on
    assert found.fitted_on.startswith("dev speakers; 1000 utterances of 50 speakers")
    assert answered.mean() >= 0.05
    right = scores.argmax(axis=1) == made.labels
    assert right[answered].mean() > right.mean()


def test_single_task_models_are_calibrated_in_what_they_have() -> None:
    """Without categories there are maps alone; without dimensions a temperature alone."""
    made = voices(0, speakers=30)
    none = np.empty((len(made), 0))
    ratings = replace(
        made, categories=(), logits=none, votes=none, dimensions=made.dimensions * 0.5
    )
    assert set(fit_calibration(ratings).maps) == {"valence", "arousal"}
    assert fit_calibration(ratings).unsure_below == 0.0
    classes = replace(made, names=(), dimensions=none, truth=none)
    assert fit_calibration(classes).maps == {}
    assert fit_calibration(classes).temperature != 1.0


def test_unlabelled_items_change_nothing() -> None:
    """Items without votes or ratings are not looked at, but for their number in words."""
    made = drawn(0, temperature=2.0, count=300)
    extra = table(np.full((50, 4), 9.0), [-1] * 50)
    joined = Predictions.join([made, replace(extra, ids=tuple(f"x{i}" for i in range(50)))])
    assert fit_calibration(joined).temperature == fit_calibration(made).temperature


def test_applying_leaves_the_unmapped_alone() -> None:
    """A temperature divides the logits; a dimension without a map stays what it was."""
    made = voices(0)
    found = apply_calibration(made, Calibration(temperature=2.0))
    assert np.array_equal(found.logits, made.logits / 2)
    assert np.array_equal(found.dimensions, made.dimensions)
    assert math.isclose(found.votes.sum(), len(made))
