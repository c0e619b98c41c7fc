"""Published text encoders: DeBERTa-v2 and v3, RoBERTa, BERT and what is built like them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from msgspec.structs import replace
from tokenizers import Tokenizer
from torch import nn

from streamser.emotion.neural.adapt import LayerSum, adapt, checkpoint_layers
from streamser.emotion.neural.config import PretrainedTextConfig
from streamser.emotion.neural.interfaces import Encoded, TextBatch
from streamser.emotion.neural.pretrained import (
    TEXT_FAMILIES,
    family_of,
    first_line,
    load_published,
    load_tokenizer,
    rebuild,
)
from streamser.emotion.neural.word_pieces import encodable
from streamser.errors import ModelError

__all__ = ["PretrainedText", "build_pretrained_text", "load_pretrained_text"]

_FILE: Final = "tokenizer.json"


class PretrainedText(nn.Module):
    """Encode texts with a published encoder: one vector for each token, the special ones too.

    Implements ``TextEncoder``. ``model`` is the bare transformers model; which of its weights
    learn is decided here, by ``config`` (relative positions count as part of the layers).
    ``tokenizer`` has its padding set. Raises ``ConfigError``, see ``adapt``, and ``ModelError``
    where the tokenizer knows tokens that the model has no vector for.
    """

    def __init__(self, config: PretrainedTextConfig, model: Any, tokenizer: Tokenizer) -> None:
        super().__init__()
        family = family_of(config.name, model.config.model_type, TEXT_FAMILIES)
        self.config = config
        self.width = int(model.config.hidden_size)
        adapt(model, family, config.frozen, config.lora)
        self.model = model
        self.layer_sum = LayerSum(model.config.num_hidden_layers + 1) if config.layer_sum else None
        if config.gradient_checkpointing:
            checkpoint_layers(model)
        if max(tokenizer.get_vocab().values(), default=-1) >= model.config.vocab_size:
            raise ModelError(
                f"{config.name}: its tokenizer knows {tokenizer.get_vocab_size()} tokens and its "
                f"model {model.config.vocab_size}; they do not belong together."
            )
        self.tokenizer = tokenizer
        tokenizer.enable_truncation(min(config.max_tokens, _positions(model.config)))
        self.train()

    def train(self, mode: bool = True) -> PretrainedText:
        """Switch dropout; a frozen encoder stays without."""
        super().train(mode)
        if self.config.frozen == "all":
            self.model.eval()
        return self

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        """Turn texts into token ids [B, L], cut to ``max_tokens`` with the special ones."""
        found = self.tokenizer.encode_batch([encodable(text) for text in texts])
        if not found:
            return TextBatch(torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1).bool())
        ids = torch.tensor([encoding.ids for encoding in found], dtype=torch.int64)
        return TextBatch(ids, torch.tensor([one.attention_mask for one in found]).bool())

    def forward(self, batch: TextBatch) -> Encoded:
        """Encode a batch into float [B, L, width]."""
        # A row without any token would have nothing to attend to.
        first = torch.arange(batch.mask.shape[1], device=batch.mask.device) == 0
        seen = batch.mask | (first & ~batch.mask.any(dim=1, keepdim=True))
        learning = self.config.frozen != "all"
        with torch.set_grad_enabled(torch.is_grad_enabled() and learning):
            found = self.model(
                input_ids=batch.ids,
                attention_mask=seen.long(),
                output_hidden_states=self.layer_sum is not None,
            )
        if self.layer_sum is None:
            hidden = found.last_hidden_state
        else:
            hidden = self.layer_sum(found.hidden_states)
        return Encoded(hidden.masked_fill(~batch.mask[:, :, None], 0.0), batch.mask)

    def save_assets(self, directory: Path) -> None:
        """Write the tokenizer beside the weights, as ``tokenizer.json``."""
        self.tokenizer.save(str(directory / _FILE))


def load_pretrained_text(config: PretrainedTextConfig, *, offline: bool = False) -> PretrainedText:
    """Build an encoder with its published weights, from the hub or a local directory.

    Its ``config`` has ``architecture`` filled in. Raises ``ModelError``, see
    ``load_published`` and ``load_tokenizer``.
    """
    model, architecture = load_published(config.name, TEXT_FAMILIES, offline=offline)
    tokenizer = load_tokenizer(config.name, offline=offline)
    return PretrainedText(replace(config, architecture=architecture), model, tokenizer)


def build_pretrained_text(config: PretrainedTextConfig, directory: Path) -> PretrainedText:
    """Build an encoder of ``config.architecture`` with random weights, without any network.

    ``directory`` holds what ``save_assets`` wrote. The state of what ``load_pretrained_text``
    gave for the same settings fits exactly. Raises ``ModelError`` where there is no
    architecture or one that cannot be built, and for a tokenizer that is missing or damaged.
    """
    if config.architecture is None:
        raise ModelError(
            f"{config.name}: its architecture is not written down, so that it cannot be rebuilt; "
            "load it with its published weights first."
        )
    path = directory / _FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: a checkpoint with a pretrained text encoder needs it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        why = first_line(error)
        raise ModelError(f"{path} is damaged: {why}; copy the checkpoint again") from None
    if tokenizer.padding is None:
        raise ModelError(f"{path} has no padding: it is not a tokenizer of a pretrained encoder")
    return PretrainedText(config, rebuild(config.architecture, TEXT_FAMILIES), tokenizer)


def _positions(configuration: Any) -> int:
    """Return the most tokens that the model has positions for."""
    positions = int(configuration.max_position_embeddings)
    if configuration.model_type == "roberta":
        # Its positions are counted from behind the padding's.
        return positions - int(configuration.pad_token_id) - 1
    return positions
