"""What a fused model is made of: written into its checkpoint, enough to build it again."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from streamser.taxonomy import CATEGORIES


class ModelPart(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """A part of a model."""


class CompactAcousticConfig(ModelPart, frozen=True, tag="compact"):
    """Log-mel front end and a small convolution–attention encoder; trains on two CPU cores."""

    width: Annotated[int, Meta(ge=4, description="Channels of the encoder.")] = 96
    layers: Annotated[int, Meta(ge=1, le=24, description="Transformer layers.")] = 2
    heads: Annotated[int, Meta(ge=1, description="Attention heads; must divide the width.")] = 4
    subsampling: Annotated[
        Literal[2, 4, 8], Meta(description="Frames of 16 ms that become one vector.")
    ] = 4
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1


class CompactTextConfig(ModelPart, frozen=True, tag="compact"):
    """Word pieces learnt from the training texts and a small transformer."""

    width: Annotated[int, Meta(ge=4, description="Channels of the encoder.")] = 96
    layers: Annotated[int, Meta(ge=1, le=24, description="Transformer layers.")] = 2
    heads: Annotated[int, Meta(ge=1, description="Attention heads; must divide the width.")] = 4
    vocabulary: Annotated[int, Meta(ge=64, description="Word pieces at most.")] = 8000
    max_tokens: Annotated[int, Meta(ge=4, le=4096, description="Longer texts are cut.")] = 128
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1


class LoraConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Low-rank adaptation: the transformer layers stay frozen, small added matrices learn."""

    rank: Annotated[int, Meta(ge=1)] = 8
    alpha: Annotated[float, Meta(gt=0)] = 16.0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class PretrainedAcousticConfig(ModelPart, frozen=True, tag="pretrained"):
    """HuBERT, wav2vec 2.0, WavLM or a Whisper encoder of the transformers library."""

    name: Annotated[str, Meta(description="Name on the hub, or a local directory.")]
    architecture: Annotated[
        dict[str, Any] | None,
        Meta(description="Its transformers configuration; filled in when it is first loaded."),
    ] = None
    normalize: Annotated[
        bool | None,
        Meta(description="Zero mean and unit variance of each clip; none: as the model asks."),
    ] = None
    max_seconds: Annotated[float, Meta(gt=0, description="Longer clips are cut.")] = 15.0
    layer_sum: Annotated[
        bool, Meta(description="Learn a weighted sum of all layers, not the last alone.")
    ] = False
    frozen: Annotated[
        Literal["features", "all", "none"],
        Meta(description="features: feature extractor and embeddings, as in the paper."),
    ] = "features"
    gradient_checkpointing: Annotated[bool, Meta(description="Less memory, more time.")] = False
    lora: LoraConfig | None = None


class WhisperAcousticConfig(ModelPart, frozen=True, tag="whisper"):
    """The convolutions and first layers of a Whisper encoder, as long as the utterance is."""

    name: Annotated[
        str,
        Meta(
            description="A size such as tiny.en, a directory (CTranslate2's or transformers'), or"
            " a transformers model on the hub."
        ),
    ] = "tiny.en"
    architecture: Annotated[
        dict[str, Any] | None,
        Meta(description="Its transformers configuration; filled in when it is first loaded."),
    ] = None
    used_layers: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...],
        Meta(
            min_length=1,
            description="Layers that feed the fusion, 0 being what the first one reads; those"
            " above the highest are not built.",
        ),
    ] = (1, 2, 3)
    join: Annotated[
        Literal["sum", "concat"],
        Meta(description="Of several layers: a learnt weighted sum, or side by side."),
    ] = "sum"
    max_seconds: Annotated[float, Meta(gt=0, le=30, description="Longer clips are cut.")] = 15.0
    frozen: Annotated[
        Literal["features", "all", "none"],
        Meta(description="features: the convolutions."),
    ] = "features"
    gradient_checkpointing: Annotated[bool, Meta(description="Less memory, more time.")] = False
    lora: LoraConfig | None = None


