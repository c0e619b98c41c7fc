"""What the validation speakers are for: the best epoch, the calibration, the card's figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace

from streamser.emotion.calibration import Calibration, MonotoneMap, map_dimensions, probabilities
from streamser.emotion.fused.checkpoint import save_checkpoint
from streamser.emotion.fused.network import FusedModel
from streamser.errors import ConfigError, StreamserError
from streamser.training.batches import Inputs, Targets, TextChoice, labels_of, targets_of, text_of
from streamser.training.checkpointing import Result, RunDirectory, tasks_of
from streamser.training.evaluation.metrics import ccc, nll, uar
from streamser.training.evaluation.predictions import Predictions, predict
from streamser.training.learner import Loss, task_weights
from streamser.training.manifest import Item
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds

Floats = npt.NDArray[np.float64]

FEWEST: Final = 20
"""Labels below which nothing is fitted."""

_TEMPERATURES = (0.05, 20.0)
_POINTS = 32
_FOLDS = 5
_LEAST_GAIN = 0.01
_LEAST_ANSWERED = 0.05

_SETS = {
    "audio": frozenset({"audio"}),
    "text": frozenset({"text"}),
    "audio+text": frozenset({"audio", "text"}),
}


class DevFigures(NamedTuple):
    """Hold figures of the validation items; ``None`` where there are no labels for one."""

    loss: float | None
    tasks: tuple[float | None, ...]
    uar: float | None
    ccc: tuple[float | None, ...]
    score: float


class Validator:
    """Measure a model on the validation items, again after each epoch.

    The losses are those of the training, over all items at once. Raises ``ConfigError`` where
    ``run.select`` needs labels that the items lack.
    """

    def __init__(self, settings: TrainSettings, items: Sequence[Item], loss: Loss) -> None:
        self._settings = settings
        self._items = items
        self._loss = loss
        labels = labels_of(items, settings.model.heads, settings.data.labels)
        self._targets = targets_of(labels)
        _check_selectable(settings, self._targets)

    def measure(
        self,
        model: FusedModel,
        *,
        sounds: Sounds,
        inputs: Inputs,
        autocast: torch.dtype | None = None,
    ) -> DevFigures:
        """Ask the model about all items; raises ``StreamserError`` where it has diverged."""
        answers = predict(
            model,
            self._items,
            text="asr" if self._settings.data.text == "asr" else "gold",
            batch=max(32, self._settings.optimizer.batch),
            sounds=sounds,
            inputs=inputs,
            autocast=autocast,
        )
        return judge(answers, self._targets, self._loss, self._settings)


def judge(
    predictions: Predictions, targets: Targets, loss: Loss, settings: TrainSettings
) -> DevFigures:
    """Measure answers; losses are over all items at once, in float64.

    ``score`` is what ``run.select`` names, larger being better, 0 where nothing is known (all
    items may be draws between categories). Raises ``StreamserError`` where
    the model answers with nan: it has diverged.
    """
    if not (np.isfinite(predictions.logits).all() and np.isfinite(predictions.dimensions).all()):
        raise StreamserError(
            "the training has diverged (answers are not finite): "
            "lower optimizer.learning_rate, or raise optimizer.warmup."
        )
    found = loss(
        torch.from_numpy(predictions.logits),
        torch.from_numpy(predictions.dimensions),
        votes=targets.votes,
        has_votes=targets.has_votes,
        truth=targets.truth,
        has_truth=targets.has_truth,
    )
    tasks = tuple(
        float(value) if known else None
        for value, known in zip(found.tasks.tolist(), found.known.tolist(), strict=True)
    )
    guesses = predictions.logits.argmax(axis=1) if predictions.categories else predictions.labels
    recall = _known(uar(predictions.labels, guesses, len(predictions.categories)))
    agreement = tuple(
        _known(ccc(predictions.truth[:, column], predictions.dimensions[:, column]))
        for column in range(len(predictions.names))
    )
    whole = float(found.total) if any(task is not None for task in tasks) else None
    match settings.run.select:
        case "loss":
            score = -(whole or 0.0)
        case "uar":
            score = _mean([recall])
        case "ccc":
            score = _mean(agreement)
        case _:
            score = _mean([recall, *agreement])
    return DevFigures(whole, tasks, recall, agreement, score)


def _check_selectable(settings: TrainSettings, targets: Targets) -> None:
    categories = bool(targets.has_votes.any())
    dimensions = bool((targets.has_truth.sum(dim=0) >= 2).any())
    needed = {
        "uar": (categories, "a category"),
        "ccc": (dimensions, "a rating of the model's dimensions"),
    }
    there, what = needed.get(settings.run.select, (categories or dimensions, "any label"))
    if not there:
        raise ConfigError(
            f"run.select = {settings.run.select}: no item of the dev split has {what} "
            "that the model answers."
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Iterable[float | None]) -> float:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else 0.0


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


def finish(
    run: RunDirectory,
    model: FusedModel,
    train: Sequence[Item],
    dev: Sequence[Item],
    settings: TrainSettings,
    result: Result,
    sounds: Sounds,
    *,
    calibrated: bool,
) -> None:
    """Save the checkpoint of a trained model; calibrations are fitted on the dev items."""
    calibrations = calibrate_on(model, dev, settings, sounds) if calibrated else {}
    card = card_of(settings, result, train, dev)
    save_checkpoint(run.model, model, calibrations=calibrations, card=card)


def calibrate_on(
    model: FusedModel, items: Sequence[Item], settings: TrainSettings, sounds: Sounds
) -> dict[str, Calibration]:
    """Fit a calibration for each set of modalities that the model takes and some items have."""
    text: TextChoice = "asr" if settings.data.text == "asr" else "gold"
    found = {}
    for name, modalities in _SETS.items():
        chosen = [item for item in items if modalities <= _modalities(model, item, text)]
        if chosen:
            answers = predict(model, chosen, modalities=modalities, text=text, sounds=sounds)
            found[name] = fit_calibration(answers, fitted_on=f"dev split, {name}")
    return found


def card_of(
    settings: TrainSettings, result: Result, train: Sequence[Item], dev: Sequence[Item]
) -> str:
    """Write the model card in Markdown: what it is, what it learnt from, how good, what for."""
    best = result.history[result.best_epoch - 1]
    heads = settings.model.heads
    modalities = " and ".join(
        word
        for word, part in (("voice", settings.model.acoustic), ("words", settings.model.text))
        if part is not None
    )
    figures = [("UAR", best.dev_uar)]
    figures += [
        (f"CCC {name}", value) for name, value in zip(heads.dimensions, best.dev_ccc, strict=True)
    ]
    lines = [
        "# Speech emotion from " + modalities,
        "",
        "A fused multi-task model of streamser, after Ispas, Deschamps-Berger & Devillers, "
        "arXiv 2401.00536.",
        "",
        f"- Categories: {', '.join(heads.categories) or 'none'}",
        f"- Dimensions, in [0, 1]: {', '.join(heads.dimensions) or 'none'}",
        f"- Trained for {result.epochs} epochs; these are the weights of epoch "
        f"{result.best_epoch}, the best by `run.select = {settings.run.select}` on the "
        "validation speakers",
        f"- Seed: {settings.run.seed}",
        "",
        "## Training data",
        "",
        f"Trained on {_counts(train)}; validated on {_counts(dev)}. "
        "The licences of the corpora hold for what was learnt from them.",
        "",
        "## Figures on the validation speakers",
        "",
        "These chose the epoch, so they flatter the model. Figures on test speakers come from "
        "`streamser evaluate`.",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name} | {'–' if value is None else f'{value:.3f}'} |" for name, value in figures),
        "",
        "## Intended use and limits",
        "",
        "For research, and for people who know that they are listened to and have agreed. It "
        "says how speech is likely to be *heard* by people like the raters of its corpora, not "
        "what somebody feels. Other languages, microphones, ages and natural instead of acted "
        "speech lower its figures, often to chance. Inferring emotions of people at work or in "
        "education is prohibited in the European Union (Regulation (EU) 2024/1689, Article "
        "5(1)(f)).",
        "",
        "## Settings",
        "",
        "Weights of the losses: "
        + ", ".join(
            f"{task} {weight:.2f}"
            for task, weight in zip(
                tasks_of(heads), task_weights(settings.loss, heads), strict=True
            )
        )
        + ".",
        "",
        "```json",
        msgspec.json.format(msgspec.json.encode(_public(settings)), indent=2).decode(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _modalities(model: FusedModel, item: Item, text: TextChoice) -> frozenset[str]:
    hears = model.acoustic is not None and item.has_sound
    reads = model.text is not None and bool(text_of(item, text))
    return frozenset(name for name, has in (("audio", hears), ("text", reads)) if has)


def _public(settings: TrainSettings) -> TrainSettings:
    """Take out what tells of somebody's disk."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        data=replace(settings.data, manifest=""),
        augment=replace(settings.augment, noise_folder="", room_folder=""),
    )


def _counts(items: Sequence[Item]) -> str:
    corpora = Counter(item.corpus for item in items)
    speakers = len({(item.corpus, item.speaker) for item in items})
    each = ", ".join(f"{count} of {name}" for name, count in sorted(corpora.items()))
    return f"{len(items)} utterances of {speakers} speakers ({each})"
