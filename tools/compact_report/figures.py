"""From readings to figures: tables that ``bootstrap.estimate`` takes, and measures of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.evaluation.bootstrap import estimate
from streamser.training.evaluation.metrics import UAR, Measure, moments_of
from streamser.training.evaluation.predictions import Predictions
from tools.compact_report.clips import Corpus
from tools.compact_report.plan import Plan
from tools.compact_report.play import Played
from tools.compact_report.records import Figure

__all__ = [
    "ALARM",
    "NAMED",
    "PRECISION",
    "UNSURE_SHARE",
    "answers",
    "answers_of",
    "figures",
    "pearson_of",
    "recall_of",
    "said_share",
    "uar_figure",
    "uar_lost",
]

Floats = npt.NDArray[np.float64]

NAMED: Final = "named"
"""A column beside the dimensions: 1 where a reading names a category, 0 where it is unsure."""

_NAMES: Final = (*DIMENSIONS, NAMED)
_NAMED_COLUMN: Final = len(DIMENSIONS)
_LEAST: Final = 1e-12
_NO_VARIANCE: Final = 1e-12


def answers_of(corpus: Corpus, played: Played, keep: npt.NDArray[np.bool_]) -> Predictions:
    """Put the readings that a mask [N] names in a table, beside what their clips are."""
    rows = np.flatnonzero(keep)
    clips = [corpus.clips[place] for place in played.clip[rows]]
    return answers(
        played.scores[rows],
        played.dimensions[rows],
        played.named[rows],
        labels=np.array([clip.label for clip in clips], np.int64),
        ids=[
            f"{clip.item.id}@{played.stream[row]}.{played.heard[row]}"
            for clip, row in zip(clips, rows, strict=True)
        ],
        speakers=[clip.item.speaker for clip in clips],
        corpus=corpus.name,
        truth=np.array([clip.item.dimensions for clip in clips], np.float64).reshape(-1, 3),
    )


def answers(
    scores: Floats,
    dimensions: Floats,
    named: npt.NDArray[np.bool_],
    *,
    labels: npt.NDArray[np.int64],
    ids: Sequence[str],
    speakers: Sequence[str],
    corpus: str,
    truth: Floats | None = None,
) -> Predictions:
    """Put N answers in a table; labels are -1 for none, truth [N, 3] in [0, 1] or ``nan``.

    The logarithms of calibrated probabilities stand for logits: their softmax is the
    probabilities again.
    """
    count = len(scores)
    votes = np.full((count, len(CATEGORIES)), math.nan)
    votes[labels >= 0] = np.eye(len(CATEGORIES))[labels[labels >= 0]]
    known = np.full((count, 3), math.nan) if truth is None else truth
    return Predictions(
        categories=CATEGORIES,
        names=_NAMES,
        ids=tuple(ids),
        speakers=tuple(speakers),
        corpora=(corpus,) * count,
        logits=np.log(np.maximum(scores, _LEAST)).reshape(count, len(CATEGORIES)),
        dimensions=np.column_stack([(dimensions + 1) / 2, named]).reshape(count, len(_NAMES)),
        votes=votes,
        truth=np.column_stack([known, np.full(count, math.nan)]).reshape(count, len(_NAMES)),
    )


def figures(
    runs: Sequence[Predictions], measures: Mapping[str, Measure], plan: Plan
) -> dict[str, Figure]:
    """Measure the answers of all models on the same items; the first model is the one shipped."""
    chosen = list(measures.values())
    found = estimate(runs, chosen, replicates=plan.replicates)
    first = estimate(runs[:1], chosen, replicates=0)
    return {
        name: Figure(value=mean.value, low=mean.low, high=mean.high, ships=own.value)
        for name, mean, own in zip(measures, found, first, strict=True)
    }


def uar_figure(
    corpus: Corpus, played: Sequence[Played], keep: npt.NDArray[np.bool_], plan: Plan
) -> Figure:
    """Measure the unweighted average recall of the readings that a mask [N] names."""
    runs = [answers_of(corpus, each, keep) for each in played]
    return figures(runs, {"UAR": UAR}, plan)["UAR"]


def uar_lost(first: int) -> Measure:
    """Measure by how much the UAR of the first so many rows exceeds that of the others.

    Put the answers of two kinds of streams in one table: both then share the drawn speakers.
    """
    cells = len(CATEGORIES) ** 2

    def parts(predictions: Predictions) -> Floats:
        counts = UAR.parts(predictions)
        apart = np.zeros((len(counts), 2 * cells))
        apart[:first, :cells], apart[first:, cells:] = counts[:first], counts[first:]
        return apart

    def alike(sums: Floats, whole: Floats) -> npt.NDArray[np.bool_]:
        same = np.ones(sums.shape[:-1], np.bool_)
        for half in (slice(0, cells), slice(cells, 2 * cells)):
            if UAR.alike is not None:
                same &= UAR.alike(sums[..., half], whole[half])
        return same

    def value(sums: Floats) -> Floats:
        return UAR.value(sums[..., :cells]) - UAR.value(sums[..., cells:])

    return Measure(parts, value, alike)


def recall_of(category: str) -> Measure:
    """Measure the recall of one category."""
    number = CATEGORIES.index(category)

    def parts(predictions: Predictions) -> Floats:
        right = predictions.logits.argmax(axis=1) == number
        return _mean_parts(right, predictions.labels == number)

    return Measure(parts, _mean)


def said_share(category: str) -> Measure:
    """Measure the share of answers whose likeliest category is this one, labelled or not."""
    number = CATEGORIES.index(category)

    def parts(predictions: Predictions) -> Floats:
        said = predictions.logits.argmax(axis=1) == number
        return _mean_parts(said, np.ones(len(predictions), np.bool_))

    return Measure(parts, _mean)


def pearson_of(column: int) -> Measure:
    """Measure the correlation of one dimension with what is true, by its column.

    Put ranks in the columns, and it is Spearman's (draws of speakers then keep the ranks of
    the whole). 0 where either is constant, ``nan`` for fewer than two items.
    """

    def value(sums: Floats) -> Floats:
        count, *rest = np.moveaxis(sums, -1, 0)
        x, y, xx, yy, xy = (_share(each, count) for each in rest)
        spread = np.sqrt(np.maximum(xx - x * x, 0.0) * np.maximum(yy - y * y, 0.0))
        together = np.where(spread < _NO_VARIANCE, 0.0, _share(xy - x * y, spread))
        return np.where(count < 2, np.nan, together)

    return Measure(moments_of(column), value)


def _unsure_parts(predictions: Predictions) -> Floats:
    return _mean_parts(~_named(predictions), predictions.labels >= 0)


def _precision_parts(predictions: Predictions) -> Floats:
    labels = predictions.labels
    right = predictions.logits.argmax(axis=1) == labels
    return _mean_parts(right, _named(predictions) & (labels >= 0))


def _alarm_parts(predictions: Predictions) -> Floats:
    other = predictions.logits.argmax(axis=1) != CATEGORIES.index("neutral")
    return _mean_parts(other & _named(predictions), np.ones(len(predictions), np.bool_))


def _named(predictions: Predictions) -> npt.NDArray[np.bool_]:
    return predictions.dimensions[:, _NAMED_COLUMN] > 0.5


def _mean_parts(values: npt.NDArray[np.bool_], counts: npt.NDArray[np.bool_]) -> Floats:
    return np.stack([(values & counts).astype(np.float64), counts.astype(np.float64)], axis=1)


def _mean(sums: Floats) -> Floats:
    return _share(sums[..., 0], sums[..., 1])


def _share(part: Floats, whole: Floats) -> Floats:
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


UNSURE_SHARE: Final = Measure(_unsure_parts, _mean)
"""The share of labelled items whose reading is ``unsure``."""
PRECISION: Final = Measure(_precision_parts, _mean)
"""How many of the labelled items that get a category get the right one."""
ALARM: Final = Measure(_alarm_parts, _mean)
"""The share of all items, labelled or not, that are surely called something but neutral."""
