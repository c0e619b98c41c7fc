"""Loading public models that torch runs from their files: encoder, head and labels, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec.structs import replace
from torch import Tensor, nn

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.neural.config import PretrainedAcousticConfig, PretrainedTextConfig
from streamser.emotion.neural.pretrained import (
    ACOUSTIC_FAMILIES,
    TEXT_FAMILIES,
    load_tokenizer,
    plain,
    rebuild,
)
from streamser.emotion.neural.pretrained_audio import PretrainedAcoustic
from streamser.emotion.neural.pretrained_text import PretrainedText
from streamser.emotion.ready.files import fill, read_config, read_optional, read_state
from streamser.emotion.ready.heads import FirstTokenHead, OdysseyHead, PooledHead, SuperbHead
from streamser.emotion.ready.labels import read_labels
from streamser.emotion.ready.reader import Scale, TorchReader
from streamser.emotion.ready.registry import Ready
from streamser.emotion.ready.wavlm import wavlm_architecture
from streamser.errors import ModelError

__all__ = ["Bare", "load_bare", "load_reader"]

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

    ready: Ready
    directory: Path
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    names: tuple[str, ...]


def load_reader(ready: Ready, directory: Path) -> TorchReader:
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


def load_bare(ready: Ready, directory: Path) -> Bare:
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


def _read(ready: Ready, directory: Path) -> _Files:
    config = read_config(ready, directory)
    found = config.get("model_type")
    if found not in _FAMILIES[ready.kind]:
        raise ModelError(
            f"{ready.name}: its config.json says that it is a {found} model, where"
            f" {' or '.join(_FAMILIES[ready.kind])} is expected."
        )
    names = read_labels(ready, config)
    return _Files(ready, directory, config, read_state(ready, directory), names)


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
    wanted = read_optional(files.ready, files.directory, "preprocessor_config.json")
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


def _scale(files: _Files) -> Scale | None:
    if files.ready.kind != "odyssey":
        return None
    mean, deviation = files.config.get("mean"), files.config.get("std")
    if not isinstance(mean, int | float) or not isinstance(deviation, int | float):
        raise ModelError(f"{files.ready.name}: its config.json lacks mean and std of its sound.")
    return Scale(float(mean), float(deviation))


def _fill(files: _Files, model: nn.Module, head: nn.Module, layer_sum: nn.Module | None) -> None:
    """Fill encoder and head, put together under the names of the published whole."""
    whole = nn.Module()
    prefix = _ODYSSEY_PREFIX if files.ready.kind == "odyssey" else str(files.config["model_type"])
    whole.add_module(prefix, model)
    for name, part in head.named_children():
        whole.add_module(name, part)
    if layer_sum is not None:
        whole.register_parameter("layer_weights", layer_sum.get_parameter("weights"))
    fill(files.ready, whole, files.state)


def _whole(files: _Files, key: str, default: int, *, most: int) -> int:
    value = files.config.get(key, default)
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(f"{files.ready.name}: {key} of its config.json is {value!r}.")
    return value
