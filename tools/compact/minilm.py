"""Begin from all-MiniLM-L6-v2, its vocabulary cut to what people say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from streamser.emotion.compact.encoders import MOST_TOKENS
from streamser.emotion.fused.compact_encoders import encodable
from streamser.errors import ConfigError, ModelError
from tools.compact.word_encoder import (
    WordConfig,
    WordEncoder,
    WordModel,
    Words,
)

__all__ = ["prune_word_pieces", "start_from_minilm", "word_tokenizer"]

_PADDING: Final = "[PAD]"
_UNKNOWN: Final = "[UNK]"
_START: Final = "[CLS]"
_END: Final = "[SEP]"
_CONTINUED: Final = "##"


def start_from_minilm(source: Path | str, texts: Sequence[str], size: int) -> Words:
    """Build a model on all-MiniLM-L6-v2 with the ``size`` word pieces that texts use most.

    ``source`` is a folder with its ``config.json``, ``model.safetensors`` and ``vocab.txt``, or
    a package that has one inside as ``model``. The heads begin at random.

    Raises ``ConfigError`` for a missing package or file and ``ModelError`` for other weights.
    """
    directory = _directory(source)
    try:
        pieces = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
        sizes = msgspec.json.decode((directory / "config.json").read_bytes(), type=_BertSizes)
        weights = load_file(directory / "model.safetensors")
    except (OSError, SafetensorError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{directory} holds no MiniLM: {error}") from None
    chosen = prune_word_pieces(pieces, texts, size)
    encoder = WordEncoder(
        WordConfig(
            pieces=len(chosen),
            width=sizes.hidden_size,
            layers=sizes.num_hidden_layers,
            heads=sizes.num_attention_heads,
            inner=sizes.intermediate_size,
            positions=min(MOST_TOKENS, sizes.max_position_embeddings),
        )
    )
    try:
        encoder.load_state_dict(_renamed(weights, encoder.config, chosen))
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{directory} holds other weights than BERT's: {error}") from None
    tokenizer = word_tokenizer([pieces[number] for number in chosen], encoder.config.positions)
    return Words(WordModel(encoder), tokenizer)


def prune_word_pieces(pieces: Sequence[str], texts: Sequence[str], size: int) -> list[int]:
    """Choose at most ``size`` pieces; return their places in ``pieces``, in their order there.

    The special pieces and all single characters stay, so that any word can still be written;
    then what the texts use most; then what stands first, for BERT's list goes by frequency.
    Raises ``ConfigError`` where ``size`` does not hold those that must stay.
    """
    full = word_tokenizer(pieces)
    used = Counter(number for text in texts for number in full.encode(encodable(text)).ids)
    special = {_PADDING, _UNKNOWN, _START, _END}
    musts = [
        number
        for number, piece in enumerate(pieces)
        if piece in special or len(piece.removeprefix(_CONTINUED)) == 1
    ]
    if len(musts) > size:
        raise ConfigError(f"{size} word pieces are too few: {len(musts)} at least.")
    fixed = set(musts)
    others = [
        number
        for number, piece in enumerate(pieces)
        if number not in fixed and not piece.startswith("[unused") and piece != "[MASK]"
    ]
    others.sort(key=lambda number: (-used[number], number))
    return sorted([*musts, *others[: size - len(musts)]])


def word_tokenizer(pieces: Sequence[str], most: int = MOST_TOKENS) -> Tokenizer:
    """Build BERT's lower-casing tokenizer around pieces; a piece's place is its id.

    [CLS] comes first, [SEP] last, also where a text is cut to ``most`` pieces. Special tokens
    written out in a text are plain words. Raises ``ConfigError`` where a special piece is
    missing or [PAD] is not the first.
    """
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    if lacking := [name for name in (_UNKNOWN, _START, _END) if name not in vocabulary]:
        raise ConfigError(f"the vocabulary has no {', '.join(lacking)}; it is not one of BERT's.")
    if vocabulary.get(_PADDING) != 0:
        raise ConfigError(f"{_PADDING} is not the first piece of the vocabulary.")
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(_START, vocabulary[_START]), (_END, vocabulary[_END])],
    )
    tokenizer.enable_truncation(most)
    return tokenizer


class _BertSizes(msgspec.Struct, frozen=True):
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int


def _directory(source: Path | str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    name = str(source)
    found = find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"{name!r} is neither a folder nor an installed package.")
    return Path(found.submodule_search_locations[0]) / "model"


def _renamed(
    weights: dict[str, torch.Tensor], config: WordConfig, chosen: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Give BERT's weights the names they have here; query, key and value become one."""
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    state = {
        "piece.weight": weights["embeddings.word_embeddings.weight"][list(chosen)],
        "position.weight": weights["embeddings.position_embeddings.weight"][: config.positions]
        + segment,
    }
    names = {"norm": "embeddings.LayerNorm"}
    for layer in range(config.layers):
        old, new = f"encoder.layer.{layer}", f"layers.{layer}"
        names[f"{new}.attended"] = f"{old}.attention.output.dense"
        names[f"{new}.first_norm"] = f"{old}.attention.output.LayerNorm"
        names[f"{new}.widened"] = f"{old}.intermediate.dense"
        names[f"{new}.narrowed"] = f"{old}.output.dense"
        names[f"{new}.second_norm"] = f"{old}.output.LayerNorm"
        for kind in ("weight", "bias"):
            state[f"{new}.projected.{kind}"] = torch.cat(
                [weights[f"{old}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")]
            )
    for new, old in names.items():
        for kind in ("weight", "bias"):
            state[f"{new}.{kind}"] = weights[f"{old}.{kind}"]
    return state
