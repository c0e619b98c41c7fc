"""Public models that torch runs: a published encoder and its head, loaded strictly, on batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.fused.config import PretrainedAcousticConfig, PretrainedTextConfig
from streamser.emotion.fused.pretrained import (
    ACOUSTIC_FAMILIES,
    TEXT_FAMILIES,
    load_tokenizer,
    plain,
    rebuild,
)
from streamser.emotion.fused.pretrained_encoders import PretrainedAcoustic, PretrainedText
from streamser.emotion.hub_models.heads import FirstTokenHead, OdysseyHead, PooledHead, SuperbHead
from streamser.emotion.hub_models.labels import (
    HubPart,
    Places,
    place_dimensions,
    place_labels,
    read_labels,
)
from streamser.emotion.hub_models.registry import HUB_MODELS, HubModel, locate
from streamser.emotion.loading import fill, read_config, read_optional, read_state
from streamser.errors import ConfigError, ModelError

Given = Samples | str
"""What a reader reads: sound, or words."""

_LEAST_DEVIATION = 1e-6


class HubReader(Protocol):
    """Read clips of one modality with one public model."""

    ready: HubModel

    def read(self, given: Sequence[Given]) -> list[HubPart]:
        """Judge sounds, float32 [n] at 16 kHz with n > 0, or texts; one part for each, in order."""
        ...


class TorchReader:
    """Run an encoder and a head, both with their published weights and in evaluation mode.

    ``names`` are the outputs by name. What an item gives does not depend on its neighbours: the
    encoders see to that (``streamser.emotion.fused.interfaces``).
    """

    def __init__(
        self,
        ready: HubModel,
        encoder: Any,
        head: nn.Module,
        names: Sequence[str],
        *,
        scale: SoundScale | None = None,
    ) -> None:
        self.ready = ready
        self._encoder = encoder.eval()
        self._head = head.eval()
        self._names = tuple(names)
        self._places: Places | None = place_labels(ready, names) if ready.labels else None
        self._scale = scale
        self._device = torch.device("cpu")
        self._half: torch.dtype | None = None

    def to(self, device: torch.device, half: torch.dtype | None) -> TorchReader:
        """Move to a device; with ``half`` the encoder computes in that type where it can."""
        self._encoder.to(device)
        self._head.to(device)
        self._device, self._half = device, half
        return self

    def read(self, given: Sequence[Given]) -> list[HubPart]:
        """Judge sounds or texts; raises ``ModelError`` where an answer is no number."""
        answers = self.raw(given)
        if not bool(torch.isfinite(answers).all()):
            raise ModelError(f"{self.ready.name} gave an answer that is no number")
        return [self._part(row) for row in answers.double()]

    @torch.inference_mode()
    def raw(self, given: Sequence[Given]) -> Tensor:
        """Return the head's own outputs, float32 [B, names], on the CPU."""
        items = [self._scaled(item) for item in given]
        batch = self._encoder.prepare(items).to(self._device)
        with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
            encoded = self._encoder(batch)
        # Heads are small, and their differences of squares lose all in half precision.
        answers: Tensor = self._head(encoded.hidden.float(), encoded.mask)
        return answers.float().cpu()

    def _scaled(self, item: Given) -> Given:
        return item if self._scale is None or isinstance(item, str) else self._scale(item)

    def _part(self, row: Tensor) -> HubPart:
        if self._places is None:
            dimensions = place_dimensions(self._names, row.tolist())
            return HubPart(modality=self.ready.modality, dimensions=dimensions)
        likely = row.sigmoid() if self._places.multi_label else row.softmax(dim=0)
        scores, outside = self._places.gather(likely.numpy())
        return HubPart(modality=self.ready.modality, scores=scores, outside=outside)


class SoundScale:
    """Bring sound to a fixed mean and deviation: (x - mean) / (deviation + 1e-6)."""

    def __init__(self, mean: float, deviation: float) -> None:
        self._mean = mean
        self._deviation = deviation + _LEAST_DEVIATION

    def __call__(self, samples: Samples) -> Samples:
        """Return the scaled sound."""
        scaled = (samples.astype(np.float64) - self._mean) / self._deviation
        return scaled.astype(np.float32)


