"""Published weights of Whisper's encoder: CTranslate2's or those of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from streamser.emotion.neural.pretrained import (
    ACOUSTIC_FAMILIES,
    Family,
    load_published,
    rebuild,
)
from streamser.errors import ModelError
from streamser.speech.whisper_encoder import read_encoder
from streamser.speech.whisper_files import WHISPER_SIZES, locate_whisper

__all__ = ["FAMILY", "check_layers", "load_lower_layers"]

FAMILY: Final[Family] = ACOUSTIC_FAMILIES["whisper"]

_Array = npt.NDArray[np.float32]

_SIZES: Final = (
    "model_type",
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
    "activation_function",
    "dropout",
    "attention_dropout",
    "activation_dropout",
)
"""What an encoder is built of; the rest is the decoder's."""

_ENDS: Final = {
    "conv1.weight": "conv1/weight",
    "conv1.bias": "conv1/bias",
    "conv2.weight": "conv2/weight",
    "conv2.bias": "conv2/bias",
    "embed_positions.weight": "position_encodings/encodings",
    "layer_norm.weight": "layer_norm/gamma",
    "layer_norm.bias": "layer_norm/beta",
}
_PARTS: Final = {
    "self_attn_layer_norm.weight": "self_attention/layer_norm/gamma",
    "self_attn_layer_norm.bias": "self_attention/layer_norm/beta",
    "self_attn.out_proj.weight": "self_attention/linear_1/weight",
    "self_attn.out_proj.bias": "self_attention/linear_1/bias",
    "final_layer_norm.weight": "ffn/layer_norm/gamma",
    "final_layer_norm.bias": "ffn/layer_norm/beta",
    "fc1.weight": "ffn/linear_0/weight",
    "fc1.bias": "ffn/linear_0/bias",
    "fc2.weight": "ffn/linear_1/weight",
    "fc2.bias": "ffn/linear_1/bias",
}
"""The names of a layer's weights in CTranslate2, by those here; projections are stacked there."""


def load_lower_layers(name: str, highest: int, *, offline: bool) -> tuple[Any, dict[str, Any]]:
    """Load the convolutions and first layers of a Whisper encoder, in float32.

    ``name`` is a size of faster-whisper, a directory with CTranslate2's ``model.bin``, or
    whatever ``load_published`` takes; ``offline`` forbids downloads. Returns transformers' bare
    encoder and its configuration as plain JSON data, of ``highest`` layers. Raises
    ``ModelError`` in one line: nothing there, another kind of model, a weight that is missing
    or of another shape, fewer layers.
    """
    place = Path(name).expanduser()
    if name in WHISPER_SIZES and not place.is_dir():
        place = locate_whisper(name, offline)
    if (place / "model.bin").is_file() and not any(place.glob("*.safetensors")):
        return _of_ctranslate2(name, read_encoder(place / "model.bin"), highest)
    model, published = load_published(name, {FAMILY.name: FAMILY}, offline=offline)
    check_layers(name, highest, len(model.layers))
    architecture: dict[str, Any] = {key: published[key] for key in _SIZES if key in published}
    return model, architecture | {"encoder_layers": highest}


def _of_ctranslate2(
    name: str, weights: Mapping[str, _Array], highest: int
) -> tuple[Any, dict[str, Any]]:
    layers = {key for key in weights if re.fullmatch(r"layer_\d+/ffn/linear_0/weight", key)}
    try:
        width, bands, _ = weights["conv1/weight"].shape
        architecture = {
            "model_type": FAMILY.name,
            "d_model": width,
            "encoder_layers": highest,
            "encoder_attention_heads": int(weights["num_heads"]),
            "encoder_ffn_dim": len(weights["layer_0/ffn/linear_0/weight"]),
            "num_mel_bins": bands,
            "max_source_positions": len(weights["position_encodings/encodings"]),
        }
        check_layers(name, highest, len(layers))
        state = {key: torch.from_numpy(value) for key, value in _renamed(weights, highest)}
    except KeyError as error:
        raise ModelError(
            f"{name}: its model.bin is no whole Whisper of CTranslate2: the encoder lacks"
            f" {error.args[0]}."
        ) from None
    except (ValueError, TypeError) as error:
        raise ModelError(f"{name}: its model.bin is no Whisper of CTranslate2: {error}.") from None
    model = rebuild(architecture, {FAMILY.name: FAMILY})
    for key, own in model.state_dict().items():
        if own.shape != state[key].shape:
            raise ModelError(
                f"{name}: {key} is {tuple(state[key].shape)} in its model.bin, and"
                f" {tuple(own.shape)} goes with its other weights."
            )
    model.load_state_dict(state)
    return model, architecture


def _renamed(weights: Mapping[str, _Array], highest: int) -> Iterator[tuple[str, _Array]]:
    """Yield the weights of so many layers by the names of transformers."""
    for ours, theirs in _ENDS.items():
        yield ours, weights[theirs]
    for layer in range(highest):
        for ours, theirs in _PARTS.items():
            yield f"layers.{layer}.{ours}", weights[f"layer_{layer}/{theirs}"]
        stacked = f"layer_{layer}/self_attention/linear_0"
        for kind in ("weight", "bias"):
            parts = np.split(weights[f"{stacked}/{kind}"], 3)
            for projection, part in zip("qkv", parts, strict=True):
                # Keys have no bias: CTranslate2 fills it up with zeros.
                if (projection, kind) != ("k", "bias"):
                    yield f"layers.{layer}.self_attn.{projection}_proj.{kind}", part


def check_layers(name: str, highest: int, layers: int) -> None:
    """Raise ``ModelError`` where a layer is asked for that an encoder of so many does not have."""
    if highest > layers:
        raise ModelError(
            f"{name} has {layers} layers: model.acoustic.used_layers cannot name {highest}."
        )
