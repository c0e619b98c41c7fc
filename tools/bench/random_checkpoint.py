"""A checkpoint of full size with random weights: the speed is real, the readings mean nothing.

    python -m tools.bench.random_checkpoint paper /tmp/random
    streamser serve --asr none --model /tmp/random

For measuring where no trained weights can be had.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from msgspec.structs import replace
from torch import nn

from streamser.emotion.fused.checkpoint import save_checkpoint
from streamser.emotion.fused.compact_encoders import CompactAcoustic, CompactText, train_word_pieces
from streamser.emotion.fused.config import (
    AcousticConfig,
    CompactAcousticConfig,
    CompactTextConfig,
    FusedConfig,
    PluginAcousticConfig,
    PluginTextConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    TextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.fused.pretrained import (
    ACOUSTIC_FAMILIES,
    TEXT_FAMILIES,
    Family,
    read_architecture,
    rebuild,
)
from streamser.emotion.fused.pretrained_encoders import PretrainedAcoustic, PretrainedText
from streamser.emotion.fused.whisper import (
    WhisperAcoustic,
    build_whisper_acoustic,
    check_layers,
    load_whisper_acoustic,
)
from streamser.errors import ConfigError
from streamser.training.settings import load_train_settings
from tools.bench.random_whisper import SIZES

__all__ = ["CARD", "KNOWN", "random_model", "write_random_checkpoint"]

CARD = """\
# Random weights

Made to measure speed. It has learnt nothing, and what it says of anybody means nothing.
"""

_HUBERT: Final[Mapping[str, Any]] = {
    "model_type": "hubert",
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "feat_proj_layer_norm": True,
}

_DEBERTA_V3: Final[Mapping[str, Any]] = {
    "model_type": "deberta-v2",
    "vocab_size": 128_100,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "layer_norm_eps": 1e-7,
    "pad_token_id": 0,
}


def _sizes(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


_LARGE, _BASE = _sizes(1024, 24, 16), _sizes(768, 12, 12)
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_GROUP_NORM = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}

KNOWN: Final[Mapping[str, Mapping[str, Any]]] = {
    "hubert-large-ll60k": {**_HUBERT, **_LARGE, **_LAYER_NORM},
    "hubert-base-ls960": {**_HUBERT, **_BASE, **_GROUP_NORM},
    "deberta-v3-large": {**_DEBERTA_V3, **_LARGE},
    "deberta-v3-base": {**_DEBERTA_V3, **_BASE},
}
"""The architectures of the presets, as published, by the last part of their names.

Sources: arXiv 2106.07447 table 1 (HuBERT), arXiv 2111.09543 table 2 (DeBERTaV3), and the
``config.json`` of each on the hub.
"""

_WORDS = ("how are you today", "leave me alone", "that is wonderful news", "nothing is wrong")


def write_random_checkpoint(preset: str, directory: Path, *, seed: int = 1) -> int:
    """Write a checkpoint of a training preset's size; return how many parameters it has.

    Its tokenizer knows no word: every word is the same token. Raises ``ConfigError``, and
    ``ModelError`` where an architecture is not known or the disk refuses.
    """
    torch.manual_seed(seed)
    model = random_model(load_train_settings(preset).model)
    # The encoders know their architectures; a preset only names them.
    model.config = replace(
        model.config,
        acoustic=getattr(model.acoustic, "config", None),
        text=getattr(model.text, "config", None),
    )
    if isinstance(model.text, PretrainedText):
        model.text.tokenizer.enable_padding()
    save_checkpoint(directory, model, calibrations={}, card=CARD)
    return sum(weight.numel() for weight in model.parameters())


def random_model(config: FusedConfig) -> FusedModel:
    """Build a model at full size with random weights, by torch's global generator.

    A pretrained encoder's architecture is the one in ``config``, that of a local directory, or
    of ``KNOWN``; one that is none of these is asked of the hub. A text encoder comes without
    its words: feed it token ids. Raises ``ModelError`` where an architecture cannot be had.
    """
    acoustic = None if config.acoustic is None else _acoustic(config.acoustic)
    text = None if config.text is None else _text(config.text)
    return FusedModel(config, acoustic, text)


def _acoustic(config: AcousticConfig) -> nn.Module:
    if isinstance(config, CompactAcousticConfig):
        return CompactAcoustic(config)
    if isinstance(config, PluginAcousticConfig):
        raise _not_ours(config.name)
    if isinstance(config, WhisperAcousticConfig):
        return _whisper(config)
    architecture = _architecture(config, ACOUSTIC_FAMILIES)
    filled = replace(config, architecture=architecture, normalize=True)
    return PretrainedAcoustic(filled, rebuild(architecture, ACOUSTIC_FAMILIES))


def _whisper(config: WhisperAcousticConfig) -> WhisperAcoustic:
    size = SIZES.get(config.name.removesuffix(".en"))
    if config.architecture is None and size is not None:
        architecture = {
            "model_type": "whisper",
            "d_model": size.width,
            "encoder_layers": max(config.used_layers),
            "encoder_attention_heads": size.heads,
            "encoder_ffn_dim": 4 * size.width,
        }
        check_layers(config.name, max(config.used_layers), size.layers)
        config = replace(config, architecture=architecture)
    if config.architecture is None:
        # How large it is stands nowhere but in its weights.
        config = load_whisper_acoustic(config).config
    return build_whisper_acoustic(config)


def _text(config: TextConfig) -> nn.Module:
    from tokenizers import Tokenizer, models

    if isinstance(config, CompactTextConfig):
        return CompactText(config, train_word_pieces(_WORDS, config.vocabulary))
    if isinstance(config, PluginTextConfig):
        raise _not_ours(config.name)
    architecture = _architecture(config, TEXT_FAMILIES)
    model = rebuild(architecture, TEXT_FAMILIES)
    nothing = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    return PretrainedText(replace(config, architecture=architecture), model, nothing)


def _not_ours(name: str) -> ConfigError:
    return ConfigError(f"the encoder {name} is a plug-in: only the program's own are measured.")


def _architecture(
    config: PretrainedAcousticConfig | PretrainedTextConfig, families: Mapping[str, Family]
) -> dict[str, Any]:
    if config.architecture is not None:
        return config.architecture
    known = KNOWN.get(config.name.rpartition("/")[2])
    if known is not None and not Path(config.name).expanduser().is_dir():
        return dict(known)
    return read_architecture(config.name, families, offline=False)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.random_checkpoint")
    parser.add_argument("preset", help="a training preset, such as paper or base")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    parameters = write_random_checkpoint(asked.preset, asked.directory, seed=asked.seed)
    print(f"{asked.directory}: {parameters / 1e6:.0f} million random parameters")


if __name__ == "__main__":
    _main()
