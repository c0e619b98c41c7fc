"""How sure a figure is: resample the speakers, for one speaker's utterances resemble each other.

The cluster bootstrap of Ferrer's ConfidenceIntervals with ``conditions`` = speakers: speakers
are drawn with replacement, each with all of their utterances, and the percentiles of the
figure over the draws bound it (Efron & Tibshirani 1993 §13). With fewer than some twenty
speakers such intervals are too narrow (Cameron, Gelbach & Miller 2008).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.errors import ConfigError
from streamser.training.evaluation.metrics import Measure
from streamser.training.evaluation.predictions import Predictions

Floats = npt.NDArray[np.float64]

_CHUNK = 64
_LEVEL = 0.95


class Estimate(msgspec.Struct, frozen=True):
    """Hold a figure and its 95 % interval; ``None`` where it is not defined.

    There is no interval for fewer than two speakers, where none was asked for, and where most
    draws of speakers lack what the figure is of, such as a class.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how much better the first of two systems is on the same items.

    ``p`` is two-sided: how often draws of speakers turn the difference around, doubled.
    """

    first: float | None
    second: float | None
    difference: Estimate
    p: float | None
    items: int
    speakers: int


def clusters(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Return a number from 0 for the speaker of each item, int64 [N].

    Speakers of the same name in two corpora are two. Items without a speaker stand alone.
    """
    found: dict[tuple[str, ...], int] = {}
    table = zip(predictions.corpora, predictions.speakers, predictions.ids, strict=True)
    numbers = [
        found.setdefault((corpus, speaker) if speaker else (corpus, "", item), len(found))
        for corpus, speaker, item in table
    ]
    return np.array(numbers, dtype=np.int64)


def estimate(
    runs: Sequence[Predictions],
    measures: Sequence[Measure],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> list[Estimate]:
    """Bound each measure by drawing speakers; one estimate per measure.

    ``runs`` are the answers of one system, or of its several seeds on the same items: then the
    figure is the mean over the seeds, and the seeds share each draw. Raises ``ConfigError``
    where the runs are of different items.
    """
    first, *others = runs
    aligned = [first, *(_align(first, other) for other in others)]
    values, drawn = _resample(aligned, measures, replicates, seed)
    return [_bound(value, draws) for value, draws in zip(values, drawn.T, strict=True)]


def compare(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    measure: Measure,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Difference:
    """Compare two systems on the same items by a paired bootstrap over speakers.

    Each system is a list of runs (seeds), of which the mean counts; all share each draw.
    ``p`` inverts the percentile interval (Efron & Tibshirani 1993 §15.4): it is below .05 about
    where the interval leaves out 0, and never below 2 / (replicates + 1). Raises ``ConfigError``
    where the runs are of different items.
    """
    anchor = first[0]
    sides = [[_align(anchor, run) for run in side] for side in (first, second)]
    (of_first, first_draws), (of_second, second_draws) = (
        _resample(side, [measure], replicates, seed) for side in sides
    )
    draws = (first_draws - second_draws)[:, 0]
    apart = of_first[0] - of_second[0]
    known = draws[~np.isnan(draws)]
    p = None
    if len(known) and not np.isnan(apart):
        tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
        p = min(1.0, 2 * (tail + 1) / (len(known) + 1))
    return Difference(
        first=_number(of_first[0]),
        second=_number(of_second[0]),
        difference=_bound(apart, draws),
        p=p,
        items=len(anchor),
        speakers=_count(anchor),
    )


def _resample(
    runs: Sequence[Predictions], measures: Sequence[Measure], replicates: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the measures' values [M] on all items and [R, M] on draws of speakers."""
    numbers = clusters(runs[0])
    speakers = _count(runs[0])
    tables = [
        [_sum_by(numbers, speakers, measure.parts(run)) for measure in measures] for run in runs
    ]
    whole = _values(tables, measures, np.ones((1, speakers)))[0]
    if speakers < 2 or replicates < 1:
        return whole, np.empty((0, len(measures)))
    rng = np.random.default_rng(seed)
    drawn = [
        _values(tables, measures, _draw(rng, min(_CHUNK, replicates - start), speakers))
        for start in range(0, replicates, _CHUNK)
    ]
    return whole, np.concatenate(drawn)


def _values(
    tables: Sequence[Sequence[Floats]], measures: Sequence[Measure], weights: Floats
) -> Floats:
    """Return the mean over runs of each measure under weights [R, speakers]: [R, measures]."""
    columns = [
        [_value(measure, weights, sums) for measure, sums in zip(measures, table, strict=True)]
        for table in tables
    ]
    mean: Floats = np.mean(np.array(columns), axis=0).T
    return mean


def _value(measure: Measure, weights: Floats, sums: Floats) -> Floats:
    """Return a measure under weights [R, speakers], ``nan`` where it is of something else."""
    drawn = weights @ sums
    values = measure.value(drawn)
    if measure.alike is None:
        return values
    return np.where(measure.alike(drawn, sums.sum(axis=0)), values, np.nan)


def _draw(rng: np.random.Generator, replicates: int, speakers: int) -> Floats:
    """Count how often each speaker is drawn, float64 [replicates, speakers]."""
    picked = rng.integers(speakers, size=(replicates, speakers))
    picked += np.arange(replicates)[:, None] * speakers
    counts = np.bincount(picked.ravel(), minlength=replicates * speakers)
    return counts.reshape(replicates, speakers).astype(np.float64)


def _sum_by(numbers: npt.NDArray[np.int64], groups: int, parts: Floats) -> Floats:
    sums = np.zeros((groups, parts.shape[1]))
    np.add.at(sums, numbers, parts)
    return sums


def _count(predictions: Predictions) -> int:
    return int(clusters(predictions).max(initial=-1)) + 1


def _bound(value: float, draws: Floats) -> Estimate:
    known = draws[~np.isnan(draws)]
    # Where most draws leave the figure undefined, the rest say little about it.
    if np.isnan(value) or not len(known) or 2 * len(known) < len(draws):
        return Estimate(_number(value))
    tail = 50 * (1 - _LEVEL)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Estimate(float(value), float(low), float(high))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _align(first: Predictions, other: Predictions) -> Predictions:
    """Put the items of a run in the order of another."""
    if other.ids == first.ids:
        return other
    places = {item: place for place, item in enumerate(other.ids)}
    if len(places) != len(other.ids) or sorted(places) != sorted(first.ids):
        raise ConfigError(
            "systems can be compared on the same items only: "
            f"one answers {len(first)} items, the other {len(other)}, and their ids differ."
        )
    return other.select(np.array([places[item] for item in first.ids], dtype=np.int64))
