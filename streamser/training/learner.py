"""One step of learning: what is lost, its gradient over a whole batch, and how the weights move."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from streamser.emotion.fused.config import HeadsConfig
from streamser.emotion.fused.interfaces import FusedInput, FusedOutput
from streamser.emotion.fused.network import FusedModel
from streamser.errors import ConfigError
from streamser.training.batches import Targets, TrainBatch, cut
from streamser.training.settings import LossSettings, OptimizerSettings, TrainSettings


class Learner:
    """Teach a model one batch at a time.

    With ``optimizer.accumulate`` a batch is computed in parts, and the gradient is that of the
    whole batch all the same, for the CCC too: the parts' outputs are found first without
    a graph, the loss is taken over all of them, and its gradient with respect to the outputs
    is led back through each part, computed anew with the same dropout (Gao et al. 2021, arXiv
    2101.06983, "gradient cache"). That costs one forward pass more.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: FusedModel,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        steps: int,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._optimizer = optimizer
        self._loss = loss
        self._steps = steps
        self._device = device
        self._dtype = autocast_dtype(settings, device)
        self._forward = torch.compile(model, dynamic=True) if settings.run.compile else model
        self._learning = [p for group in optimizer.param_groups for p in group["params"]]

    def step(self, batch: TrainBatch, *, epoch: int, number: int, step: int) -> TaskLosses:
        """Learn from a batch; ``epoch``, ``number`` and ``step`` count from 0."""
        parts = cut(batch, self._settings.optimizer.accumulate)
        seeds = [(self._settings.run.seed, epoch, number, part) for part in range(len(parts))]
        targets = batch.targets.to(self._device)
        self._optimizer.zero_grad(set_to_none=True)
        if len(parts) == 1:
            output = self._answer(parts[0].inputs, seeds[0])
            losses = self._judge(output.category_logits, output.dimensions, targets)
            losses.total.backward()  # type: ignore[no-untyped-call]
        else:
            losses = self._learn_in_parts([part.inputs for part in parts], seeds, targets)
        torch.nn.utils.clip_grad_norm_(self._learning, self._settings.optimizer.clip)
        set_rate(self._optimizer, rate_at(self._settings.optimizer, step, self._steps))
        self._optimizer.step()
        return losses

    def _learn_in_parts(
        self, parts: Sequence[FusedInput], seeds: Sequence[tuple[int, ...]], targets: Targets
    ) -> TaskLosses:
        with torch.no_grad():
            found = [self._answer(part, seed) for part, seed in zip(parts, seeds, strict=True)]
        logits = torch.cat([each.category_logits for each in found]).requires_grad_()
        dimensions = torch.cat([each.dimensions for each in found]).requires_grad_()
        losses = self._judge(logits, dimensions, targets)
        wanted = torch.autograd.grad(losses.total, (logits, dimensions), allow_unused=True)
        first = 0
        for part, seed in zip(parts, seeds, strict=True):
            answer = self._answer(part, seed)
            rows = slice(first, first := first + len(answer.category_logits))
            pairs = [
                (output, gradient[rows])
                for output, gradient in zip(answer[:2], wanted, strict=True)
                if gradient is not None and output.requires_grad
            ]
            outputs, gradients = zip(*pairs, strict=True)
            torch.autograd.backward(outputs, gradients)
        return losses

    def _answer(self, inputs: FusedInput, seed: Sequence[int]) -> FusedOutput:
        seed_torch(*seed)
        enabled = self._dtype is not None
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=enabled):
            output: FusedOutput = self._forward(inputs.to(self._device))
        return output

    def _judge(self, logits: Tensor, dimensions: Tensor, targets: Targets) -> TaskLosses:
        return self._loss(
            logits,
            dimensions,
            votes=targets.votes,
            has_votes=targets.has_votes,
            truth=targets.truth,
            has_truth=targets.has_truth,
        )


def seed_torch(*numbers: int) -> None:
    """Seed torch's generators from some numbers of 0 or more."""
    low, high = np.random.SeedSequence(numbers).generate_state(2)
    torch.manual_seed((int(high) << 32 | int(low)) & (2**63 - 1))


def pick_device(settings: TrainSettings) -> torch.device:
    """Return the device that the settings name."""
    if settings.run.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.run.device)


def autocast_dtype(settings: TrainSettings, device: torch.device) -> torch.dtype | None:
    """Return the half precision to compute in, or ``None`` for float32."""
    match settings.run.precision:
        case "float32":
            return None
        case "bfloat16":
            return torch.bfloat16
        case _:
            return torch.bfloat16 if device.type == "cuda" else None


class TaskLosses(NamedTuple):
    """Hold what a batch lost.

    ``total`` is the weighted sum (a scalar with a gradient); ``tasks`` [1 + D] are the
    cross-entropy and 1 - CCC of each dimension without weights; ``known`` [1 + D] says which of
    them the batch had labels for, the others are 0.
    """

    total: Tensor
    tasks: Tensor
    known: Tensor


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
    ) -> TaskLosses:
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
        return TaskLosses(total, tasks.detach(), known)


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


_CONSTANT = 1e-8
"""Twice the variance (with the squared distance of the means) below which all values are one."""


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


def _exact(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


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
