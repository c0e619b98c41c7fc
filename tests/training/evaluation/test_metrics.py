"""The figures of merit are what their definitions, and independent libraries, say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from streamser.training.evaluation.metrics import (
    brier,
    ccc,
    confusion,
    cross_entropy,
    ece,
    kullback_leibler,
    macro_f1,
    mae,
    nll,
    recalls,
    reliability,
    uar,
    war,
)

TRUTH = [0, 0, 0, 1, 1, 2, -1]
GUESS = [0, 0, 1, 1, 2, 2, 0]


def some(seed: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return 300 labels of 4 classes and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=300)
    logits = rng.normal(size=(300, 4)) + 1.5 * np.eye(4)[truth]
    raised = np.exp(logits)
    return truth, raised / raised.sum(axis=1, keepdims=True)


def test_confusion_has_the_truth_in_its_rows() -> None:
    """Rows are true classes, columns answers; an item without a label is nowhere."""
    assert confusion(TRUTH, GUESS, 3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_recall_by_hand() -> None:
    """UAR averages recalls 2/3, 1/2 and 1; WAR counts 4 right of 6."""
    assert uar(TRUTH, GUESS, 3) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert war(TRUTH, GUESS, 3) == pytest.approx(4 / 6)


def test_a_class_that_never_occurs_does_not_count() -> None:
    """UAR is the mean over the classes that the truth has, with nan recall for the rest."""
    assert uar(TRUTH, GUESS, 9) == uar(TRUTH, GUESS, 3)
    assert np.isnan(recalls(confusion(TRUTH, GUESS, 9))[3:]).all()


def test_recall_without_labels_is_undefined() -> None:
    """No label at all gives nan, not 0 and not an error."""
    assert all(math.isnan(figure([-1, -1], [0, 1], 2)) for figure in (uar, war, macro_f1))


def test_categories_agree_with_scikit_learn() -> None:
    """UAR, WAR and macro-F1 are balanced accuracy, accuracy and macro-averaged F1."""
    from sklearn import metrics

    truth, scores = some()
    guess = scores.argmax(axis=1)
    assert uar(truth, guess, 4) == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert war(truth, guess, 4) == pytest.approx(metrics.accuracy_score(truth, guess))
    expected = metrics.f1_score(truth, guess, average="macro")
    assert macro_f1(truth, guess, 4) == pytest.approx(expected)


def test_likelihood_and_brier_agree_with_scikit_learn() -> None:
    """NLL is the log loss; the Brier score is the squared distance to the one-hot truth."""
    from sklearn.metrics import log_loss, mean_squared_error

    truth, scores = some()
    assert nll(truth, scores) == pytest.approx(log_loss(truth, scores))
    assert brier(truth, scores) == pytest.approx(4 * mean_squared_error(np.eye(4)[truth], scores))


def test_ccc_by_hand() -> None:
    """Truth 0, 1 and answers .5, 1: cov 1/8, variances 1/4 and 1/16, means 1/4 apart."""
    assert ccc([0.0, 1.0], [0.5, 1.0]) == pytest.approx((2 / 8) / (1 / 4 + 1 / 16 + 1 / 16))


def test_ccc_minds_shift_and_scale_as_correlation_does_not() -> None:
    """Answers that only correlate are worth less; the truth itself is worth 1."""
    from scipy.stats import pearsonr

    rng = np.random.default_rng(1)
    truth = rng.uniform(size=200)
    guess = 0.4 * truth + 0.5 + rng.normal(scale=0.05, size=200)
    r, wide, narrow = pearsonr(truth, guess).statistic, truth.std(), guess.std()
    apart = truth.mean() - guess.mean()
    expected = 2 * r * wide * narrow / (wide**2 + narrow**2 + apart**2)
    assert ccc(truth, guess) == pytest.approx(expected)
    assert ccc(truth, guess) < 0.7 * r
    assert ccc(truth, truth) == pytest.approx(1.0)
    assert ccc(truth, 1 - truth) < 0


def test_ccc_leaves_out_what_is_not_rated() -> None:
    """An entry that is nan on either side changes nothing."""
    truth, guess = [0.1, 0.5, math.nan, 0.9, 0.2], [0.2, 0.4, 0.5, 0.7, math.nan]
    assert ccc(truth, guess) == pytest.approx(ccc([0.1, 0.5, 0.9], [0.2, 0.4, 0.7]))
    assert mae(truth, guess) == pytest.approx((0.1 + 0.1 + 0.2) / 3)


def test_ccc_of_what_does_not_vary() -> None:
    """A constant series gives 0 even if it is right; fewer than two ratings give nan."""
    assert ccc([0.3] * 5, [0.3] * 5) == 0.0
    assert ccc([0.1, 0.9], [0.3, 0.3]) == 0.0
    assert math.isnan(ccc([0.5], [0.5]))
    assert math.isnan(ccc([math.nan, 0.5], [0.5, 0.5]))
    assert math.isnan(mae([math.nan], [0.5]))


def test_ece_by_hand() -> None:
    """Two answers at .9, one right, and two at .6, both right: gaps .4 and .4."""
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert ece([0, 1, 0, 1], scores) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)


def test_ece_is_small_where_probabilities_are_true() -> None:
    """Labels drawn from the probabilities themselves: only the noise of drawing is left."""
    rng = np.random.default_rng(2)
    top = rng.uniform(0.5, 1.0, size=20_000)
    truth = (rng.uniform(size=20_000) > top).astype(np.int64)
    scores = np.stack([top, 1 - top], axis=1)
    assert ece(truth, scores) < 0.015
    assert ece(truth, np.stack([np.ones(20_000), np.zeros(20_000)], axis=1)) == pytest.approx(
        0.25, abs=0.01
    )


def test_reliability_counts_every_answer_once() -> None:
    """Bins cover [0, 1] and hold all labelled answers; a probability of 1 is in the last."""
    truth, scores = some()
    bins = reliability(truth, scores)
    assert len(bins) == 15
    assert (bins[0].lowest, bins[-1].highest) == (0.0, 1.0)
    assert sum(each.answers for each in bins) == 300
    assert reliability([0], np.array([[1.0, 0.0]]))[-1].answers == 1
    assert all(each.lowest < each.confidence <= each.highest for each in bins if each.answers)


def test_soft_labels_agree_with_scipy() -> None:
    """Cross-entropy and divergence against vote shares are those of scipy's entropy."""
    from scipy.stats import entropy

    truth, scores = some()
    votes = np.random.default_rng(3).dirichlet(np.ones(4), size=300)
    divergence = entropy(votes, scores, axis=1).mean()
    assert kullback_leibler(votes, scores) == pytest.approx(divergence)
    own = entropy(votes, axis=1).mean()
    assert cross_entropy(votes, scores) == pytest.approx(divergence + own)
    assert cross_entropy(np.eye(4)[truth], scores) == pytest.approx(nll(truth, scores))
    assert kullback_leibler(votes, votes) == pytest.approx(0.0, abs=1e-12)


def test_soft_labels_leave_out_items_without_votes() -> None:
    """A row of nan votes counts for nothing, and nothing but such rows gives nan."""
    _, scores = some()
    votes = np.full((300, 4), 0.25)
    votes[100:] = math.nan
    assert cross_entropy(votes, scores) == pytest.approx(cross_entropy(votes[:100], scores[:100]))
    assert math.isnan(cross_entropy(votes[100:], scores[100:]))


def test_probabilities_without_labels_are_not_judged() -> None:
    """NLL, Brier and ECE of unlabelled items are nan."""
    scores = np.full((3, 2), 0.5)
    assert all(math.isnan(figure([-1] * 3, scores)) for figure in (nll, brier, ece))


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    """A probability of 0 for the truth gives a large, finite NLL."""
    assert 20 < nll([0], np.array([[0.0, 1.0]])) < 100