_FAMILIES: Final = {
    "pooled": ("wav2vec2",),
    "superb": ("hubert", "wav2vec2"),
    "odyssey": ("ser",),
    "words": ("roberta",),
}
_ODYSSEY_PREFIX: Final = "ssl_model"
_MOST_LAYERS: Final = 100
_MOST_TOKENS: Final = 512
# As much as the models were trained on, or a little more; utterances are cut at 20 s anyway.
_MOST_SECONDS: Final = 30.0


class Bare(NamedTuple):
    """Hold a published encoder without its head: the transformers model, how it was published.

    ``normalize`` says whether clips are to be brought to zero mean and unit variance; ``None``
    for a model of words.
    """

    model: Any
    architecture: dict[str, Any]
    normalize: bool | None


class _Files(NamedTuple):
    """Hold what was read of a model's directory."""

    ready: HubModel
    directory: Path
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    names: tuple[str, ...]


def load_reader(ready: HubModel, directory: Path) -> TorchReader:
    """Load a public model with all its weights, in float32 on the CPU.

    ``directory`` holds its files as they were published. Nothing of a repository is run, and no
    layer is left random. Raises ``ModelError`` in one line: another kind of model, a label that
    does not fit, a weight that is missing, unexpected or of another shape, damaged files.
    """
    files = _read(ready, directory)
    bare = _bare(files)
    encoder = _text(files, bare) if ready.kind == "words" else _acoustic(files, bare)
    head = _head(files, encoder.width)
    _fill(files, bare.model, head, getattr(encoder, "layer_sum", None))
    return TorchReader(ready, encoder, head, files.names, scale=_scale(files))


def load_bare(ready: HubModel, directory: Path) -> Bare:
    """Load the encoder of a public model for another model to begin with.

    The whole model is read and checked as by ``load_reader``; its head is thrown away.
    """
    files = _read(ready, directory)
    bare = _bare(files)
    if ready.kind == "words":
        encoder: Any = _text(files, bare)
    else:
        encoder = _acoustic(files, bare)
    _fill(files, bare.model, _head(files, encoder.width), getattr(encoder, "layer_sum", None))
    return bare


def begin_encoder(
    config: PretrainedAcousticConfig | PretrainedTextConfig, offline: bool
) -> PretrainedAcoustic | PretrainedText | None:
    """Return the encoder of the public model that ``config.name`` names, for a training to begin.

    Its ``config`` has ``architecture`` (and ``normalize``) filled in; ``None`` where the name is
    no public model's. Raises ``ConfigError`` for a model of the other modality or one of FunASR's,
    ``ModelError`` for files that cannot be had or used.
    """
    if config.name not in HUB_MODELS:
        return None
    if isinstance(config, PretrainedAcousticConfig):
        return _begin_acoustic(config, offline)
    return _begin_text(config, offline)


def _begin_acoustic(config: PretrainedAcousticConfig, offline: bool) -> PretrainedAcoustic:
    ready = _one_of(config.name, "audio")
    bare = load_bare(ready, locate(ready, offline=offline))
    normalize = bare.normalize if config.normalize is None else config.normalize
    complete = replace(config, architecture=bare.architecture, normalize=normalize)
    return PretrainedAcoustic(complete, bare.model)


def _begin_text(config: PretrainedTextConfig, offline: bool) -> PretrainedText:
    ready = _one_of(config.name, "text")
    directory = locate(ready, offline=offline)
    bare = load_bare(ready, directory)
    tokenizer = load_tokenizer(str(directory), offline=True)
    return PretrainedText(replace(config, architecture=bare.architecture), bare.model, tokenizer)


def _one_of(name: str, modality: str) -> HubModel:
    ready = HUB_MODELS[name]
    if ready.is_funasr:
        raise ConfigError(f"{name} runs in FunASR alone; no training can begin with it.")
    if ready.modality != modality:
        where = {"audio": "model.acoustic", "text": "model.text"}[ready.modality]
        raise ConfigError(f"{name} reads {ready.modality}: it belongs to {where}.name.")
    return ready