class PretrainedTextConfig(ModelPart, frozen=True, tag="pretrained"):
    """DeBERTa-v2/v3, RoBERTa or BERT (MiniLM too) of the transformers library."""

    name: Annotated[str, Meta(description="Name on the hub, or a local directory.")]
    architecture: Annotated[
        dict[str, Any] | None,
        Meta(description="Its transformers configuration; filled in when it is first loaded."),
    ] = None
    max_tokens: Annotated[int, Meta(ge=4, le=4096, description="Longer texts are cut.")] = 128
    layer_sum: bool = False
    frozen: Annotated[
        Literal["features", "all", "none"],
        Meta(description="features: embeddings, as in the paper."),
    ] = "features"
    gradient_checkpointing: bool = False
    lora: LoraConfig | None = None


class PluginAcousticConfig(ModelPart, frozen=True, tag="plugin"):
    """An encoder that another package brings (docs/plugins.md)."""

    name: Annotated[str, Meta(description="Its name among the plug-ins.")]
    options: Annotated[dict[str, Any], Meta(description="What it is made with.")] = {}
    pretrained: Annotated[
        bool, Meta(description="It begins with learnt weights: the encoders' learning rate.")
    ] = False


class PluginTextConfig(ModelPart, frozen=True, tag="plugin"):
    """An encoder that another package brings (docs/plugins.md)."""

    name: Annotated[str, Meta(description="Its name among the plug-ins.")]
    options: Annotated[dict[str, Any], Meta(description="What it is made with.")] = {}
    pretrained: Annotated[
        bool, Meta(description="It begins with learnt weights: the encoders' learning rate.")
    ] = False


AcousticConfig: TypeAlias = (
    CompactAcousticConfig | PretrainedAcousticConfig | WhisperAcousticConfig | PluginAcousticConfig
)
TextConfig: TypeAlias = CompactTextConfig | PretrainedTextConfig | PluginTextConfig


class FusionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the modalities meet; the defaults are the paper's (arXiv 2401.00536 §3).

    ``mixed_kv``: each group of bridge tokens takes its keys from one modality and its values
    from the other, by index, as printed in the paper. ``same_kv``: each group reads both
    modalities with keys and values of the same positions. ``concat``: both modalities' means,
    side by side, through one linear layer: the baseline to beat.
    """

    mode: Annotated[
        Literal["mixed_kv", "same_kv", "concat"], Meta(description="How the modalities meet.")
    ] = "mixed_kv"
    width: Annotated[int, Meta(ge=4, description="Channels that both are brought to.")] = 1024
    heads: Annotated[int, Meta(ge=1, description="Attention heads; must divide the width.")] = 32
    refinement: Annotated[
        int, Meta(ge=0, le=12, description="Self-attention layers of each modality; 0: none.")
    ] = 1
    feedforward: Annotated[
        int, Meta(ge=0, description="Width of their feed-forward part over the width; 0: none.")
    ] = 4
    cross_attention: Annotated[bool, Meta(description="Without it, means alone are merged.")] = True
    bridge_tokens: Annotated[
        int,
        Meta(ge=0, description="Learnable queries of each group; 0: the other modality queries."),
    ] = 30
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1


class HeadsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is read from the fused vector: one classifier and one sigmoid regressor.

    Empty ``categories`` or ``dimensions`` make a single-task model.
    """

    categories: tuple[str, ...] = CATEGORIES
    dimensions: tuple[str, ...] = ("valence", "arousal")
    hidden: Annotated[
        int, Meta(ge=0, description="Units of a hidden layer in each head; 0: none.")
    ] = 0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1


class FusedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole model; without ``text`` it hears the voice alone, without ``acoustic`` it reads."""

    acoustic: AcousticConfig | None = None
    text: TextConfig | None = None
    fusion: FusionConfig = FusionConfig()
    heads: HeadsConfig = HeadsConfig()
