"""The layers of fusion and compact encoders: attention over padded sequences, transformers."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.errors import ConfigError


class MultiHeadAttention(nn.Module):
    """Attend with queries, keys and values that may each come from somewhere else.

    softmax(Q Kᵀ / √d_k) V for each head, heads side by side, then W^O (Vaswani et al. 2017,
    §3.2; arXiv 2401.00536 §3.2). Weights start Xavier-uniform, biases at zero. Dropout is on
    the attention weights. Raises ``ConfigError`` where the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"{heads} attention heads do not divide a width of {width}")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Return [B, M, d] for queries [B, M, d] over keys and values [B, N, d], N ≥ 1.

        ``mask`` is bool [B, N]: the keys that may be looked at. An item without any gives
        exactly zero before W^O, thus the bias of W^O.
        """
        anything = mask.any(dim=1)[:, None]
        # A row of softmax over nothing is nan, or not, by backend: such items look at all
        # and what they saw is struck out.
        allowed = (mask | ~anything)[:, None, None, :]
        attended = functional.scaled_dot_product_attention(
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
            attn_mask=allowed,
            dropout_p=self.dropout if self.training else 0.0,
        )
        joined = attended.transpose(1, 2).flatten(2)
        return cast(Tensor, self.output(joined.masked_fill(~anything[:, :, None], 0.0)))

    def _split(self, rows: Tensor) -> Tensor:
        """Turn [B, T, d] into [B, heads, T, d / heads]."""
        return rows.view(*rows.shape[:2], self.heads, -1).transpose(1, 2)


class RefinementLayer(nn.Module):
    """Let the positions of one sequence look at one another: a pre-LN encoder layer.

    x + MHA(LN x), then x + FF(LN x) with GELU; the paper says only "self-attention", the rest
    is ours. Keys are masked, rows are not: a padded row leaves with a summary of the sequence,
    which ``mixed_kv`` fusion lives on.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.feedforward_norm = nn.LayerNorm(width) if feedforward else None
        self.feedforward = (
            nn.Sequential(
                nn.Linear(width, feedforward * width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(feedforward * width, width),
            )
            if feedforward
            else None
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return [B, T, d] for rows [B, T, d]; ``mask`` is bool [B, T], the real positions."""
        normed = self.attention_norm(rows)
        rows = rows + self.dropout(self.attention(normed, normed, normed, mask))
        if self.feedforward is not None and self.feedforward_norm is not None:
            rows = rows + self.dropout(self.feedforward(self.feedforward_norm(rows)))
        return rows


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
