"""What passes between encoders, fusion and heads, and what an encoder must offer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from streamser.emotion.frontend import Sound


class AudioBatch(NamedTuple):
    """Hold what an acoustic encoder made of clips: float32 [B, S] or [B, T, F], padded.

    ``lengths`` (int64 [B]) counts what is real along the second axis; padding is zero.
    """

    values: Tensor
    lengths: Tensor

    def to(self, device: object) -> AudioBatch:
        """Return the batch on another device."""
        return AudioBatch(*(tensor.to(device) for tensor in self))  # type: ignore[call-overload]


class TextBatch(NamedTuple):
    """Hold token ids, int64 [B, L], and which of them are real, bool [B, L]."""

    ids: Tensor
    mask: Tensor

    def to(self, device: object) -> TextBatch:
        """Return the batch on another device."""
        return TextBatch(*(tensor.to(device) for tensor in self))  # type: ignore[call-overload]


class Encoded(NamedTuple):
    """Hold a padded sequence of vectors: float [B, T, width], and which are real, bool [B, T].

    Real positions come first in each row. Padded positions are zero.
    """

    hidden: Tensor
    mask: Tensor


class FusedInput(NamedTuple):
    """Hold a batch for the fused model, and for each item which modalities are there.

    ``has_audio`` and ``has_text`` are bool [B]. A modality that an item lacks still has its row
    in the batch (one padding position at least); the row is not looked at. ``audio`` or
    ``text`` is ``None`` where no item has it.
    """

    audio: AudioBatch | None
    text: TextBatch | None
    has_audio: Tensor
    has_text: Tensor

    def to(self, device: object) -> FusedInput:
        """Return the batch on another device."""
        return FusedInput(
            None if self.audio is None else self.audio.to(device),
            None if self.text is None else self.text.to(device),
            self.has_audio.to(device),  # type: ignore[call-overload]
            self.has_text.to(device),  # type: ignore[call-overload]
        )


class FusedOutput(NamedTuple):
    """Hold what the model says of a batch.

    ``category_logits`` is [B, K] (K may be 0), ``dimensions`` [B, D] in (0, 1) (D may be 0);
    ``audio_embedding`` and ``text_embedding`` are [B, width]: the mean of each path's refined
    sequence over its real positions; zero where the item lacks the modality.
    """

    category_logits: Tensor
    dimensions: Tensor
    audio_embedding: Tensor
    text_embedding: Tensor


@runtime_checkable
class AcousticEncoder(Protocol):
    """Turn clips into sequences of vectors; every implementation is a ``torch.nn.Module``.

    What an item gives does not depend on its neighbours in the batch nor on padding.
    """

    width: int

    elastic: bool
    """Whether a longer clip costs more, and padding therefore too; else all are padded alike."""

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        """Turn clips of any length (also 0 samples) into a batch on the CPU; no gradients.

        Raises ``ModelError`` where the encoder needs sound and is given features.
        """
        ...

    def __call__(self, batch: AudioBatch) -> Encoded:
        """Encode a batch: at least one real position for each item."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Turn texts into sequences of vectors; every implementation is a ``torch.nn.Module``."""

    width: int

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        """Turn texts (also empty ones) into a batch on the CPU."""
        ...

    def __call__(self, batch: TextBatch) -> Encoded:
        """Encode a batch: at least one real position for each item."""
        ...

    def save_assets(self, directory: Path) -> None:
        """Write what ``prepare`` needs beside the weights (the tokenizer) into a directory."""
        ...
