"""What the tests of the bundled model's words share: a tiny BERT and a few texts."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tools.compact.minilm import word_tokenizer
from tools.compact.word_encoder import WordConfig, WordEncoder, WordModel, Words

__all__ = ["LETTERS", "PIECES", "TEXTS", "tiny_minilm", "tiny_words"]

LETTERS = [*"abcdefghijklmnopqrstuvwxyz'.,!?"]
PIECES = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS[:26]),
    *("the", "you", "happy", "sad", "angry", "today", "##ing", "##ness", "never", "seldom"),
]
TEXTS = [
    "I am so happy to see you today!",
    "What a sad, sad thing.",
    "You make me angry. Stop it!",
    "The train leaves at nine.",
]


def tiny_words(pieces: list[str] | None = None) -> Words:
    """Build a model of two layers with the same random weights every time, not training."""
    torch.manual_seed(0)
    own = pieces or PIECES
    sizes = WordConfig(len(own), width=32, layers=2, heads=2, inner=64, positions=24)
    return Words(WordModel(WordEncoder(sizes)).eval(), word_tokenizer(own, sizes.positions))


def tiny_minilm(directory: Path, width: int = 32, layers: int = 2, inner: int = 64) -> Path:
    """Write random weights in the files and by the names of all-MiniLM-L6-v2."""
    torch.manual_seed(0)
    weights = {
        "embeddings.word_embeddings.weight": torch.randn(len(PIECES), width),
        "embeddings.position_embeddings.weight": torch.randn(40, width),
        "embeddings.token_type_embeddings.weight": torch.randn(2, width),
        **_norm("embeddings.LayerNorm", width),
    }
    for layer in range(layers):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            weights |= _linear(f"{at}.attention.self.{part}", width, width)
        weights |= _linear(f"{at}.attention.output.dense", width, width)
        weights |= _linear(f"{at}.intermediate.dense", width, inner)
        weights |= _linear(f"{at}.output.dense", inner, width)
        weights |= _norm(f"{at}.attention.output.LayerNorm", width)
        weights |= _norm(f"{at}.output.LayerNorm", width)
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": inner,
        "max_position_embeddings": 40,
    }
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    (directory / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return directory


def _linear(name: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
    weight = torch.randn(outputs, inputs) / inputs**0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(outputs)}


def _norm(name: str, width: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
