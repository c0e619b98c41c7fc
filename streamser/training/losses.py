"""What a training makes small: cross-entropy of the categories, 1 - CCC of each dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from streamser.emotion.neural.config import HeadsConfig
from streamser.errors import ConfigError
from streamser.training.settings import LossSettings

__all__ = ["Loss", "Losses", "ccc_loss", "cross_entropy", "task_weights"]

_CONSTANT = 1e-8
"""Twice the variance (with the squared distance of the means) below which all values are one."""


class Losses(NamedTuple):
    """Hold what a batch lost.

    ``total`` is the weighted sum (a scalar with a gradient); ``tasks`` [1 + D] are the
    cross-entropy and 1 - CCC of each dimension without weights; ``known`` [1 + D] says which of
    them the batch had labels for, the others are 0.
    """

    total: Tensor
    tasks: Tensor
    known: Tensor


def cross_entropy(
    logits: Tensor,
    votes: Tensor,
    mask: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean of -Σ_k w_k q_k log p_k over the items of a mask; 0 where it is empty.

    ``logits`` and ``votes`` are [B, K], ``mask`` is bool [B]; a row of ``votes`` sums to 1 (one
    label or the raters' shares); q = (1 - s) votes + s / K. The mean is weighted by each item's
    own Σ_k w_k votes_k, as ``torch.nn.functional.cross_entropy`` does with hard labels.
    """
    classes = logits.shape[-1]
    # Rows without a label may hold anything, nan too.
    truth = torch.where(mask[:, None], votes, torch.zeros_like(votes))
    evenly = mask[:, None].to(truth.dtype) / classes
    smooth = (1 - label_smoothing) * truth + label_smoothing * evenly
    if class_weights is not None:
        truth, smooth = truth * class_weights, smooth * class_weights
    lost = -(smooth * torch.log_softmax(logits, dim=-1)).sum()
    weight = truth.sum()
    return lost / torch.where(weight > 0, weight, torch.ones_like(weight))


def ccc_loss(guess: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 - CCC of each column over the rows of its mask, [D], and which columns count.

    ``guess`` and ``truth`` are [B, D], ``mask`` is bool [B, D]. CCC = 2 cov / (σ_g² + σ_t² +
    (μ_g - μ_t)²) with population variances (Lin 1989; the paper's equation 6 lacks the square).
    A column with fewer than two labels does not count: its loss is 0, without a gradient. Where
    guess and truth are constant and equal the CCC is 0/0 and the loss 1, without a gradient.
    """
    kept = mask.to(guess.dtype)
    count = kept.sum(dim=0)
    counts = count >= 2
    size = count.clamp(min=1)
    guess = torch.where(mask, guess, torch.zeros_like(guess))
    truth = torch.where(mask, truth, torch.zeros_like(truth))
    guess_mean, truth_mean = guess.sum(dim=0) / size, truth.sum(dim=0) / size
    guess_off, truth_off = (guess - guess_mean) * kept, (truth - truth_mean) * kept
    covariance = (guess_off * truth_off).sum(dim=0) / size
    spread = (guess_off.square() + truth_off.square()).sum(dim=0) / size
    spread = spread + (guess_mean - truth_mean).square()
    varies = spread > _CONSTANT
    # Two `where`: a gradient through the branch not taken would be nan.
    ccc = 2 * covariance / torch.where(varies, spread, torch.ones_like(spread))
    ccc = torch.where(varies, ccc, torch.zeros_like(ccc))
    return torch.where(counts, 1 - ccc, torch.zeros_like(ccc)), counts


def task_weights(settings: LossSettings, heads: HeadsConfig) -> list[float]:
    """Return the paper's h_i (§3.4) for categories and each dimension; they sum to 1.

    A task that the model lacks has no weight. Raises ``ConfigError`` where nothing is left, or
    for a dimension that has no setting.
    """
    named = {"valence": settings.valence, "arousal": settings.arousal}
    named["dominance"] = settings.dominance
    for name in heads.dimensions:
        if name not in named:
            raise ConfigError(f"model.heads.dimensions: {name!r} is none of {', '.join(named)}.")
    weights = [settings.category if heads.categories else 0.0]
    weights += [named[name] for name in heads.dimensions]
    whole = sum(weights)
    if whole <= 0:
        raise ConfigError("the model has no task with a weight above 0 in [loss].")
    return [weight / whole for weight in weights]


class Loss:
    """Weigh the tasks of a model: Σ h_i · L_i, in float32 at least whatever the outputs are.

    ``class_weights`` [K] are for the cross-entropy. A task without labels in a batch adds
    nothing to it; the weights of the others stay as they are.
    """

    def __init__(
        self,
        settings: LossSettings,
        heads: HeadsConfig,
        *,
        class_weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._weights = torch.tensor(task_weights(settings, heads), device=device)
        self._smoothing = settings.label_smoothing
        self._class_weights = (
            None if class_weights is None else torch.tensor(class_weights, device=device)
        )

    def __call__(
        self,
        logits: Tensor,
        dimensions: Tensor,
        *,
        votes: Tensor,
        has_votes: Tensor,
        truth: Tensor,
        has_truth: Tensor,
    ) -> Losses:
        """Judge a batch: logits and votes [B, K], dimensions and truth [B, D], masks alike."""
        logits, dimensions = _exact(logits), _exact(dimensions)
        if logits.shape[1]:
            entropy = cross_entropy(
                logits,
                votes.to(logits.dtype),
                has_votes,
                class_weights=self._class_weights,
                label_smoothing=self._smoothing,
            )
            labelled = has_votes.any()
        else:
            entropy, labelled = dimensions.new_zeros(()), has_votes.new_zeros(())
        distances, counts = ccc_loss(dimensions, truth.to(dimensions.dtype), has_truth)
        tasks = torch.cat((entropy[None].to(distances.dtype), distances))
        known = torch.cat((labelled[None], counts))
        total = (tasks * self._weights.to(tasks.dtype)).sum()
        return Losses(total, tasks.detach(), known)


def _exact(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
