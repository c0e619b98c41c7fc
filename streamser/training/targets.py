"""What items say that a model should answer, in the columns of its heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamser.emotion.neural.config import HeadsConfig
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.items import Item

__all__ = ["Labels", "Targets", "class_weights", "labels_of", "targets_of"]

Floats = npt.NDArray[np.float64]


class Labels(NamedTuple):
    """Hold shares of the raters [N, K] and ratings [N, D]; ``nan`` where there are none."""

    votes: Floats
    truth: Floats


class Targets(NamedTuple):
    """Hold the labels of a batch as tensors, and which of them there are.

    ``votes`` float32 [B, K] sums to 1 in a row, ``has_votes`` is bool [B]; ``truth`` is float32
    [B, D] in [0, 1], ``has_truth`` bool [B, D]. What is not there is 0.
    """

    votes: Tensor
    has_votes: Tensor
    truth: Tensor
    has_truth: Tensor

    def pick(self, rows: Tensor) -> Targets:
        """Return the labels of some rows, in their order."""
        return Targets(*(tensor[rows] for tensor in self))

    def to(self, device: torch.device) -> Targets:
        """Return the labels on another device."""
        return Targets(*(tensor.to(device, non_blocking=True) for tensor in self))


def labels_of(
    items: Sequence[Item], heads: HeadsConfig, kind: Literal["hard", "soft"] = "soft"
) -> Labels:
    """Pick a model's categories and dimensions out of the labels of items, by their names.

    ``soft`` takes the raters' shares, brought to sum 1 over the model's categories; ``hard``
    the likeliest category, and none where that is a draw or the model does not have it.
    """
    columns = [CATEGORIES.index(name) for name in heads.categories]
    votes = np.full((len(items), len(columns)), np.nan)
    for row, item in enumerate(items):
        if item.votes is None or not columns:
            continue
        if kind == "hard":
            if item.category in heads.categories:
                votes[row] = 0.0
                votes[row, heads.categories.index(item.category)] = 1.0
            continue
        shares = np.array([item.votes[column] for column in columns])
        if shares.sum() > 0:
            votes[row] = shares / shares.sum()
    names = [DIMENSIONS.index(name) for name in heads.dimensions]
    truth = np.array([[item.dimensions[name] for name in names] for item in items], dtype=float)
    return Labels(votes, truth.reshape(len(items), len(names)))


def targets_of(labels: Labels) -> Targets:
    """Turn labels into tensors for the loss."""
    votes, truth = torch.from_numpy(labels.votes), torch.from_numpy(labels.truth)
    has_votes = ~votes.isnan().any(dim=1) if votes.shape[1] else torch.zeros(len(votes)).bool()
    return Targets(
        votes.nan_to_num().float(), has_votes, truth.nan_to_num().float(), ~truth.isnan()
    )


def class_weights(targets: Targets) -> list[float]:
    """Return a weight for each category, N / (K · N_k), so that all count alike in sum.

    N_k is the share of votes that a category has; one that never occurs weighs 1.
    """
    mass = targets.votes[targets.has_votes].double().sum(dim=0)
    weights = mass.sum() / (len(mass) * mass)
    return [float(weight) if torch.isfinite(weight) else 1.0 for weight in weights]