def _read(ready: HubModel, directory: Path) -> _Files:
    config = read_config(ready.name, directory)
    found = config.get("model_type")
    if found not in _FAMILIES[ready.kind]:
        raise ModelError(
            f"{ready.name}: its config.json says that it is a {found} model, where"
            f" {' or '.join(_FAMILIES[ready.kind])} is expected."
        )
    names = read_labels(ready, config)
    return _Files(ready, directory, config, read_state(ready.name, directory), names)


def _bare(files: _Files) -> Bare:
    """Build the encoder; its weights are still random."""
    ready = files.ready
    if ready.kind == "words":
        model = rebuild(files.config, TEXT_FAMILIES)
        return Bare(model, plain(model.config), None)
    if ready.kind == "odyssey":
        architecture = wavlm_architecture(ready, files.config, files.state, _ODYSSEY_PREFIX)
        model = rebuild(architecture, ACOUSTIC_FAMILIES)
        # Its own scale is fixed; where only the encoder is used, each clip's comes nearest.
        return Bare(model, plain(model.config), True)
    model = rebuild(files.config, ACOUSTIC_FAMILIES)
    return Bare(model, plain(model.config), _normalize(files))


def _normalize(files: _Files) -> bool:
    wanted = read_optional(files.ready.name, files.directory, "preprocessor_config.json")
    rate = wanted.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ModelError(
            f"{files.ready.name}: it is made for sound at {rate} Hz; here it is {SAMPLE_RATE}."
        )
    layered = files.config.get("feat_extract_norm") == "layer"
    return bool(wanted.get("do_normalize", layered))


def _acoustic(files: _Files, bare: Bare) -> PretrainedAcoustic:
    config = PretrainedAcousticConfig(
        name=files.ready.name,
        frozen="all",
        max_seconds=_MOST_SECONDS,
        layer_sum=bool(files.config.get("use_weighted_layer_sum", False)),
        normalize=bare.normalize and files.ready.kind != "odyssey",
    )
    return PretrainedAcoustic(replace(config, architecture=bare.architecture), bare.model)


def _text(files: _Files, bare: Bare) -> PretrainedText:
    config = PretrainedTextConfig(name=files.ready.name, frozen="all", max_tokens=_MOST_TOKENS)
    tokenizer = load_tokenizer(str(files.directory), offline=True)
    return PretrainedText(replace(config, architecture=bare.architecture), bare.model, tokenizer)


def _head(files: _Files, width: int) -> nn.Module:
    outputs = len(files.names)
    match files.ready.kind:
        case "pooled":
            return PooledHead(width, outputs)
        case "superb":
            inner = _whole(files, "classifier_proj_size", 256, most=1 << 16)
            return SuperbHead(width, inner, outputs)
        case "odyssey":
            layers = _whole(files, "classifier_hidden_layers", 1, most=_MOST_LAYERS)
            return OdysseyHead(width, layers, outputs)
        case _:
            return FirstTokenHead(width, outputs)


def _scale(files: _Files) -> SoundScale | None:
    if files.ready.kind != "odyssey":
        return None
    mean, deviation = files.config.get("mean"), files.config.get("std")
    if not isinstance(mean, int | float) or not isinstance(deviation, int | float):
        raise ModelError(f"{files.ready.name}: its config.json lacks mean and std of its sound.")
    return SoundScale(float(mean), float(deviation))


def _fill(files: _Files, model: nn.Module, head: nn.Module, layer_sum: nn.Module | None) -> None:
    """Fill encoder and head, put together under the names of the published whole."""
    whole = nn.Module()
    prefix = _ODYSSEY_PREFIX if files.ready.kind == "odyssey" else str(files.config["model_type"])
    whole.add_module(prefix, model)
    for name, part in head.named_children():
        whole.add_module(name, part)
    if layer_sum is not None:
        whole.register_parameter("layer_weights", layer_sum.get_parameter("weights"))
    fill(files.ready.name, whole, files.state)


def _whole(files: _Files, key: str, default: int, *, most: int) -> int:
    value = files.config.get(key, default)
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(f"{files.ready.name}: {key} of its config.json is {value!r}.")
    return value


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
    ready: HubModel, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str
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
