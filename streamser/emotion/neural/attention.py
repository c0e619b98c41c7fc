"""Multi-head attention over padded sequences, and the self-attention layer made of it."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from streamser.errors import ConfigError

__all__ = ["MultiHeadAttention", "RefinementLayer"]


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
