"""Making a fused model: a new one to be trained, or the random shell of one to be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from torch import nn

from streamser.emotion.neural.compact_audio import CompactAcoustic
from streamser.emotion.neural.compact_text import CompactText, load_compact_text
from streamser.emotion.neural.config import (
    AcousticConfig,
    CompactAcousticConfig,
    CompactTextConfig,
    FusedConfig,
    PluginAcousticConfig,
    PluginTextConfig,
    TextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.neural.network import FusedModel, check_config
from streamser.emotion.neural.plugged import EncoderRequest, plugged_acoustic, plugged_text
from streamser.emotion.neural.pretrained_audio import (
    build_pretrained_acoustic,
    load_pretrained_acoustic,
)
from streamser.emotion.neural.pretrained_text import build_pretrained_text, load_pretrained_text
from streamser.emotion.neural.whisper_audio import (
    build_whisper_acoustic,
    load_whisper_acoustic,
)
from streamser.emotion.neural.word_pieces import train_word_pieces
from streamser.emotion.ready.registry import READY

__all__ = ["build_model", "rebuild_model"]


def build_model(
    config: FusedConfig, *, texts: Iterable[str] = (), offline: bool = False
) -> FusedModel:
    """Make a new model to be trained.

    Pretrained encoders (also those of public models, by their short names) come with their
    published weights, from the hub's cache alone where ``offline``; everything else is random, by
    torch's global generator. The compact text encoder learns its word pieces from ``texts``. The
    model's ``config`` is the one given, with the architectures of pretrained encoders filled in.
    Raises ``ConfigError`` for a
    configuration that makes no model, ``ModelError`` for an encoder that cannot be had.
    """
    check_config(config)
    acoustic = None if config.acoustic is None else _new_acoustic(config.acoustic, offline)
    text = None if config.text is None else _new_text(config.text, texts, offline)
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


def _new_acoustic(config: AcousticConfig, offline: bool) -> nn.Module:
    if isinstance(config, CompactAcousticConfig):
        return CompactAcoustic(config)
    if isinstance(config, PluginAcousticConfig):
        request = EncoderRequest(options=config.options, offline=offline)
        return plugged_acoustic(config, request)
    if isinstance(config, WhisperAcousticConfig):
        return load_whisper_acoustic(config, offline=offline)
    if config.name in READY:
        from streamser.emotion.ready.start import begin_acoustic

        return begin_acoustic(config, offline=offline)
    return load_pretrained_acoustic(config, offline=offline)


def _new_text(config: TextConfig, texts: Iterable[str], offline: bool) -> nn.Module:
    if isinstance(config, CompactTextConfig):
        return CompactText(config, train_word_pieces(texts, config.vocabulary))
    if isinstance(config, PluginTextConfig):
        request = EncoderRequest(options=config.options, texts=texts, offline=offline)
        return plugged_text(config, request)
    if config.name in READY:
        from streamser.emotion.ready.start import begin_text

        return begin_text(config, offline=offline)
    return load_pretrained_text(config, offline=offline)


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
