"""Making a fused model: a new one to be trained, or the random shell of one to be loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace
from torch import nn

from streamser.emotion.fused.compact_encoders import (
    CompactAcoustic,
    CompactText,
    load_compact_text,
    train_word_pieces,
)
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
from streamser.emotion.fused.network import FusedModel, check_config
from streamser.emotion.fused.pretrained_encoders import (
    build_pretrained_acoustic,
    build_pretrained_text,
    load_pretrained_acoustic,
    load_pretrained_text,
)
from streamser.emotion.fused.whisper import build_whisper_acoustic, load_whisper_acoustic
from streamser.errors import ConfigError
from streamser.plugins import ACOUSTIC_ENCODERS, TEXT_ENCODERS, Kind, check_made, make

Begin: TypeAlias = Callable[
    [PretrainedAcousticConfig | PretrainedTextConfig, bool], nn.Module | None
]
"""Give the encoder that a configuration names, offline or not; ``None`` where it knows none."""


def build_model(
    config: FusedConfig,
    *,
    texts: Iterable[str] = (),
    offline: bool = False,
    begin: Begin = lambda config, offline: None,
) -> FusedModel:
    """Make a new model to be trained.

    Pretrained encoders come with their published weights, from the hub's cache alone where
    ``offline``; those that ``begin`` knows come from there. Everything else is random, by torch's
    global generator. The compact text encoder learns its word pieces from ``texts``. The model's
    ``config`` is the one given, with the architectures of pretrained encoders filled in. Raises
    ``ConfigError`` for a configuration that makes no model, ``ModelError`` for an encoder that
    cannot be had.
    """
    check_config(config)
    acoustic = None if config.acoustic is None else _new_acoustic(config.acoustic, offline, begin)
    text = None if config.text is None else _new_text(config.text, texts, offline, begin)
    return FusedModel(_described(config, acoustic, text), acoustic, text)


def rebuild_model(config: FusedConfig, directory: Path) -> FusedModel:
    """Make the model of a checkpoint's configuration, its weights random and of no use yet.

    ``directory`` holds what the text encoder's ``save_assets`` wrote. Raises what
    ``build_model`` raises, also where an encoder is a plug-in that is not installed; looks for
    nothing on the network.
    """
    check_config(config)
    acoustic = None if config.acoustic is None else _old_acoustic(config.acoustic, directory)
    text = None if config.text is None else _old_text(config.text, directory)
    return FusedModel(config, acoustic, text)


def _new_acoustic(config: AcousticConfig, offline: bool, begin: Begin) -> nn.Module:
    if isinstance(config, CompactAcousticConfig):
        return CompactAcoustic(config)
    if isinstance(config, PluginAcousticConfig):
        request = EncoderRequest(options=config.options, offline=offline)
        return plugged_acoustic(config, request)
    if isinstance(config, WhisperAcousticConfig):
        return load_whisper_acoustic(config, offline=offline)
    begun = begin(config, offline)
    return load_pretrained_acoustic(config, offline=offline) if begun is None else begun


def _new_text(config: TextConfig, texts: Iterable[str], offline: bool, begin: Begin) -> nn.Module:
    if isinstance(config, CompactTextConfig):
        return CompactText(config, train_word_pieces(texts, config.vocabulary))
    if isinstance(config, PluginTextConfig):
        request = EncoderRequest(options=config.options, texts=texts, offline=offline)
        return plugged_text(config, request)
    begun = begin(config, offline)
    return load_pretrained_text(config, offline=offline) if begun is None else begun


def _old_acoustic(config: AcousticConfig, directory: Path) -> nn.Module:
    if isinstance(config, CompactAcousticConfig):
        return CompactAcoustic(config)
    if isinstance(config, PluginAcousticConfig):
        return plugged_acoustic(config, _again(config.options, directory))
    if isinstance(config, WhisperAcousticConfig):
        return build_whisper_acoustic(config)
    return build_pretrained_acoustic(config)


def _old_text(config: TextConfig, directory: Path) -> nn.Module:
    if isinstance(config, CompactTextConfig):
        return load_compact_text(config, directory)
    if isinstance(config, PluginTextConfig):
        return plugged_text(config, _again(config.options, directory))
    return build_pretrained_text(config, directory)


def _again(options: dict[str, Any], directory: Path) -> EncoderRequest:
    return EncoderRequest(options=options, directory=directory, offline=True)


def _described(
    config: FusedConfig, acoustic: nn.Module | None, text: nn.Module | None
) -> FusedConfig:
    """Return the configuration as our own encoders completed it."""
    if acoustic is not None and not isinstance(config.acoustic, PluginAcousticConfig):
        config = replace(config, acoustic=acoustic.config)
    if text is None or isinstance(config.text, PluginTextConfig):
        return config
    return replace(config, text=text.config)


class EncoderRequest(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Say which encoder a plug-in shall make.

    ``options`` are those of the configuration. ``directory`` is the checkpoint's, whose
    weights are filled in afterwards and where ``save_assets`` has written; ``None`` for a new
    encoder to be trained, which may begin with published weights, from the network only
    unless ``offline``. ``texts`` are those of the training, none where there is a directory.
    """

    options: dict[str, Any]
    directory: Path | None = None
    texts: Iterable[str] = ()
    offline: bool = False


def plugged_acoustic(config: PluginAcousticConfig, request: EncoderRequest) -> nn.Module:
    """Make an acoustic encoder; raises what ``plugins.make`` and ``check_made`` raise."""
    wanted = {"width": int, "elastic": bool, "prepare": None}
    return _made(ACOUSTIC_ENCODERS, config.name, request, wanted)


def plugged_text(config: PluginTextConfig, request: EncoderRequest) -> nn.Module:
    """Make a text encoder; raises what ``plugins.make`` and ``check_made`` raise."""
    wanted = {"width": int, "prepare": None, "save_assets": None}
    return _made(TEXT_ENCODERS, config.name, request, wanted)


def _made(
    kind: Kind, name: str, request: EncoderRequest, wanted: Mapping[str, type | None]
) -> nn.Module:
    encoder = make(kind, name, request)
    if not isinstance(encoder, nn.Module):
        raise ConfigError(
            f"the {kind.noun} {name}: what the plug-in makes ({type(encoder).__name__}) is no"
            " torch.nn.Module; see docs/plugins.md."
        )
    check_made(kind, name, encoder, wanted)
    return encoder
