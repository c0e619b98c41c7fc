"""One step of learning: forward, loss, backward, clip, update."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from streamser.emotion.neural.interfaces import FusedInput, FusedOutput
from streamser.emotion.neural.network import FusedModel
from streamser.training.batches import Batch, cut
from streamser.training.losses import Loss, Losses
from streamser.training.optimizer import rate_at, set_rate
from streamser.training.settings import TrainSettings
from streamser.training.targets import Targets

__all__ = ["Learner", "autocast_dtype", "pick_device", "seed_torch"]


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

    def step(self, batch: Batch, *, epoch: int, number: int, step: int) -> Losses:
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
    ) -> Losses:
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

    def _judge(self, logits: Tensor, dimensions: Tensor, targets: Targets) -> Losses:
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
