"""How close answers come to the truth: categories, dimensions and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "ReliabilityBin",
    "brier",
    "ccc",
    "confusion",
    "cross_entropy",
    "ece",
    "f1_scores",
    "kullback_leibler",
    "macro_f1",
    "mae",
    "nll",
    "recalls",
    "reliability",
    "uar",
    "war",
]

Labels = npt.NDArray[np.int64] | Sequence[int]
Values = npt.NDArray[np.floating[Any]] | Sequence[float]
Table = npt.NDArray[np.floating[Any]]

_TINY = 1e-12


def confusion(truth: Labels, guess: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Count answers by true (rows) and given (columns) class: int64 [classes, classes].

    ``truth`` and ``guess`` are class numbers [N]; items with a negative truth have no label and
    are left out.
    """
    true, given = np.asarray(truth, dtype=np.int64), np.asarray(guess, dtype=np.int64)
    known = true >= 0
    cells = true[known] * classes + given[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def recalls(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return each class's recall from confusion counts [..., K, K]; nan where it never occurs."""
    support = counts.sum(axis=-1)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    shares = np.full(support.shape, np.nan)
    np.divide(hits, support, out=shares, where=support > 0)
    return shares


def uar(truth: Labels, guess: Labels, classes: int) -> float:
    """Return the unweighted average recall: the mean recall of the classes that occur.

    In [0, 1]; nan without a label. Also called UA or balanced accuracy (Schuller et al.,
    Interspeech 2009 Emotion Challenge).
    """
    return _mean(recalls(confusion(truth, guess, classes)))


def war(truth: Labels, guess: Labels, classes: int) -> float:
    """Return the weighted average recall: the share of right answers (accuracy, WA).

    In [0, 1]; nan without a label.
    """
    counts = confusion(truth, guess, classes)
    return float(counts.trace() / counts.sum()) if counts.sum() else float("nan")


def macro_f1(truth: Labels, guess: Labels, classes: int) -> float:
    """Return the mean F1 of the classes that occur, in the truth or among the answers.

    In [0, 1]; nan without a label. F1 = 2·TP / (support + predicted), as scikit-learn's
    ``f1_score(average="macro")``.
    """
    counts = confusion(truth, guess, classes)
    return _mean(f1_scores(counts))


def f1_scores(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return F1 of each class of confusion counts [..., K, K]; nan where it never occurs."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(axis=-1) + counts.sum(axis=-2)
    scores = np.full(both.shape, np.nan)
    np.divide(2 * hits, both, out=scores, where=both > 0)
    return scores


def ccc(truth: Values, guess: Values) -> float:
    """Return the concordance correlation coefficient of two series [N], in [-1, 1].

    2·cov / (σx² + σy² + (μx − μy)²) with population variances (Lin, Biometrics 45, 1989).
    Entries that are nan in either are left out. With fewer than two left it is nan; where
    either series is constant it is 0, for nothing then varies together.
    """
    true, given = _both(truth, guess)
    if len(true) < 2:
        return float("nan")
    # A constant series of floats may have a variance of a few ulp.
    if np.ptp(true) == 0 or np.ptp(given) == 0:
        return 0.0
    apart = true.mean() - given.mean()
    together = ((true - true.mean()) * (given - given.mean())).mean()
    return float(2 * together / (true.var() + given.var() + apart * apart))


def mae(truth: Values, guess: Values) -> float:
    """Return the mean absolute difference of two series [N]; nan entries are left out."""
    true, given = _both(truth, guess)
    return float(np.abs(true - given).mean()) if len(true) else float("nan")


def nll(truth: Labels, probabilities: Table) -> float:
    """Return the mean negative log-likelihood (nats) of true classes [N] under [N, K]."""
    true, given = _labelled(truth, probabilities)
    if not len(true):
        return float("nan")
    return float(-np.log(np.maximum(given[np.arange(len(true)), true], _TINY)).mean())


def brier(truth: Labels, probabilities: Table) -> float:
    """Return the multi-class Brier score, in [0, 2] (Brier, Monthly Weather Review 78, 1950).

    The mean over items of the squared distance between [N, K] and the one-hot truth [N].
    """
    true, given = _labelled(truth, probabilities)
    if not len(true):
        return float("nan")
    return float(((given - np.eye(given.shape[1])[true]) ** 2).sum(axis=1).mean())


class ReliabilityBin(NamedTuple):
    """Hold how often answers of about one confidence were right."""

    lowest: float
    highest: float
    answers: int
    confidence: float
    accuracy: float


def reliability(truth: Labels, probabilities: Table, bins: int = 15) -> list[ReliabilityBin]:
    """Sort answers by the probability of their top class into bins of equal width.

    ``truth`` is [N], ``probabilities`` [N, K]. Means of empty bins are nan.
    """
    true, given = _labelled(truth, probabilities)
    top = given.max(axis=1) if len(true) else np.empty(0)
    right = (given.argmax(axis=1) == true) if len(true) else np.empty(0, dtype=np.bool_)
    # A bin holds (lowest, highest], as Guo et al. draw it.
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, weights=top, minlength=bins) / count
        accuracy = np.bincount(place, weights=right, minlength=bins) / count
    return [
        ReliabilityBin(i / bins, (i + 1) / bins, int(count[i]), *map(float, pair))
        for i, pair in enumerate(zip(confidence, accuracy, strict=True))
    ]


def ece(truth: Labels, probabilities: Table, bins: int = 15) -> float:
    """Return the expected calibration error, in [0, 1] (Guo et al., ICML 2017, eq. 3).

    The mean over answers of the distance between a bin's confidence and its accuracy.
    """
    filled = [each for each in reliability(truth, probabilities, bins) if each.answers]
    total = sum(each.answers for each in filled)
    if not total:
        return float("nan")
    return sum(each.answers * abs(each.confidence - each.accuracy) for each in filled) / total


def cross_entropy(votes: Table, probabilities: Table) -> float:
    """Return the mean cross-entropy (nats) of vote shares [N, K] and probabilities [N, K].

    Rows of votes that are nan are left out. With one-hot votes it is ``nll``.
    """
    shares, given = _voted(votes, probabilities)
    if not len(shares):
        return float("nan")
    return float(-(shares * np.log(np.maximum(given, _TINY))).sum(axis=1).mean())


def kullback_leibler(votes: Table, probabilities: Table) -> float:
    """Return the mean divergence KL(votes ‖ probabilities) in nats, rows [N, K]; 0 is perfect.

    The cross-entropy less the entropy of the votes (Kullback & Leibler 1951).
    """
    shares, given = _voted(votes, probabilities)
    if not len(shares):
        return float("nan")
    own = (shares * np.log(np.maximum(shares, _TINY))).sum(axis=1).mean()
    return float(own + cross_entropy(shares, given))


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _both(truth: Values, guess: Values) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    true, given = np.asarray(truth, dtype=np.float64), np.asarray(guess, dtype=np.float64)
    known = ~(np.isnan(true) | np.isnan(given))
    return true[known], given[known]


def _labelled(
    truth: Labels, probabilities: Table
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    true = np.asarray(truth, dtype=np.int64)
    return true[true >= 0], np.asarray(probabilities, dtype=np.float64)[true >= 0]


def _voted(
    votes: Table, probabilities: Table
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    shares = np.asarray(votes, dtype=np.float64)
    known = ~np.isnan(shares).any(axis=1)
    return shares[known], np.asarray(probabilities, dtype=np.float64)[known]
