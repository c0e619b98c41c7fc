"""The words of the bundled model: a small BERT whose vocabulary is cut to what people say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from streamser.emotion.compact.encoders import MOST_TOKENS, TOKENIZER
from streamser.emotion.fused.compact_encoders import encodable
from streamser.errors import ModelError
from streamser.taxonomy import CATEGORIES, DIMENSIONS

__all__ = [
    "EMOBANK_MEAN",
    "EMOBANK_SD",
    "SDS_TO_EDGE",
    "WordConfig",
    "WordEncoder",
    "WordModel",
    "WordOutput",
    "Words",
    "emobank_target",
    "load_words",
    "prepare_words",
    "save_words",
]

WEIGHTS: Final = "words.safetensors"

EMOBANK_MEAN: Final = (0.49459, 0.51102, 0.51568)
"""Means of valence, arousal, dominance over EmoBank's training split, ratings as [0, 1]."""
EMOBANK_SD: Final = (0.08755, 0.06554, 0.05264)
"""Their standard deviations."""
SDS_TO_EDGE: Final = 2.5
"""How many of them lie between the middle of the scale and its edges."""

_EPSILON: Final = 1e-12
_HIDDEN: Final = -1e9


class WordConfig(msgspec.Struct, frozen=True):
    """Hold the sizes of the encoder; the defaults are those of all-MiniLM-L6-v2.

    ``positions`` bounds the word pieces of a text; MiniLM knows 512.
    """

    pieces: int
    width: int = 384
    layers: int = 6
    heads: int = 12
    inner: int = 1536
    positions: int = MOST_TOKENS
    dropout: float = 0.1


class _TextDropout(nn.Module):
    """Drop the same channels at all places of a text (Gal & Ghahramani 2016): few draws, fast."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Drop channels of [B, L, width] in training."""
        if not self.training or not self.share:
            return hidden
        return hidden * functional.dropout(
            hidden.new_ones(len(hidden), 1, hidden.shape[2]), self.share
        )


class _Layer(nn.Module):
    """Attend, then transform, each with a residual and a norm after it (Devlin et al. 2019)."""

    def __init__(self, config: WordConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.projected = nn.Linear(config.width, 3 * config.width)
        self.attended = nn.Linear(config.width, config.width)
        self.first_norm = nn.LayerNorm(config.width, eps=_EPSILON)
        self.widened = nn.Linear(config.width, config.inner)
        self.narrowed = nn.Linear(config.inner, config.width)
        self.second_norm = nn.LayerNorm(config.width, eps=_EPSILON)
        self.dropout = _TextDropout(config.dropout)

    def forward(self, hidden: torch.Tensor, attendable: torch.Tensor) -> torch.Tensor:
        """Transform [B, L, width]; ``attendable`` is bool [B, 1, 1, L]."""
        batch, length, width = hidden.shape
        parts = self.projected(hidden).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # Written out: PyTorch's fused attention is several times slower backward on a CPU.
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads)
        shares = scores.masked_fill(~attendable, _HIDDEN).softmax(dim=-1)
        merged = (shares.to(value.dtype) @ value).transpose(1, 2).reshape(batch, length, width)
        hidden = self.first_norm(hidden + self.dropout(self.attended(merged)))
        inner = functional.gelu(self.widened(hidden))
        normed: torch.Tensor = self.second_norm(hidden + self.dropout(self.narrowed(inner)))
        return normed


class WordEncoder(nn.Module):
    """Encode word pieces, [CLS] first and [SEP] last, with BERT's post-norm transformer.

    The vector that BERT adds for the first of two segments is part of ``position``.
    """

    def __init__(self, config: WordConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.piece = nn.Embedding(config.pieces, config.width)
        self.position = nn.Embedding(config.positions, config.width)
        self.norm = nn.LayerNorm(config.width, eps=_EPSILON)
        self.dropout = _TextDropout(config.dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        for table in (self.piece, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode ids int64 [B, L] into float [B, L, width], zero where ``mask`` [B, L] is false.

        Each text needs one true place at least; L is ``config.positions`` at most.
        """
        places = self.position.weight[: ids.shape[1]]
        hidden = self.dropout(self.norm(self.piece(ids) + places))
        attendable = mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, attendable)
        zeroed: torch.Tensor = hidden * mask[:, :, None].to(hidden.dtype)
        return zeroed


class WordOutput(NamedTuple):
    """What the heads say: ``logits`` float [B, 4], ``dimensions`` float [B, 3] in (0, 1)."""

    logits: torch.Tensor
    dimensions: torch.Tensor


class WordModel(nn.Module):
    """Tell category and dimensions from the mean of a text's vectors."""

    def __init__(self, encoder: WordEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.category = nn.Linear(encoder.width, len(CATEGORIES))
        self.rating = nn.Linear(encoder.width, len(DIMENSIONS))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> WordOutput:
        """Judge ids int64 [B, L] with mask bool [B, L]; categories as in ``CATEGORIES``."""
        return self.judge(self.pool(self.encoder(ids, mask), mask))

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean [B, width] of the vectors [B, L, width] where ``mask`` is true."""
        return hidden.float().sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)

    def judge(self, pooled: torch.Tensor) -> WordOutput:
        """Put the heads to pooled vectors [B, width]."""
        return WordOutput(self.category(pooled), torch.sigmoid(self.rating(pooled)))


class Words(NamedTuple):
    """A model and the tokenizer it belongs to."""

    model: WordModel
    tokenizer: Tokenizer


def emobank_target(dimensions: Sequence[float]) -> tuple[float, ...]:
    """Spread EmoBank's ratings (in [0, 1]) over [0, 1]: its mean is .5, 2.5 deviations an edge.

    Nearly all of its sentences lie within a tenth of the scale around the middle; a model of
    the plain ratings would hardly move. What lies beyond 2.5 deviations (some 2 %) is cut.
    """
    return tuple(
        min(1.0, max(0.0, 0.5 + (value - mean) / (2 * SDS_TO_EDGE * sd)))
        for value, mean, sd in zip(dimensions, EMOBANK_MEAN, EMOBANK_SD, strict=True)
    )


def prepare_words(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn texts into ids int64 [B, L] and mask bool [B, L]; padding has the id 0."""
    found = [torch.tensor(code.ids) for code in tokenizer.encode_batch([*map(encodable, texts)])]
    if not found:
        return torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1, dtype=torch.bool)
    lengths = torch.tensor([len(ids) for ids in found])
    ids = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=0)
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def save_words(words: Words, directory: Path) -> None:
    """Write ``words.safetensors`` (sizes in its metadata) and ``tokenizer.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    sizes = msgspec.json.encode(words.model.encoder.config).decode()
    save_file(words.model.state_dict(), directory / WEIGHTS, metadata={"config": sizes})
    words.tokenizer.save(str(directory / TOKENIZER))


def load_words(directory: Path) -> Words:
    """Read what ``save_words`` wrote; the model is in evaluation mode.

    Raises ``ModelError`` where a file is missing, damaged or does not fit the other.
    """
    path = directory / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            sizes = (file.metadata() or {}).get("config", "")
        model = WordModel(WordEncoder(msgspec.json.decode(sizes, type=WordConfig)))
        model.load_state_dict(load_file(path))
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{directory} holds no model of words: {error}") from None
    if tokenizer.get_vocab_size() != model.encoder.config.pieces:
        raise ModelError(f"{directory / TOKENIZER} does not belong to {path.name} beside it")
    return Words(model.eval(), tokenizer)
