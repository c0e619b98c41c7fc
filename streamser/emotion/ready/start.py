"""Beginning a training with the encoder of a public model."""

from __future__ import annotations

from msgspec.structs import replace

from streamser.emotion.neural.config import PretrainedAcousticConfig, PretrainedTextConfig
from streamser.emotion.neural.pretrained import load_tokenizer
from streamser.emotion.neural.pretrained_audio import PretrainedAcoustic
from streamser.emotion.neural.pretrained_text import PretrainedText
from streamser.emotion.ready.place import locate
from streamser.emotion.ready.published import load_bare
from streamser.emotion.ready.registry import READY, Ready
from streamser.errors import ConfigError

__all__ = ["begin_acoustic", "begin_text"]


def begin_acoustic(config: PretrainedAcousticConfig, *, offline: bool) -> PretrainedAcoustic:
    """Return the acoustic encoder of the public model that ``config.name`` names.

    Its ``config`` has ``architecture`` and ``normalize`` filled in. Raises ``ConfigError`` for a
    model of words or one of FunASR's, ``ModelError`` for files that cannot be had or used.
    """
    ready = _one_of(config.name, "audio")
    bare = load_bare(ready, locate(ready, offline=offline))
    normalize = bare.normalize if config.normalize is None else config.normalize
    complete = replace(config, architecture=bare.architecture, normalize=normalize)
    return PretrainedAcoustic(complete, bare.model)


def begin_text(config: PretrainedTextConfig, *, offline: bool) -> PretrainedText:
    """Return the text encoder of the public model that ``config.name`` names.

    Its ``config`` has ``architecture`` filled in. Raises as ``begin_acoustic`` does.
    """
    ready = _one_of(config.name, "text")
    directory = locate(ready, offline=offline)
    bare = load_bare(ready, directory)
    tokenizer = load_tokenizer(str(directory), offline=True)
    return PretrainedText(replace(config, architecture=bare.architecture), bare.model, tokenizer)


def _one_of(name: str, modality: str) -> Ready:
    ready = READY[name]
    if ready.is_funasr:
        raise ConfigError(f"{name} runs in FunASR alone; no training can begin with it.")
    if ready.modality != modality:
        where = {"audio": "model.acoustic", "text": "model.text"}[ready.modality]
        raise ConfigError(f"{name} reads {ready.modality}: it belongs to {where}.name.")
    return ready
