"""What plug-ins are installed, and what is wrong with those that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streamser.config import ASR_ENGINES
from streamser.emotion.choose import comes_with_us
from streamser.errors import ConfigError
from streamser.plugins import (
    EMOTION_MODELS,
    TRANSCRIBERS,
    Kind,
    Plugin,
    fault_of,
    find_plugin,
    installed,
    overruled,
)

__all__ = ["Looked", "look_at"]


class Looked(NamedTuple):
    """Hold a plug-in, and in one line what is wrong with it; nothing if it is well."""

    plugin: Plugin
    fault: str


def look_at(kind: Kind) -> Iterator[Looked]:
    """Import each plug-in of a kind and say what is wrong with it."""
    for plugin in installed(kind):
        yield Looked(plugin, _twice(plugin) or _overruled(plugin) or fault_of(plugin))


def _twice(plugin: Plugin) -> str:
    try:
        find_plugin(plugin.kind, plugin.name)
    except ConfigError as error:
        return str(error)
    return ""


def _overruled(plugin: Plugin) -> str:
    ours = {
        TRANSCRIBERS: plugin.name in ASR_ENGINES,
        EMOTION_MODELS: comes_with_us(plugin.name),
    }
    return next(overruled(plugin.kind, plugin.name)) if ours.get(plugin.kind) else ""
