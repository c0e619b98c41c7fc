"""Where voice and words meet: refinement, bridge tokens, cross-attention, pooling.

arXiv 2401.00536 §3.2. A model has one or both modalities, in the order audio, text; what a
modality that it lacks would need is not built.

And the layers that it shares with the compact encoders: attention over padded sequences,
transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.emotion.fused.config import FusionConfig
from streamser.emotion.fused.interfaces import Encoded
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
