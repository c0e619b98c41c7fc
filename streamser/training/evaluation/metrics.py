"""How close answers come to the truth: categories, dimensions and probabilities.

Each figure is parts and a value: an item is reduced to a few numbers (its cell of the confusion,
moments for CCC, counts of a bin for ECE), and their sums over any selection of items are all that
the figure needs. So a bootstrap (``Measure``) need not touch the items again, and the plain
functions are the value of the sums over all items. ``check_model`` asks a model of any kind, and
needs no torch for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.emotion.calibration import probabilities
from streamser.emotion.frontend import Mel
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.errors import AudioError, ConfigError
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.evaluation.predictions import Predictions
from streamser.training.manifest import Item
from streamser.training.sounds import Sounds

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64] | Sequence[int]
Values = npt.NDArray[np.floating[Any]] | Sequence[float]
Table = npt.NDArray[np.floating[Any]]

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


def confusion(truth: Labels, guess: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Count answers by true (rows) and given (columns) class: int64 [classes, classes].

    ``truth`` and ``guess`` are class numbers [N]; items with a negative truth have no label and
    are left out.
    """
    return _square(_cells(truth, guess, classes).sum(axis=0)).astype(np.int64)


def recalls(counts: npt.NDArray[Any]) -> Floats:
    """Return each class's recall from confusion counts [..., K, K]; nan where it never occurs."""
    return _share(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def f1_scores(counts: npt.NDArray[Any]) -> Floats:
    """Return F1 of each class of confusion counts [..., K, K]; nan where it never occurs."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _share(2 * hits, counts.sum(axis=-1) + counts.sum(axis=-2))


def uar(truth: Labels, guess: Labels, classes: int) -> float:
    """Return the unweighted average recall: the mean recall of the classes that occur.

    In [0, 1]; nan without a label. Also called UA or balanced accuracy (Schuller et al.,
    Interspeech 2009 Emotion Challenge).
    """
    return _figure(_cells(truth, guess, classes), _mean_recall)


def war(truth: Labels, guess: Labels, classes: int) -> float:
    """Return the weighted average recall: the share of right answers (accuracy, WA).

    In [0, 1]; nan without a label.
    """
    return _figure(_cells(truth, guess, classes), _right)


def macro_f1(truth: Labels, guess: Labels, classes: int) -> float:
    """Return the mean F1 of the classes that occur, in the truth or among the answers.

    In [0, 1]; nan without a label. F1 = 2·TP / (support + predicted), as scikit-learn's
    ``f1_score(average="macro")``.
    """
    return _figure(_cells(truth, guess, classes), _mean_f1)


def _cells(truth: Labels, guess: Labels, classes: int) -> Floats:
    """Return the cell of the confusion that each item is in, [N, K²]; zeros without a label."""
    true, given = np.asarray(truth, dtype=np.int64), np.asarray(guess, dtype=np.int64)
    known = np.flatnonzero(true >= 0)
    cells = np.zeros((len(true), classes * classes))
    cells[known, true[known] * classes + given[known]] = 1.0
    return cells


def _mean_recall(sums: Floats) -> Floats:
    return _mean_of_known(recalls(_square(sums)))


def _mean_f1(sums: Floats) -> Floats:
    return _mean_of_known(f1_scores(_square(sums)))


def _right(sums: Floats) -> Floats:
    counts = _square(sums)
    return _share(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def _same_classes(sums: Floats, whole: Floats) -> npt.NDArray[np.bool_]:
    """Tell which draws hold every true class that all items hold.

    The mean recall of fewer classes is another figure: one answer for all has a UAR of 1/4 with
    four classes, and of 1/2 in a draw of speakers who have two of them.
    """
    there = _square(sums).sum(axis=-1) > 0
    expected = _square(whole).sum(axis=-1) > 0
    return np.asarray((there == expected).all(axis=-1))


def _square(sums: Floats) -> Floats:
    classes = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], classes, classes)


def ccc(truth: Values, guess: Values) -> float:
    """Return the concordance correlation coefficient of two series [N], in [-1, 1].

    2·cov / (σx² + σy² + (μx − μy)²) with population variances (Lin, Biometrics 45, 1989).
    Entries that are nan in either are left out. With fewer than two left it is nan; where
    either series is constant it is 0, for nothing then varies together.
    """
    return _figure(_moments(truth, guess), _concordance)


def mae(truth: Values, guess: Values) -> float:
    """Return the mean absolute difference of two series [N]; nan entries are left out."""
    return _figure(_distances(truth, guess), _mean)


def _moments(truth: Values, guess: Values) -> Floats:
    """Return for each item whether it counts, then x, y, x², y² and xy: [N, 6]."""
    true, given = np.asarray(truth, dtype=np.float64), np.asarray(guess, dtype=np.float64)
    known = ~(np.isnan(true) | np.isnan(given))
    # Moments about the middle of the scale lose less to rounding than moments about 0.
    x, y = np.where(known, true - 0.5, 0.0), np.where(known, given - 0.5, 0.0)
    return np.stack([known.astype(np.float64), x, y, x * x, y * y, x * y], axis=1)


def _concordance(sums: Floats) -> Floats:
    count, *rest = np.moveaxis(sums, -1, 0)
    x, y, xx, yy, xy = (_share(each, count) for each in rest)
    of_x, of_y = xx - x * x, yy - y * y
    score = _share(2 * (xy - x * y), of_x + of_y + (x - y) ** 2)
    constant = (of_x < _NO_VARIANCE) | (of_y < _NO_VARIANCE)
    return np.where(count < 2, np.nan, np.where(constant, 0.0, score))


def _distances(truth: Values, guess: Values) -> Floats:
    apart = np.abs(np.asarray(truth, dtype=np.float64) - np.asarray(guess, dtype=np.float64))
    return _mean_parts(apart, ~np.isnan(apart))


def nll(truth: Labels, probabilities: Table) -> float:
    """Return the mean negative log-likelihood (nats) of true classes [N] under [N, K]."""
    return _figure(_surprises(truth, probabilities), _mean)


def brier(truth: Labels, probabilities: Table) -> float:
    """Return the multi-class Brier score, in [0, 2] (Brier, Monthly Weather Review 78, 1950).

    The mean over items of the squared distance between [N, K] and the one-hot truth [N].
    """
    return _figure(_squared_distances(truth, probabilities), _mean)


def _surprises(truth: Labels, probabilities: Table) -> Floats:
    true, given = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    of_truth = given[np.arange(len(true)), np.maximum(true, 0)]
    return _mean_parts(-np.log(np.maximum(of_truth, _TINY)), true >= 0)


def _squared_distances(truth: Labels, probabilities: Table) -> Floats:
    true, given = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    wanted = np.eye(given.shape[1])[np.maximum(true, 0)]
    return _mean_parts(((given - wanted) ** 2).sum(axis=1), true >= 0)


class ReliabilityBin(NamedTuple):
    """Hold how often answers of about one confidence were right."""

    lowest: float
    highest: float
    answers: int
    confidence: float
    accuracy: float


def reliability(truth: Labels, probabilities: Table, bins: int = _BINS) -> list[ReliabilityBin]:
    """Sort answers by the probability of their top class into bins of equal width.

    ``truth`` is [N], ``probabilities`` [N, K]. Means of empty bins are nan.
    """
    confidence, right, count = np.split(_binned(truth, probabilities, bins).sum(axis=0), 3)
    means = zip(_share(confidence, count), _share(right, count), strict=True)
    return [
        ReliabilityBin(i / bins, (i + 1) / bins, int(count[i]), *map(float, pair))
        for i, pair in enumerate(means)
    ]


def ece(truth: Labels, probabilities: Table, bins: int = _BINS) -> float:
    """Return the expected calibration error, in [0, 1] (Guo et al., ICML 2017, eq. 3).

    The mean over answers of the distance between a bin's confidence and its accuracy.
    """
    return _figure(_binned(truth, probabilities, bins), _miscalibration)


def _binned(truth: Labels, probabilities: Table, bins: int = _BINS) -> Floats:
    """Return confidence, rightness and 1 in each item's bin: [N, 3 bins]; zeros unlabelled."""
    true, given = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    top, right = given.max(axis=1), given.argmax(axis=1) == true
    # A bin holds (lowest, highest], as Guo et al. draw it.
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    known = np.flatnonzero(true >= 0)
    cells = np.zeros((len(true), 3, bins))
    cells[known, :, place[known]] = np.stack([top, right, np.ones(len(true))], axis=1)[known]
    return cells.reshape(len(true), 3 * bins)


def _miscalibration(sums: Floats) -> Floats:
    confidence, right, count = np.split(sums, 3, axis=-1)
    return _share(np.abs(confidence - right).sum(axis=-1), count.sum(axis=-1))


def cross_entropy(votes: Table, probabilities: Table) -> float:
    """Return the mean cross-entropy (nats) of vote shares [N, K] and probabilities [N, K].

    Rows of votes that are nan are left out. With one-hot votes it is ``nll``.
    """
    return _figure(_vote_costs(votes, probabilities), _mean)


def kullback_leibler(votes: Table, probabilities: Table) -> float:
    """Return the mean divergence KL(votes ‖ probabilities) in nats, rows [N, K]; 0 is perfect.

    The cross-entropy less the entropy of the votes (Kullback & Leibler 1951).
    """
    return _figure(_vote_costs(votes, probabilities, own=True), _mean)


def _vote_costs(votes: Table, probabilities: Table, *, own: bool = False) -> Floats:
    """Return the cost of each item's answer, with ``own`` less the entropy of its votes."""
    known = ~np.isnan(np.asarray(votes, dtype=np.float64).sum(axis=1))
    shares = np.where(known[:, None], votes, 0.0)
    cost = -(shares * np.log(np.maximum(probabilities, _TINY))).sum(axis=1)
    if own:
        cost += (shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
    return _mean_parts(cost, known)


def _figure(parts: Floats, value: Callable[[Floats], Floats]) -> float:
    return float(value(parts.sum(axis=0)))


def _mean_parts(values: Floats, counts: npt.NDArray[np.bool_]) -> Floats:
    return np.stack([np.where(counts, values, 0.0), counts.astype(np.float64)], axis=1)


def _mean(sums: Floats) -> Floats:
    return _share(sums[..., 0], sums[..., 1])


def _mean_of_known(scores: Floats) -> Floats:
    known = ~np.isnan(scores)
    return _share(np.where(known, scores, 0.0).sum(axis=-1), known.sum(axis=-1))


def _share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _categorised(predictions: Predictions) -> Floats:
    return _cells(
        predictions.labels, predictions.logits.argmax(axis=1), len(predictions.categories)
    )


UAR: Final = Measure(_categorised, _mean_recall, _same_classes)
WAR: Final = Measure(_categorised, _right)
MACRO_F1: Final = Measure(_categorised, _mean_f1, _same_classes)
NLL: Final = Measure(lambda given: _surprises(given.labels, probabilities(given.logits)), _mean)
BRIER: Final = Measure(
    lambda given: _squared_distances(given.labels, probabilities(given.logits)), _mean
)
ECE: Final = Measure(
    lambda given: _binned(given.labels, probabilities(given.logits)), _miscalibration
)
CROSS_ENTROPY: Final = Measure(
    lambda given: _vote_costs(given.votes, probabilities(given.logits)), _mean
)
KULLBACK_LEIBLER: Final = Measure(
    lambda given: _vote_costs(given.votes, probabilities(given.logits), own=True), _mean
)


def moments_of(column: int) -> Callable[[Predictions], Floats]:
    """Return what tells known items and the moments of one dimension, float64 [N, 6].

    An item's columns: whether it counts, then x, y, x², y² and xy, x true and y predicted.
    """
    return lambda given: _moments(given.truth[:, column], given.dimensions[:, column])


def ccc_of(column: int) -> Measure:
    """Measure the concordance of one dimension, by its column."""
    return Measure(moments_of(column), _concordance)


def mae_of(column: int) -> Measure:
    """Measure the mean absolute error of one dimension, by its column."""
    return Measure(
        lambda given: _distances(given.truth[:, column], given.dimensions[:, column]), _mean
    )


def coverage_where(answered: npt.NDArray[np.bool_]) -> Measure:
    """Measure the share of items that get an answer other than ``unsure``; ``answered`` is [N]."""
    return Measure(lambda given: _mean_parts(answered.astype(np.float64), given.labels >= 0), _mean)


def precision_where(answered: npt.NDArray[np.bool_]) -> Measure:
    """Measure how many of the answers other than ``unsure`` are right; ``answered`` is [N]."""

    def parts(given: Predictions) -> Floats:
        labels = given.labels
        right = given.logits.argmax(axis=1) == labels
        return _mean_parts(right.astype(np.float64), answered & (labels >= 0))

    return Measure(parts, _mean)


_BATCH = 8


class Checked(msgspec.Struct, frozen=True):
    """Hold figures; nan where there was nothing to measure.

    ``labelled`` utterances have one of our categories, ``rated`` one of each dimension.
    ``skipped`` could not be read.
    """

    war: float
    uar: float
    labelled: int
    ccc: tuple[float, ...]
    rated: tuple[int, ...]
    skipped: int

    def rows(self) -> Iterator[tuple[str, float, int]]:
        """Yield name, figure and number of utterances of what was measured."""
        if self.labelled:
            yield "WAR (accuracy)", self.war, self.labelled
            yield "UAR", self.uar, self.labelled
        for name, value, count in zip(DIMENSIONS, self.ccc, self.rated, strict=True):
            if count:
                yield f"CCC {name}", value, count


def check_model(model: EmotionModel, items: Sequence[Item]) -> Checked:
    """Ask a model about items, each as the first utterance of a session, and count.

    Categories are those of the highest score, ``unsure`` or not, so that figures compare with
    published ones. A model that gives no categories, or not a dimension, has no figure there.
    Raises ``ConfigError`` where nothing can be measured at all.
    """
    sounds, readings, used, skipped = Sounds(), [], [], 0
    batch: list[tuple[Item, Segment]] = []
    for item in items:
        try:
            batch.append((item, Segment(samples=_sound(sounds, item), text=item.text)))
        except AudioError:
            skipped += 1
        if len(batch) == _BATCH:
            readings += _ask(model, [spoken for _, spoken in batch])
            used += [item for item, _ in batch]
            batch = []
    if batch:
        readings += _ask(model, [spoken for _, spoken in batch])
        used += [item for item, _ in batch]
    checked = _count(used, readings, skipped)
    if not any(True for _ in checked.rows()):
        raise ConfigError(
            f"nothing can be measured: the utterances have no label of what {model.name} gives,"
            f" or lack what it reads ({', '.join(model.modalities)})."
        )
    return checked


def _sound(sounds: Sounds, item: Item) -> Samples:
    sound = sounds.load(item)
    if isinstance(sound, Mel):
        raise AudioError(f"{item.id} has log-mel features only, and no recording.")
    return np.zeros(0, np.float32) if sound is None else sound


def _ask(model: EmotionModel, batch: Sequence[Segment]) -> list[Prediction]:
    speaker = model.new_speaker()
    return [speaker.predict(features) for features in model.extract(batch)]


def _count(items: Sequence[Item], readings: Sequence[Prediction], skipped: int) -> Checked:
    pairs = [
        (CATEGORIES.index(item.category), _likeliest(reading))
        for item, reading in zip(items, readings, strict=True)
        if item.category is not None and _has_judged(reading)
    ]
    truth, guess = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    agreements, rated = [], []
    for index, name in enumerate(DIMENSIONS):
        values = [
            (2.0 * item.dimensions[index] - 1.0, given)
            for item, reading in zip(items, readings, strict=True)
            if (given := getattr(reading.dimensions, name)) is not None
            and not math.isnan(item.dimensions[index])
        ]
        rated.append(len(values))
        agreements.append(
            ccc([value[0] for value in values], [value[1] for value in values])
            if len(values) > 1
            else math.nan
        )
    return Checked(
        war=war(truth, guess, len(CATEGORIES)),
        uar=uar(truth, guess, len(CATEGORIES)),
        labelled=len(pairs),
        ccc=tuple(agreements),
        rated=tuple(rated),
        skipped=skipped,
    )


def _has_judged(reading: Prediction) -> bool:
    """Tell whether scores are more than the even ones of a model that knows no categories."""
    return bool(reading.modalities) and len(set(reading.scores.values())) > 1


def _likeliest(reading: Prediction) -> int:
    return CATEGORIES.index(max(reading.scores, key=reading.scores.__getitem__))
