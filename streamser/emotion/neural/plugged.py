"""Encoders that other packages bring, by the name in the configuration and in checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from streamser.emotion.neural.config import PluginAcousticConfig, PluginTextConfig
from streamser.errors import ConfigError
from streamser.plugins import ACOUSTIC_ENCODERS, TEXT_ENCODERS, Kind, check_made, make

__all__ = ["EncoderRequest", "plugged_acoustic", "plugged_text"]


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
