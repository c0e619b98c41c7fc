"""The heads of published models, their weights named as their authors named them.

Each takes the vectors [B, T, width] of an encoder and the mask [B, T] of the real ones, and gives
[B, outputs]. Dropout is left out: nothing is trained here.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

_LEAST_VARIANCE: Final = 1e-5


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean [B, width] of the real vectors [B, T, width]."""
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


class _Dense(nn.Module):
    """Linear, tanh, linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, outputs)

    def forward(self, pooled: Tensor) -> Tensor:
        scored: Tensor = self.out_proj(torch.tanh(self.dense(pooled)))
        return scored


class PooledHead(nn.Module):
    """W₂ tanh(W₁ mean(h) + b₁) + b₂, the head of audEERING's model (arXiv 2203.07378, its card)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.classifier = _Dense(width, outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return [B, outputs], about 0 to 1 but not bounded."""
        scored: Tensor = self.classifier(masked_mean(hidden, mask))
        return scored


class FirstTokenHead(nn.Module):
    """W₂ tanh(W₁ h₀ + b₁) + b₂ on the first token, as RoBERTa's for whole sequences."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.classifier = _Dense(width, outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, outputs]."""
        scored: Tensor = self.classifier(hidden[:, 0])
        return scored


class SuperbHead(nn.Module):
    """W₂ mean(W₁ h + b₁) + b₂, the head of SUPERB's emotion task (Yang et al. 2021)."""

    def __init__(self, width: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.projector = nn.Linear(width, inner)
        self.classifier = nn.Linear(inner, outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, outputs]; ``hidden`` is already the weighted sum of all layers."""
        scored: Tensor = self.classifier(masked_mean(self.projector(hidden), mask))
        return scored


class _AttentiveStatistics(nn.Module):
    """Mean and deviation over time, weighted by attention (Okabe et al. 2018).

    w = softmax_t(vᵀ tanh(W h_t + b)), μ = Σ w h, σ = √max(Σ w h² - μ², 1e-5).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.zeros(width, 1))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        weights = (torch.tanh(self.sap_linear(hidden)) @ self.attention).squeeze(2)
        weights = weights.masked_fill(~mask, -torch.inf).softmax(dim=1)[:, :, None]
        mean = (hidden * weights).sum(dim=1)
        variance = (hidden.square() * weights).sum(dim=1) - mean.square()
        return torch.cat((mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()), dim=1)


class _Layers(nn.Module):
    """Linear, layer norm and ReLU, so many times; then one linear layer."""

    def __init__(self, width: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width if layer else 2 * width, width), nn.LayerNorm(width), nn.ReLU()
            )
            for layer in range(layers)
        )
        self.out = nn.Sequential(nn.Linear(width, outputs))

    def forward(self, pooled: Tensor) -> Tensor:
        for layer in self.fc:
            pooled = layer(pooled)
        scored: Tensor = self.out(pooled)
        return scored


class OdysseyHead(nn.Module):
    """Attentive statistics pooling and a small network: the baseline of Odyssey 2024.

    After the formulas of Goncalves et al. 2024; names as in the challenge's published code.
    """

    def __init__(self, width: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.pool_model = _AttentiveStatistics(width)
        self.ser_model = _Layers(width, layers, outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return [B, outputs]: logits, or dimensions of about 0 to 1."""
        scored: Tensor = self.ser_model(self.pool_model(hidden, mask))
        return scored
