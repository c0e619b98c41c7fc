"""Where voice and words meet: refinement, bridge tokens, cross-attention, pooling.

arXiv 2401.00536 §3.2. A model has one or both modalities, in the order audio, text; what a
modality that it lacks would need is not built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.emotion.fused.config import FusionConfig
from streamser.emotion.fused.interfaces import Encoded
from streamser.emotion.fused.layers import MultiHeadAttention, RefinementLayer
from streamser.errors import ConfigError


class Fused(NamedTuple):
    """Hold the vector that both heads read, and the mean of each refined sequence; all [B, d].

    ``audio`` and ``text`` are zero where the item lacks the modality.
    """

    fused: Tensor
    audio: Tensor
    text: Tensor


class Branch(nn.Module):
    """Bring one modality to the common width and let its positions look at one another."""

    def __init__(self, config: FusionConfig, width: int) -> None:
        super().__init__()
        self.projection = nn.Identity() if width == config.width else nn.Linear(width, config.width)
        self.refinement = nn.ModuleList(
            RefinementLayer(config.width, config.heads, config.feedforward, config.dropout)
            for _ in range(config.refinement)
        )

    def forward(self, encoded: Encoded) -> Encoded:
        """Return the refined sequence, [B, T, d].

        Padded rows enter as zero and leave with a summary of the sequence; an item without
        the modality (no real position) leaves as zero.
        """
        mask = encoded.mask
        rows = self.projection(encoded.hidden).masked_fill(~mask[:, :, None], 0.0)
        for layer in self.refinement:
            rows = layer(rows, mask)
        absent = ~mask.any(dim=1)
        return Encoded(rows.masked_fill(absent[:, None, None], 0.0), mask)


class Means(nn.Module):
    """Average each sequence over its real positions, then those that there are (no weights)."""

    def forward(self, sequences: Sequence[Encoded]) -> Tensor:
        """Return [B, d]; zero for an item with no modality at all."""
        return _mean_of_present([_mean(sequence) for sequence in sequences], sequences)


class Concat(nn.Module):
    """Put the means side by side through one linear layer and GELU: the baseline to beat."""

    def __init__(self, width: int, modalities: int) -> None:
        super().__init__()
        self.linear = nn.Linear(modalities * width, width)

    def forward(self, sequences: Sequence[Encoded]) -> Tensor:
        """Return [B, d]; an absent modality counts as zeros."""
        return functional.gelu(
            self.linear(torch.cat([_mean(sequence) for sequence in sequences], dim=1))
        )


class CrossAttention(nn.Module):
    """Let each modality query the other, without bridge tokens.

    Queries from one, keys and values from the other, added to the query (ours: the paper does
    not say; without it an item with one modality would have nothing), averaged over the real
    positions of the query. A direction whose querying modality is absent is left out.
    """

    def __init__(self, config: FusionConfig, modalities: Sequence[str]) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {name: _attention(config) for name in modalities},
        )

    def forward(self, sequences: Sequence[Encoded]) -> Tensor:
        """Return [B, d] for the sequences of both modalities."""
        means = []
        for attention, own, other in zip(
            self.attention.values(), sequences, reversed(sequences), strict=True
        ):
            seen = attention(own.hidden, other.hidden, other.hidden, other.mask)
            means.append(_mean(Encoded(own.hidden + seen, own.mask)))
        return _mean_of_present(means, sequences)


class BridgeTokens(nn.Module):
    """Let two groups of learnable queries read the sequences, and average what they read.

    ``mixed_kv`` (the paper): the audio group takes keys from audio and values from text, the
    text group the reverse, by index over a common length: each item's longer sequence.
    ``same_kv``: each group reads the real positions of both, keys and values of the same.
    A model with one modality has one group, which reads that modality in either mode.

    Both groups always count. Where an item lacks text, ``mixed_kv`` gives the audio group
    values of zero (it says a constant) and the text group keys of zero, thus equal weights
    over the audio values: the item is half constant, half mean of the voice, and alive.

    Tokens start from N(0, 1): queries are not normalised, and with the usual N(0, .02) all
    tokens would ask the same question.
    """

    def __init__(self, config: FusionConfig, modalities: Sequence[str]) -> None:
        super().__init__()
        self.mixed = config.mode == "mixed_kv"
        self.tokens = nn.ParameterDict(
            {name: torch.randn(config.bridge_tokens, config.width) for name in modalities}
        )
        self.attention = nn.ModuleDict({name: _attention(config) for name in modalities})

    def forward(self, sequences: Sequence[Encoded]) -> Tensor:
        """Return [B, d]; ``mixed_kv`` needs sequences padded to the same length."""
        if self.mixed:
            keys = [sequence.hidden for sequence in sequences]
            values = keys[::-1]
            # Real positions come first, so this is "below the longer of the two".
            mask = sequences[0].mask | sequences[-1].mask
        else:
            keys = [torch.cat([sequence.hidden for sequence in sequences], dim=1)] * len(sequences)
            values = keys
            mask = torch.cat([sequence.mask for sequence in sequences], dim=1)
        means = [
            attention(tokens.expand(len(mask), -1, -1), key, value, mask).mean(dim=1)
            for tokens, attention, key, value in zip(
                self.tokens.values(), self.attention.values(), keys, values, strict=True
            )
        ]
        return torch.stack(means).mean(dim=0)


class Fusion(nn.Module):
    """Turn the encoded voice and the encoded words into one vector.

    ``acoustic_width`` and ``text_width`` are what the encoders give; ``None`` for a modality
    that the model does not have. Raises ``ConfigError`` where it has neither, or where the
    heads do not divide the width.
    """

    def __init__(
        self, config: FusionConfig, acoustic_width: int | None, text_width: int | None
    ) -> None:
        super().__init__()
        widths = {"audio": acoustic_width, "text": text_width}
        self.width = config.width
        self.branches = nn.ModuleDict(
            {name: Branch(config, width) for name, width in widths.items() if width is not None}
        )
        modalities = tuple(self.branches)
        if not modalities:
            raise ConfigError("a model needs an acoustic encoder, a text encoder, or both")
        self.meeting = _meeting(config, modalities)
        self.common_length = isinstance(self.meeting, BridgeTokens) and self.meeting.mixed

    def forward(self, audio: Encoded | None, text: Encoded | None) -> Fused:
        """Fuse a batch; an item that lacks a modality has no real position in it.

        Give each modality that the model has, and ``None`` for one that it has not.
        """
        given = {"audio": audio, "text": text}
        sequences = [sequence for sequence in given.values() if sequence is not None]
        if [name for name, sequence in given.items() if sequence is not None] != [*self.branches]:
            raise ValueError(f"this fusion takes {' and '.join(self.branches)}")
        if self.common_length:
            longest = max(sequence.mask.shape[1] for sequence in sequences)
            sequences = [_lengthen(sequence, longest) for sequence in sequences]
        refined = [
            branch(sequence)
            for branch, sequence in zip(self.branches.values(), sequences, strict=True)
        ]
        fused = self.meeting(refined)
        means = dict(zip(self.branches, map(_mean, refined), strict=True))
        nothing = refined[0].hidden.new_zeros(len(fused), self.width)
        return Fused(fused, means.get("audio", nothing), means.get("text", nothing))


def _meeting(config: FusionConfig, modalities: Sequence[str]) -> nn.Module:
    """Build what the switches of the configuration ask for, and nothing more."""
    if config.mode == "concat":
        return Concat(config.width, len(modalities))
    if not config.cross_attention:
        return Means()
    if config.bridge_tokens:
        return BridgeTokens(config, modalities)
    return CrossAttention(config, modalities) if len(modalities) > 1 else Means()


def _attention(config: FusionConfig) -> MultiHeadAttention:
    return MultiHeadAttention(config.width, config.heads, config.dropout)


def _lengthen(sequence: Encoded, length: int) -> Encoded:
    """Pad a sequence at its end with zero rows that are not real."""
    extra = length - sequence.mask.shape[1]
    return Encoded(
        functional.pad(sequence.hidden, (0, 0, 0, extra)), functional.pad(sequence.mask, (0, extra))
    )


def _mean(sequence: Encoded) -> Tensor:
    """Average over the real positions, [B, d]; zero where there are none."""
    total = sequence.hidden.masked_fill(~sequence.mask[:, :, None], 0.0).sum(dim=1)
    return total / sequence.mask.sum(dim=1, keepdim=True).clamp(min=1)


def _mean_of_present(means: Sequence[Tensor], sequences: Sequence[Encoded]) -> Tensor:
    """Average the vectors of those modalities that an item has; absent ones are zero."""
    count = torch.stack([sequence.mask.any(dim=1) for sequence in sequences]).sum(dim=0)
    return torch.stack(list(means)).sum(dim=0) / count.clamp(min=1)[:, None]
