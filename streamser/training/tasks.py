"""Which of a model's tasks its training items teach: it is never to tell the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.taxonomy import DIMENSIONS
from streamser.training.items import Item
from streamser.training.log import Report
from streamser.training.settings import TrainSettings
from streamser.training.targets import labels_of

__all__ = ["taught"]


def taught(settings: TrainSettings, items: Sequence[Item], report: Report) -> TrainSettings:
    """Take the tasks that nothing teaches out of the model, and say so.

    A dimension is taught by two ratings that differ, the categories by any votes, both by a
    weight above 0 in the loss. A head that has learnt nothing would answer by chance, for good;
    a model without it answers ``None``. Raises ``ConfigError`` where nothing is left.
    """
    heads, loss = settings.model.heads, settings.loss
    labels = labels_of(items, heads, settings.data.labels)
    weights = dict(zip(DIMENSIONS, (loss.valence, loss.arousal, loss.dominance), strict=True))
    dimensions = tuple(
        name
        for name, ratings in zip(heads.dimensions, labels.truth.T, strict=True)
        if weights[name] > 0 and len(np.unique(ratings[~np.isnan(ratings)])) > 1
    )
    voted = loss.category > 0 and not np.isnan(labels.votes).all()
    categories = heads.categories if voted else ()
    if not (categories or dimensions):
        raise ConfigError(
            "the train items teach nothing that the model answers"
            f" ({', '.join((*heads.categories, *heads.dimensions))}): give some that have"
            " categories or ratings, and a task of theirs a weight above 0 in [loss]."
        )
    left_out = ["categories"] if heads.categories and not categories else []
    left_out += [name for name in heads.dimensions if name not in dimensions]
    if left_out:
        report.note(
            f"nothing teaches {', '.join(left_out)} (no labels, or no weight in [loss]):"
            " the model will not tell them."
        )
    kept = replace(heads, categories=categories, dimensions=dimensions)
    return replace(settings, model=replace(settings.model, heads=kept))
