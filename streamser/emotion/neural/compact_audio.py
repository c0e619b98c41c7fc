"""A small acoustic encoder for two CPU cores: log-mel, strided convolutions, a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.emotion.frontend import BANDS, Sound, features
from streamser.emotion.neural.config import CompactAcousticConfig
from streamser.emotion.neural.interfaces import AudioBatch, Encoded
from streamser.emotion.neural.transformer import Transformer

__all__ = ["CompactAcoustic"]

_STRIDES: Final = {2: (2, 1), 4: (2, 2), 8: (2, 2, 2)}


class CompactAcoustic(nn.Module):
    """Encode clips or their ready-made log-mel frames; one vector for ``subsampling`` frames.

    An item of T frames gives ceil(T / subsampling) vectors, each 16 ms x ``subsampling`` long.
    Implements ``AcousticEncoder``. Raises ``ConfigError`` where the heads do not fit the width.
    """

    def __init__(self, config: CompactAcousticConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.elastic = True
        self._strides = _STRIDES[config.subsampling]
        inputs = (BANDS,) + (config.width,) * (len(self._strides) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, config.width, 3, stride, padding=1)
            for channels, stride in zip(inputs, self._strides, strict=True)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.width, config.layers, config.heads, config.dropout)

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        """Turn clips into features, float32 [B, T, 64], and their lengths in frames.

        A clip without samples or frames has one frame of silence, which is zero.
        """
        found = [torch.from_numpy(features(clip)) for clip in clips]
        if not found:
            return AudioBatch(torch.zeros(0, 1, BANDS), torch.zeros(0, dtype=torch.int64))
        lengths = torch.tensor([len(frames) for frames in found], dtype=torch.int64)
        return AudioBatch(nn.utils.rnn.pad_sequence(found, batch_first=True), lengths)

    def forward(self, batch: AudioBatch) -> Encoded:
        """Encode a batch into float [B, ceil(T / subsampling), width]."""
        lengths = batch.lengths
        vectors = batch.values.transpose(1, 2)
        for convolution, stride in zip(self.convolutions, self._strides, strict=True):
            real = _real(lengths, vectors.shape[2])
            # Beyond its end an item must meet the zeros that it would meet alone.
            vectors = functional.gelu(convolution(vectors.masked_fill(~real[:, None], 0.0)))
            lengths = torch.div(lengths - 1, stride, rounding_mode="floor") + 1
        mask = _real(lengths, vectors.shape[2])
        hidden = self.transformer(self.dropout(vectors.transpose(1, 2)), mask)
        return Encoded(hidden, mask)


def _real(lengths: Tensor, total: int) -> Tensor:
    """Return which positions are within their item, bool [B, total]."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]
