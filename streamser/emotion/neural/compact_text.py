"""A small text encoder for two CPU cores: word pieces learnt from the training texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import nn

from streamser.emotion.neural.config import CompactTextConfig
from streamser.emotion.neural.interfaces import Encoded, TextBatch
from streamser.emotion.neural.transformer import Transformer
from streamser.emotion.neural.word_pieces import (
    CLASS,
    PADDING,
    UNKNOWN,
    encodable,
    train_word_pieces,
)
from streamser.errors import ModelError

__all__ = ["CompactText", "load_compact_text", "train_word_pieces"]

_FILE: Final = "tokenizer.json"


class CompactText(nn.Module):
    """Encode texts: one vector for [CLS] and one for each word piece.

    Implements ``TextEncoder``. The vocabulary of the tokenizer decides how many embeddings
    there are. Raises ``ConfigError`` where the heads do not fit the width.
    """

    def __init__(self, config: CompactTextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._padding: int = vocabulary[PADDING]
        self.embedding = nn.Embedding(max(vocabulary.values()) + 1, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.width, config.layers, config.heads, config.dropout)

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        """Turn texts into token ids [B, L], [CLS] first, cut to ``max_tokens``."""
        found = [
            torch.tensor(encoding.ids[: self.config.max_tokens])
            for encoding in self.tokenizer.encode_batch([encodable(text) for text in texts])
        ]
        if not found:
            return TextBatch(torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1).bool())
        ids = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=self._padding)
        lengths = torch.tensor([len(tokens) for tokens in found])
        return TextBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])

    def forward(self, batch: TextBatch) -> Encoded:
        """Encode a batch into float [B, L, width]."""
        vectors = self.dropout(self.embedding(batch.ids))
        return Encoded(self.transformer(vectors, batch.mask), batch.mask)

    def save_assets(self, directory: Path) -> None:
        """Write the tokenizer beside the weights, as ``tokenizer.json``."""
        self.tokenizer.save(str(directory / _FILE))


def load_compact_text(config: CompactTextConfig, directory: Path) -> CompactText:
    """Build an encoder, weights random, around the tokenizer that ``save_assets`` wrote.

    Raises ``ModelError`` where that is missing, damaged or of another kind.
    """
    path = directory / _FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: a checkpoint with a compact text encoder needs it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        vocabulary = tokenizer.get_vocab()
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{path} is damaged: {error}; copy the checkpoint again") from None
    if lacking := [word for word in (PADDING, UNKNOWN, CLASS) if word not in vocabulary]:
        raise ModelError(
            f"{path} has no {', '.join(lacking)}: it is not a tokenizer of a compact text encoder"
        )
    return CompactText(config, tokenizer)
