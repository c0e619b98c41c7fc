"""Fit temperature, monotone maps and the ``unsure`` threshold on validation speakers."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser.emotion.calibration import (
    Calibration,
    MonotoneMap,
    map_dimensions,
    probabilities,
)
from streamser.training.metrics import ccc, nll
from streamser.training.predictions import Predictions

__all__ = ["FEWEST", "apply_calibration", "fit_calibration"]

Floats = npt.NDArray[np.float64]

FEWEST: Final = 20
"""Labels below which nothing is fitted."""

_TEMPERATURES = (0.05, 20.0)
_POINTS = 32
_FOLDS = 5
_LEAST_GAIN = 0.01
_LEAST_ANSWERED = 0.05


def fit_calibration(
    predictions: Predictions, *, precision: float = 0.8, fitted_on: str = ""
) -> Calibration:
    """Fit what turns raw outputs into ones to be trusted; give it validation speakers only.

    The temperature minimises the negative log-likelihood (Guo et al., ICML 2017 §4.2), within
    0.05 to 20. A dimension gets an isotonic map (Zadrozny & Elkan, KDD 2002), stretched to the
    mean and spread of the ratings, where that raises the CCC of speakers it was not fitted on.
    ``unsure_below`` is the lowest threshold on the calibrated top probability above which at
    least ``precision`` of the answers are right; where none gets there, the one above which
    most are right while one in twenty is still answered, and ``fitted_on`` says so. Fewer
    than ``FEWEST`` labels leave a part as it is.
    """
    words = [f"{len(predictions)} utterances of {len(set(_speakers(predictions)))} speakers"]
    if fitted_on:
        words.insert(0, fitted_on)
    known = predictions.labels >= 0
    labels, logits = predictions.labels[known], predictions.logits[known]
    temperature, unsure_below = 1.0, 0.0
    if len(labels) >= FEWEST:
        temperature = _fit_temperature(logits, labels)
        scores = probabilities(logits / temperature)
        unsure_below, reached = _fit_threshold(scores, labels, precision)
        if reached < precision:
            words.append(
                f"no threshold gives a precision of {precision:g} there, the best is {reached:.2f}"
            )
    elif predictions.categories:
        words.append("too few categorical labels to calibrate probabilities")
    return Calibration(
        temperature=temperature,
        unsure_below=unsure_below,
        maps=_fit_maps(predictions),
        fitted_on="; ".join(words),
    )


def apply_calibration(predictions: Predictions, calibration: Calibration) -> Predictions:
    """Return predictions with logits over the temperature and dimensions mapped."""
    return replace(
        predictions,
        logits=predictions.logits / calibration.temperature,
        dimensions=map_dimensions(predictions.dimensions, predictions.names, calibration),
    )


def _fit_temperature(logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    from scipy.optimize import minimize_scalar

    low, high = _TEMPERATURES
    found = minimize_scalar(
        lambda power: nll(labels, probabilities(logits / math.exp(power))),
        bounds=(math.log(low), math.log(high)),
        method="bounded",
    )
    temperature = math.exp(float(found.x))
    # A flat likelihood (all logits equal) is no reason to leave 1.
    gain = nll(labels, probabilities(logits)) - float(found.fun)
    return temperature if gain > 1e-9 else 1.0


def _fit_threshold(
    scores: Floats, labels: npt.NDArray[np.int64], precision: float
) -> tuple[float, float]:
    """Return the threshold and the precision above it."""
    order = np.argsort(-scores.max(axis=1), kind="stable")
    top = scores.max(axis=1)[order]
    right = (scores.argmax(axis=1) == labels)[order]
    answered = np.arange(1, len(top) + 1)
    reached = right.cumsum() / answered
    # Answers of equal probability stand or fall together.
    last = np.append(top[1:] < top[:-1], True)
    allowed = last & (answered >= max(FEWEST, math.ceil(_LEAST_ANSWERED * len(top))))
    good = np.flatnonzero(allowed & (reached >= precision))
    place = good[-1] if len(good) else np.flatnonzero(allowed)[reached[allowed].argmax()]
    if place == len(top) - 1:
        return 0.0, float(reached[place])
    # Half way to the next, so that rounding at run time moves no answer across.
    return float(top[place] + top[place + 1]) / 2, float(reached[place])


def _fit_maps(predictions: Predictions) -> dict[str, MonotoneMap]:
    maps: dict[str, MonotoneMap] = {}
    for column, name in enumerate(predictions.names):
        true, given = predictions.truth[:, column], predictions.dimensions[:, column]
        known = ~(np.isnan(true) | np.isnan(given))
        if known.sum() < FEWEST:
            continue
        chart = _fit_map(true[known], given[known])
        groups = _groups(predictions.select(known))
        if chart is not None and _helps(true[known], given[known], groups):
            maps[name] = chart
    return maps


def _fit_map(true: Floats, given: Floats) -> MonotoneMap | None:
    """Return a rising map, or ``None`` where the ratings do not rise with the answers."""
    from sklearn.isotonic import IsotonicRegression

    if np.ptp(given) == 0 or np.ptp(true) == 0:
        return None
    isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(given, true)
    x = np.unique(np.quantile(given, np.linspace(0, 1, _POINTS)))
    mapped = isotonic.predict(given)
    if np.ptp(mapped) < 1e-9:
        return None
    # Plain isotonic regression shrinks towards the mean by as much as it is unsure, and CCC
    # rightly minds: a voice that is called calm must be able to look calm.
    stretch = true.std() / mapped.std()
    y = np.clip(true.mean() + (isotonic.predict(x) - mapped.mean()) * stretch, 0.0, 1.0)
    y = np.maximum.accumulate(y)  # rounding
    return MonotoneMap(x=tuple(map(float, x)), y=tuple(map(float, y)))


def _helps(true: Floats, given: Floats, groups: npt.NDArray[np.int64]) -> bool:
    """Tell whether maps raise the CCC of the groups that they were not fitted on."""
    mapped = given.copy()
    for held in range(_FOLDS):
        out = groups % _FOLDS == held
        chart = _fit_map(true[~out], given[~out]) if out.any() and not out.all() else None
        if chart is not None:
            mapped[out] = np.interp(given[out], chart.x, chart.y)
    if np.ptp(mapped) == 0:
        return False
    # Answers that say nothing would be given the spread of ratings: three standard errors of
    # no relation keep that from happening.
    related = np.corrcoef(true, mapped)[0, 1] > 3 / math.sqrt(len(true))
    return bool(related and ccc(true, mapped) > ccc(true, given) + _LEAST_GAIN)


def _groups(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Return a number for each item's speaker; for each item, where one speaker is alone."""
    speakers = _speakers(predictions)
    if len(set(speakers)) < 2:
        return np.arange(len(predictions))
    places = {speaker: place for place, speaker in enumerate(dict.fromkeys(speakers))}
    return np.array([places[speaker] for speaker in speakers], dtype=np.int64)


def _speakers(predictions: Predictions) -> list[tuple[str, str]]:
    return list(zip(predictions.corpora, predictions.speakers, strict=True))
