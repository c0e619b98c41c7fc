"""Beginning from MiniLM: the pieces that stay, and weights that mean the same as BERT's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from streamser.errors import ConfigError, ModelError
from tests.tools.compact.tiny_words import LETTERS, PIECES, TEXTS, tiny_minilm
from tools.compact.minilm import (
    prune_word_pieces,
    start_from_minilm,
    word_tokenizer,
)
from tools.compact.word_encoder import prepare_words

_MUSTS = 4 + len(LETTERS) + 26


def test_used_pieces_stay_and_then_the_first() -> None:
    """Special pieces and letters always stay, then what texts use, then the list's order."""
    chosen = [PIECES[at] for at in prune_word_pieces(PIECES, ["never sad", "sad"], _MUSTS + 3)]
    assert chosen == [*("[PAD]", "[UNK]", "[CLS]", "[SEP]"), *PIECES[6 : _MUSTS + 2], *chosen[-3:]]
    assert chosen[-3:] == ["the", "sad", "never"]


def test_any_word_can_be_written_with_few_pieces() -> None:
    """A word whose piece is gone is spelt, not unknown."""
    chosen = [PIECES[at] for at in prune_word_pieces(PIECES, TEXTS, _MUSTS)]
    tokens = word_tokenizer(chosen).encode("Happy!").tokens
    assert tokens == ["[CLS]", "h", "##a", "##p", "##p", "##y", "!", "[SEP]"]


def test_too_few_pieces_are_refused() -> None:
    """A vocabulary that cannot hold the letters is an error."""
    with pytest.raises(ConfigError, match="too few"):
        prune_word_pieces(PIECES, TEXTS, _MUSTS - 1)


@pytest.mark.parametrize("pieces", [["[PAD]", "[UNK]", "[CLS]"], ["a", *PIECES[1:], "[PAD]"]])
def test_other_vocabularies_are_refused(pieces: list[str]) -> None:
    """Special pieces must be there, padding first."""
    with pytest.raises(ConfigError, match="vocabulary"):
        word_tokenizer(pieces)


def test_weights_mean_what_they_mean_to_bert(tmp_path: Path) -> None:
    """With a pruned vocabulary too, a text gets the vectors of PyTorch's own layers."""
    weights = load_file(tiny_minilm(tmp_path) / "model.safetensors")
    words = start_from_minilm(tmp_path, TEXTS, len(PIECES) - 4)
    ids, mask = prepare_words(words.tokenizer, TEXTS)
    full, _ = prepare_words(word_tokenizer(PIECES), TEXTS)
    with torch.no_grad():
        expected = _bert(weights, full, mask) * mask[:, :, None]
        found = words.model.eval().encoder(ids, mask)
    assert words.model.encoder.config.pieces == len(PIECES) - 4
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_no_minilm_is_refused(tmp_path: Path) -> None:
    """A missing package, an empty folder and other weights are errors that say so."""
    with pytest.raises(ConfigError, match="neither a folder nor"):
        start_from_minilm("no_such_package", TEXTS, 100)
    with pytest.raises(ConfigError, match="holds no MiniLM"):
        start_from_minilm(tmp_path, TEXTS, 100)
    config = tiny_minilm(tmp_path) / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('rs": 2', 'rs": 3'), "utf-8")
    with pytest.raises(ModelError, match="other weights"):
        start_from_minilm(tmp_path, TEXTS, 100)


def _bert(weights: dict[str, torch.Tensor], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute BERT with two layers from the weights by its own names."""
    at = "embeddings"
    hidden = (
        weights[f"{at}.word_embeddings.weight"][ids]
        + weights[f"{at}.position_embeddings.weight"][: ids.shape[1]]
        + weights[f"{at}.token_type_embeddings.weight"][0]
    )
    hidden = functional.layer_norm(hidden, (32,), eps=1e-12)
    for number in range(2):
        own = {
            name.removeprefix(f"encoder.layer.{number}."): value
            for name, value in weights.items()
            if name.startswith(f"encoder.layer.{number}.")
        }
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", 1e-12, batch_first=True)
        state = {}
        for kind in ("weight", "bias"):
            parts = [own[f"attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
            state[f"self_attn.out_proj.{kind}"] = own[f"attention.output.dense.{kind}"]
            state[f"linear1.{kind}"] = own[f"intermediate.dense.{kind}"]
            state[f"linear2.{kind}"] = own[f"output.dense.{kind}"]
            state[f"norm1.{kind}"] = own[f"attention.output.LayerNorm.{kind}"]
            state[f"norm2.{kind}"] = own[f"output.LayerNorm.{kind}"]
        layer.load_state_dict(state)
        hidden = layer(hidden, src_key_padding_mask=~mask)
    return hidden
