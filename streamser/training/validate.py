"""How good a model is on the validation speakers, and which epoch is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from streamser.emotion.neural.network import FusedModel
from streamser.errors import ConfigError, StreamserError
from streamser.training.inputs import Inputs
from streamser.training.items import Item
from streamser.training.losses import Loss
from streamser.training.metrics import ccc, uar
from streamser.training.predict import predict
from streamser.training.predictions import Predictions
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from streamser.training.targets import Targets, labels_of, targets_of

__all__ = ["Figures", "Validator", "judge"]


class Figures(NamedTuple):
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
    ) -> Figures:
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
) -> Figures:
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
    return Figures(whole, tasks, recall, agreement, score)


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
