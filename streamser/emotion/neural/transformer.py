"""The transformer of the compact encoders: pre-norm layers that know positions by rotation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.errors import ConfigError

__all__ = ["Transformer"]


class Rotation(NamedTuple):
    """Hold cosines and sines of each position's angles, [L, channels of a head / 2]."""

    cosine: Tensor
    sine: Tensor


class Transformer(nn.Module):
    """Let the vectors of a sequence read each other; as many layers as asked, then LayerNorm.

    Input float [B, L, width] and which positions are real, bool [B, L] (one in each row at
    least); output [B, L, width], zero in the padding. What an item gives does not depend on
    padding or neighbours. Positions are relative (rotary: Su et al. 2021, arXiv 2104.09864),
    so a sequence may be longer than any in training. Raises ``ConfigError`` where the width
    does not give each head an even number of channels.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ConfigError(
                f"a compact encoder of width {width} cannot have {heads} attention heads: "
                f"make the width a multiple of {2 * heads}"
            )
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self._channels = width // heads

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return what each real position has read; zero elsewhere."""
        rotation = self._rotation(vectors)
        keys = mask[:, None, None, :]
        for layer in self.layers:
            vectors = layer(vectors, keys, rotation)
        out: Tensor = self.norm(vectors)
        return out.masked_fill(~mask[:, :, None], 0.0)

    def _rotation(self, vectors: Tensor) -> Rotation:
        # Angles in half precision would put far positions anywhere.
        exact = torch.promote_types(vectors.dtype, torch.float32)
        steps = torch.arange(vectors.shape[1], device=vectors.device, dtype=exact)
        halves = torch.arange(self._channels // 2, device=vectors.device, dtype=exact)
        angles = steps[:, None] * 10_000 ** (-2 * halves / self._channels)
        return Rotation(angles.cos(), angles.sin())


class Layer(nn.Module):
    """Apply multi-head self-attention and a feed-forward part, each LayerNorm first and added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, keys: Tensor, rotation: Rotation) -> Tensor:
        """Return [B, L, width]; ``keys`` (bool [B, 1, 1, L]) says which positions may be read."""
        batch, length, width = vectors.shape
        mixed = self.query_key_value(self.attention_norm(vectors))
        split = mixed.view(batch, length, 3, self.heads, width // self.heads)
        query, key = _rotate(split[:, :, :2], rotation).permute(2, 0, 3, 1, 4)
        value = split[:, :, 2].transpose(1, 2)
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        joined = read.transpose(1, 2).reshape(batch, length, width)
        vectors = vectors + self.dropout(self.output(joined))
        out: Tensor = vectors + self.dropout(self.feedforward(self.feedforward_norm(vectors)))
        return out


def _rotate(vectors: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair of channels (i, i + half) of [B, L, ., ., C] by its position's angle."""
    cosine, sine = (part.to(vectors.dtype)[:, None, None] for part in rotation)
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
