"""Public models that torch runs: a published encoder and its published head, on batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from streamser.audio.clip import Samples
from streamser.emotion.ready.labels import Part, Places, place_dimensions, place_labels
from streamser.emotion.ready.registry import Ready
from streamser.errors import ModelError

__all__ = ["Given", "Reader", "Scale", "TorchReader"]

Given = Samples | str
"""What a reader reads: sound, or words."""

_LEAST_DEVIATION = 1e-6


class Reader(Protocol):
    """Read clips of one modality with one public model."""

    ready: Ready

    def read(self, given: Sequence[Given]) -> list[Part]:
        """Judge sounds, float32 [n] at 16 kHz with n > 0, or texts; one part for each, in order."""
        ...


class Scale:
    """Bring sound to a fixed mean and deviation: (x - mean) / (deviation + 1e-6)."""

    def __init__(self, mean: float, deviation: float) -> None:
        self._mean = mean
        self._deviation = deviation + _LEAST_DEVIATION

    def __call__(self, samples: Samples) -> Samples:
        """Return the scaled sound."""
        scaled = (samples.astype(np.float64) - self._mean) / self._deviation
        return scaled.astype(np.float32)


class TorchReader:
    """Run an encoder and a head, both with their published weights and in evaluation mode.

    ``names`` are the outputs by name. What an item gives does not depend on its neighbours: the
    encoders see to that (``streamser.emotion.neural.interfaces``).
    """

    def __init__(
        self,
        ready: Ready,
        encoder: Any,
        head: nn.Module,
        names: Sequence[str],
        *,
        scale: Scale | None = None,
    ) -> None:
        self.ready = ready
        self._encoder = encoder.eval()
        self._head = head.eval()
        self._names = tuple(names)
        self._places: Places | None = place_labels(ready, names) if ready.labels else None
        self._scale = scale
        self._device = torch.device("cpu")
        self._half: torch.dtype | None = None

    def to(self, device: torch.device, half: torch.dtype | None) -> TorchReader:
        """Move to a device; with ``half`` the encoder computes in that type where it can."""
        self._encoder.to(device)
        self._head.to(device)
        self._device, self._half = device, half
        return self

    def read(self, given: Sequence[Given]) -> list[Part]:
        """Judge sounds or texts; raises ``ModelError`` where an answer is no number."""
        answers = self.raw(given)
        if not bool(torch.isfinite(answers).all()):
            raise ModelError(f"{self.ready.name} gave an answer that is no number")
        return [self._part(row) for row in answers.double()]

    @torch.inference_mode()
    def raw(self, given: Sequence[Given]) -> Tensor:
        """Return the head's own outputs, float32 [B, names], on the CPU."""
        items = [self._scaled(item) for item in given]
        batch = self._encoder.prepare(items).to(self._device)
        with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
            encoded = self._encoder(batch)
        # Heads are small, and their differences of squares lose all in half precision.
        answers: Tensor = self._head(encoded.hidden.float(), encoded.mask)
        return answers.float().cpu()

    def _scaled(self, item: Given) -> Given:
        return item if self._scale is None or isinstance(item, str) else self._scale(item)

    def _part(self, row: Tensor) -> Part:
        if self._places is None:
            dimensions = place_dimensions(self._names, row.tolist())
            return Part(modality=self.ready.modality, dimensions=dimensions)
        likely = row.sigmoid() if self._places.multi_label else row.softmax(dim=0)
        scores, outside = self._places.gather(likely.numpy())
        return Part(modality=self.ready.modality, scores=scores, outside=outside)
