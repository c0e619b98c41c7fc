"""How the weights move: two learning rates, warm-up and schedule, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from streamser.emotion.neural.network import FusedModel
from streamser.training.settings import OptimizerSettings

__all__ = ["build_optimizer", "rate_at", "set_rate"]


def build_optimizer(settings: OptimizerSettings, model: FusedModel) -> torch.optim.Optimizer:
    """Make Adam or AdamW over the weights that learn.

    Weights inside pretrained encoders have ``learning_rate``, all others
    ``head_learning_rate``. Weight decay holds for matrices, not for biases, norms and other
    vectors (ours; the paper has none).
    """
    encoders = {id(parameter) for parameter in model.encoder_parameters()}
    rest = settings.head_learning_rate or settings.learning_rate
    groups = []
    for inside, rate in ((True, settings.learning_rate), (False, rest)):
        learning = [
            parameter
            for parameter in model.parameters()
            if parameter.requires_grad and (id(parameter) in encoders) == inside
        ]
        groups += [
            {"params": matrices, "lr": rate, "peak": rate, "weight_decay": decay}
            for matrices, decay in (
                (_of_rank(learning, matrix=True), settings.weight_decay),
                (_of_rank(learning, matrix=False), 0.0),
            )
            if matrices
        ]
    kind = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adam
    # One kernel for all weights: a third of the time of the loop over them, on CPU and GPU.
    return kind(groups, fused=True)


def rate_at(settings: OptimizerSettings, step: int, steps: int) -> float:
    """Return the share of the learning rate at a step, counted from 0, of all ``steps``.

    It rises in a line over the first ``warmup`` of them, then stays, or falls to 0 in a line or
    along half a cosine.
    """
    rising = settings.warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    left = (steps - step) / max(1.0, steps - rising)
    match settings.schedule:
        case "linear":
            return left
        case "cosine":
            return (1 - math.cos(math.pi * left)) / 2
        case _:
            return 1.0


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Set every learning rate to a share of its peak; return that of the last group, the heads."""
    for group in optimizer.param_groups:
        group["lr"] = share * group["peak"]
    return float(optimizer.param_groups[-1]["lr"])


def _of_rank(parameters: Iterable[nn.Parameter], *, matrix: bool) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if (parameter.ndim >= 2) == matrix]
