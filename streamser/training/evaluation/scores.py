"""Everything that is measured of one list of answers: pooled, by corpus, by speaker, by fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.calibration import UNCALIBRATED, Calibration, is_unsure, probabilities
from streamser.training.evaluation import metrics
from streamser.training.evaluation.bootstrap import Estimate, clusters, estimate
from streamser.training.evaluation.predictions import Predictions
from streamser.training.validation import apply_calibration


class Answers(NamedTuple):
    """Hold answers as they came, as calibrated, and which are sure enough to be given, [N]."""

    raw: Predictions
    calibrated: Predictions
    sure: npt.NDArray[np.bool_]

    def select(self, rows: npt.NDArray[np.int64]) -> Answers:
        """Return the answers that an index array names, in its order."""
        return Answers(self.raw.select(rows), self.calibrated.select(rows), self.sure[rows])


class ProbabilityScores(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how far probabilities can be trusted; the last two are against the raters' votes."""

    nll: Estimate
    ece: Estimate
    brier: Estimate
    cross_entropy: Estimate
    kullback_leibler: Estimate


class CategoryScores(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the figures of the classifier; ``confusion`` has true classes in its rows.

    ``coverage`` is the share of items that the runtime would name rather than call ``unsure``,
    ``precision`` how many of those are right.
    """

    labelled: int
    confusion: tuple[tuple[int, ...], ...]
    uar: Estimate
    war: Estimate
    macro_f1: Estimate
    raw: ProbabilityScores
    calibrated: ProbabilityScores
    coverage: Estimate
    precision: Estimate


class DimensionScores(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the figures of one dimension on the scale of [0, 1], raw and through its map."""

    rated: int
    ccc: Estimate
    mae: Estimate
    mapped_ccc: Estimate
    mapped_mae: Estimate


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is measured of one group of items.

    ``classes`` is ``None`` without a classifier or a label; ``dimensions`` has those with a
    rating.
    """

    items: int
    speakers: int
    classes: CategoryScores | None
    dimensions: dict[str, DimensionScores]


class FoldSpread(msgspec.Struct, frozen=True):
    """Hold the mean of a figure over the folds that have it, and its sample standard deviation.

    There is no deviation of one fold.
    """

    mean: float
    sd: float | None
    folds: int


class GroupedScores(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the scores of all items together, and of each corpus, speaker and fold.

    A speaker goes by ``corpus/speaker`` and has no intervals; one of a single utterance is not
    listed. ``folds`` is empty for one list of answers.
    """

    categories: tuple[str, ...]
    overall: Scores
    corpora: dict[str, Scores]
    speakers: dict[str, Scores]
    folds: dict[str, FoldSpread]


def judge(predictions: Predictions, calibration: Calibration = UNCALIBRATED) -> Answers:
    """Apply a calibration to answers as the runtime does."""
    scores = probabilities(predictions.logits, calibration)
    return Answers(
        predictions, apply_calibration(predictions, calibration), ~is_unsure(scores, calibration)
    )


def score(folds: Sequence[Answers], *, replicates: int = 1000, seed: int = 0) -> GroupedScores:
    """Measure answers, each fold judged by the calibration of its own validation speakers.

    Intervals are 95 % by a bootstrap over speakers; ``replicates`` of 0 leave them out. The
    label sets of the folds must agree.
    """
    pooled = _pool(folds)

    raw = pooled.raw
    whole = _score(pooled, replicates, seed)
    by_corpus = _rows_by(raw.corpora)
    by_speaker = _rows_by(
        f"{corpus}/{speaker}" if speaker else ""
        for corpus, speaker in zip(raw.corpora, raw.speakers, strict=True)
    )
    return GroupedScores(
        categories=raw.categories,
        overall=whole,
        # One corpus alone is everything, and is not measured twice.
        corpora={
            name: _score(pooled.select(rows), replicates, seed) if len(by_corpus) > 1 else whole
            for name, rows in by_corpus.items()
        },
        speakers={
            name: _score(pooled.select(rows), 0, seed)
            for name, rows in by_speaker.items()
            if name and len(rows) > 1
        },
        folds=_spread([_score(fold, 0, seed) for fold in folds]) if len(folds) > 1 else {},
    )


def figures(scores: Scores) -> dict[str, Estimate]:
    """Name the headline figures of scores: UAR, WAR, macro-F1, and CCC of each dimension."""
    found: dict[str, Estimate] = {}
    if scores.classes is not None:
        classes = scores.classes
        found |= {"UAR": classes.uar, "WAR": classes.war, "macro-F1": classes.macro_f1}
    return found | {f"CCC {name}": each.ccc for name, each in scores.dimensions.items()}


def _pool(folds: Sequence[Answers]) -> Answers:
    if len(folds) == 1:
        return folds[0]
    return Answers(
        Predictions.join([fold.raw for fold in folds]),
        Predictions.join([fold.calibrated for fold in folds]),
        np.concatenate([fold.sure for fold in folds]),
    )


def _rows_by(names: Iterable[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the places of each name, names in their order."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return {name: np.array(places[name], dtype=np.int64) for name in sorted(places)}


def _score(answers: Answers, replicates: int, seed: int) -> Scores:
    raw = answers.raw
    measure = _Measuring(replicates, seed)
    rated = {
        name: int((~np.isnan(raw.truth[:, column])).sum()) for column, name in enumerate(raw.names)
    }
    return Scores(
        items=len(raw),
        speakers=len(set(clusters(raw).tolist())),
        classes=_classes(answers, measure) if (raw.labels >= 0).any() else None,
        dimensions={
            name: _dimension(answers, column, rated[name], measure)
            for column, name in enumerate(raw.names)
            if rated[name]
        },
    )


class _Measuring(NamedTuple):
    replicates: int
    seed: int

    def __call__(self, predictions: Predictions, *measures: metrics.Measure) -> list[Estimate]:
        return estimate([predictions], measures, replicates=self.replicates, seed=self.seed)


def _classes(answers: Answers, measure: _Measuring) -> CategoryScores:
    raw = answers.raw
    uar, war, macro_f1, coverage, precision = measure(
        raw,
        metrics.UAR,
        metrics.WAR,
        metrics.MACRO_F1,
        metrics.coverage_where(answers.sure),
        metrics.precision_where(answers.sure),
    )
    counts = metrics.confusion(raw.labels, raw.logits.argmax(axis=1), len(raw.categories))
    return CategoryScores(
        labelled=int((raw.labels >= 0).sum()),
        confusion=tuple(tuple(map(int, row)) for row in counts),
        uar=uar,
        war=war,
        macro_f1=macro_f1,
        raw=_trust(raw, measure),
        calibrated=_trust(answers.calibrated, measure),
        coverage=coverage,
        precision=precision,
    )


def _trust(predictions: Predictions, measure: _Measuring) -> ProbabilityScores:
    nll, ece, brier, cross_entropy, divergence = measure(
        predictions,
        metrics.NLL,
        metrics.ECE,
        metrics.BRIER,
        metrics.CROSS_ENTROPY,
        metrics.KULLBACK_LEIBLER,
    )
    return ProbabilityScores(
        nll=nll, ece=ece, brier=brier, cross_entropy=cross_entropy, kullback_leibler=divergence
    )


def _dimension(answers: Answers, column: int, rated: int, measure: _Measuring) -> DimensionScores:
    pair = metrics.ccc_of(column), metrics.mae_of(column)
    ccc, mae = measure(answers.raw, *pair)
    mapped_ccc, mapped_mae = measure(answers.calibrated, *pair)
    return DimensionScores(
        rated=rated, ccc=ccc, mae=mae, mapped_ccc=mapped_ccc, mapped_mae=mapped_mae
    )


def _spread(folds: Sequence[Scores]) -> dict[str, FoldSpread]:
    tables = [figures(fold) for fold in folds]
    spreads: dict[str, FoldSpread] = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [
            table[name].value for table in tables if name in table and table[name].value is not None
        ]
        known = np.array(values, dtype=np.float64)
        if len(known):
            sd = float(known.std(ddof=1)) if len(known) > 1 else None
            spreads[name] = FoldSpread(float(known.mean()), sd, len(known))
    return spreads
