"""Figures of merit that add up over items, so that a bootstrap need not touch the items again.

Each measure reduces an item to a few numbers. Their sums over any selection of items are all
that the figure needs: confusion counts for recall, moments for CCC, counts of a bin for ECE.
What the figures mean, and their sources, stands in ``streamser.training.metrics``; on the same
items both agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.emotion.calibration import probabilities
from streamser.training.metrics import f1_scores, recalls
from streamser.training.predictions import Predictions

__all__ = [
    "BRIER",
    "CROSS_ENTROPY",
    "ECE",
    "KULLBACK_LEIBLER",
    "MACRO_F1",
    "NLL",
    "UAR",
    "WAR",
    "Measure",
    "ccc_of",
    "coverage_where",
    "mae_of",
    "moments_of",
    "precision_where",
]

Floats = npt.NDArray[np.float64]

_BINS = 15
_TINY = 1e-12
# Rounding of a constant series' moments stays below this; sd 1e-6 of a [0, 1] scale above it.
_NO_VARIANCE = 1e-12


class Measure(NamedTuple):
    """Say how one figure comes about.

    ``parts`` gives each item's numbers, float64 [N, M], zero where the item does not count;
    ``value`` makes the figure of their sums [..., M], ``nan`` where it is not defined.
    ``alike`` tells, for the sums of draws [..., M] and those of all items [M], in which draws
    the figure is of the same thing; ``None``: in all.
    """

    parts: Callable[[Predictions], Floats]
    value: Callable[[Floats], Floats]
    alike: Callable[[Floats, Floats], npt.NDArray[np.bool_]] | None = None


def moments_of(column: int) -> Callable[[Predictions], Floats]:
    """Return what tells known items and the moments of one dimension, float64 [N, 6].

    An item's columns: whether it counts, then x, y, x², y² and xy, x true and y predicted.
    """

    def parts(predictions: Predictions) -> Floats:
        true, given = predictions.truth[:, column], predictions.dimensions[:, column]
        known = ~(np.isnan(true) | np.isnan(given))
        # Moments about the middle of the scale lose less to rounding than moments about 0.
        x, y = np.where(known, true - 0.5, 0.0), np.where(known, given - 0.5, 0.0)
        return np.stack([known.astype(np.float64), x, y, x * x, y * y, x * y], axis=1)

    return parts


def ccc_of(column: int) -> Measure:
    """Measure the concordance of one dimension, by its column."""

    def value(sums: Floats) -> Floats:
        count, *rest = np.moveaxis(sums, -1, 0)
        x, y, xx, yy, xy = (_share(each, count) for each in rest)
        of_x, of_y = xx - x * x, yy - y * y
        score = _share(2 * (xy - x * y), of_x + of_y + (x - y) ** 2)
        constant = (of_x < _NO_VARIANCE) | (of_y < _NO_VARIANCE)
        return np.where(count < 2, np.nan, np.where(constant, 0.0, score))

    return Measure(moments_of(column), value)


def mae_of(column: int) -> Measure:
    """Measure the mean absolute error of one dimension, by its column."""

    def parts(predictions: Predictions) -> Floats:
        apart = np.abs(predictions.truth[:, column] - predictions.dimensions[:, column])
        return _mean_parts(apart, ~np.isnan(apart))

    return Measure(parts, _mean)


def coverage_where(answered: npt.NDArray[np.bool_]) -> Measure:
    """Measure the share of items that get an answer other than ``unsure``; ``answered`` is [N]."""
    return Measure(
        lambda predictions: _mean_parts(answered.astype(np.float64), predictions.labels >= 0), _mean
    )


def precision_where(answered: npt.NDArray[np.bool_]) -> Measure:
    """Measure how many of the answers other than ``unsure`` are right; ``answered`` is [N]."""

    def parts(predictions: Predictions) -> Floats:
        labels = predictions.labels
        right = predictions.logits.argmax(axis=1) == labels
        return _mean_parts(right.astype(np.float64), answered & (labels >= 0))

    return Measure(parts, _mean)


def _confusion_parts(predictions: Predictions) -> Floats:
    classes = len(predictions.categories)
    labels = predictions.labels
    known = np.flatnonzero(labels >= 0)
    cells = np.zeros((len(predictions), classes * classes))
    cells[known, labels[known] * classes + predictions.logits[known].argmax(axis=1)] = 1.0
    return cells


def _square(sums: Floats) -> Floats:
    classes = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], classes, classes)


def _same_classes(sums: Floats, whole: Floats) -> npt.NDArray[np.bool_]:
    """Tell which draws hold every true class that all items hold.

    The mean recall of fewer classes is another figure: one answer for all has a UAR of 1/4 with
    four classes, and of 1/2 in a draw of speakers who have two of them.
    """
    there = _square(sums).sum(axis=-1) > 0
    expected = _square(whole).sum(axis=-1) > 0
    return np.asarray((there == expected).all(axis=-1))


def _mean_of_known(scores: Floats) -> Floats:
    known = ~np.isnan(scores)
    return _share(np.where(known, scores, 0.0).sum(axis=-1), known.sum(axis=-1))


def _right(sums: Floats) -> Floats:
    counts = _square(sums)
    return _share(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def _nll_parts(predictions: Predictions) -> Floats:
    labels = predictions.labels
    of_truth = probabilities(predictions.logits)[np.arange(len(labels)), np.maximum(labels, 0)]
    return _mean_parts(-np.log(np.maximum(of_truth, _TINY)), labels >= 0)


def _brier_parts(predictions: Predictions) -> Floats:
    labels = predictions.labels
    wanted = np.eye(len(predictions.categories))[np.maximum(labels, 0)]
    return _mean_parts(((probabilities(predictions.logits) - wanted) ** 2).sum(axis=1), labels >= 0)


def _ece_parts(predictions: Predictions) -> Floats:
    labels = predictions.labels
    scores = probabilities(predictions.logits)
    top, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    place = np.clip(np.ceil(top * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    known = np.flatnonzero(labels >= 0)
    cells = np.zeros((len(predictions), 2 * _BINS))
    cells[known, place[known]] = (top - right)[known]
    cells[known, _BINS + place[known]] = 1.0
    return cells


def _ece_value(sums: Floats) -> Floats:
    gaps, counts = sums[..., :_BINS], sums[..., _BINS:]
    return _share(np.abs(gaps).sum(axis=-1), counts.sum(axis=-1))


def _votes_parts(predictions: Predictions, own: bool) -> Floats:
    votes = predictions.votes
    known = ~np.isnan(votes.sum(axis=1))
    shares = np.where(known[:, None], votes, 0.0)
    cost = -(shares * np.log(np.maximum(probabilities(predictions.logits), _TINY))).sum(axis=1)
    if own:
        cost += (shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
    return _mean_parts(cost, known)


def _mean_parts(values: Floats, counts: npt.NDArray[np.bool_]) -> Floats:
    return np.stack([np.where(counts, values, 0.0), counts.astype(np.float64)], axis=1)


def _mean(sums: Floats) -> Floats:
    return _share(sums[..., 0], sums[..., 1])


def _share(part: Floats, whole: Floats) -> Floats:
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


UAR: Final = Measure(
    _confusion_parts, lambda sums: _mean_of_known(recalls(_square(sums))), _same_classes
)
WAR: Final = Measure(_confusion_parts, _right)
MACRO_F1: Final = Measure(
    _confusion_parts, lambda sums: _mean_of_known(f1_scores(_square(sums))), _same_classes
)
NLL: Final = Measure(_nll_parts, _mean)
BRIER: Final = Measure(_brier_parts, _mean)
ECE: Final = Measure(_ece_parts, _ece_value)
CROSS_ENTROPY: Final = Measure(lambda predictions: _votes_parts(predictions, own=False), _mean)
KULLBACK_LEIBLER: Final = Measure(lambda predictions: _votes_parts(predictions, own=True), _mean)
