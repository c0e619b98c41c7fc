"""The architecture of a WavLM whose publisher wrote down little more than its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from streamser.emotion.ready.registry import Ready
from streamser.errors import ModelError

__all__ = ["wavlm_architecture"]

_BASE: Final = "microsoft/wavlm-large"
# What its weights do not show, of the published configuration of microsoft/wavlm-large.
_LARGE: Final = {
    "model_type": "wavlm",
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "do_stable_layer_norm": True,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "layer",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "max_bucket_distance": 800,
}
_CONVOLUTION: Final = "feature_extractor.conv_layers.{}.conv.weight"
_PLACE: Final = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
_BUCKETS: Final = "encoder.layers.0.attention.rel_attn_embed.weight"
_INNER: Final = "encoder.layers.0.feed_forward.intermediate_dense.weight"


def wavlm_architecture(
    ready: Ready, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str
) -> dict[str, Any]:
    """Return the transformers configuration of a WavLM, JSON data, from config and weights.

    ``config`` must name microsoft/wavlm-large as ``ssl_type`` and give ``hidden_size``,
    ``num_hidden_layers`` and ``num_attention_heads``; sizes of the rest are read off the weights,
    whose names begin with ``prefix``. Raises ``ModelError`` where one is not there.
    """
    if config.get("ssl_type") != _BASE:
        raise ModelError(
            f"{ready.name}: it is built on {config.get('ssl_type')!r}; {_BASE} alone is known."
        )

    def shape(name: str) -> tuple[int, ...]:
        weight = state.get(f"{prefix}.{name}")
        if weight is None:
            raise ModelError(f"{ready.name}: its weights lack {f'{prefix}.{name}'!r}.")
        return tuple(weight.shape)

    convolutions = [shape(_CONVOLUTION.format(layer)) for layer in range(7)]
    width, share, kernel = shape(_PLACE)
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    if missing := [key for key in sizes if not isinstance(config.get(key), int)]:
        raise ModelError(f"{ready.name}: its config.json lacks {missing[0]}.")
    return {
        **_LARGE,
        **{key: config[key] for key in sizes},
        "conv_dim": [size[0] for size in convolutions],
        "conv_kernel": [size[2] for size in convolutions],
        "conv_bias": f"{prefix}.feature_extractor.conv_layers.0.conv.bias" in state,
        "intermediate_size": shape(_INNER)[0],
        "num_buckets": shape(_BUCKETS)[0],
        "num_conv_pos_embeddings": kernel,
        "num_conv_pos_embedding_groups": width // share,
    }
