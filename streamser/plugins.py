"""Plug-ins: what other packages bring by entry points, found by name when it is asked for.

An entry point names a factory (a function or a class); docs/plugins.md says what each kind is
called with and what it has to make. Nothing is imported before its name is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from streamser.errors import ConfigError, ModelError, StreamserError


class Kind(NamedTuple):
    """Say what plug-ins of a group are."""

    group: str
    noun: str


TRANSCRIBERS: Final = Kind("streamser.transcribers", "recogniser")
EMOTION_MODELS: Final = Kind("streamser.emotion_models", "emotion model")
ACOUSTIC_ENCODERS: Final = Kind("streamser.acoustic_encoders", "acoustic encoder")
TEXT_ENCODERS: Final = Kind("streamser.text_encoders", "text encoder")
SINKS: Final = Kind("streamser.sinks", "sink")
KINDS: Final = (TRANSCRIBERS, EMOTION_MODELS, ACOUSTIC_ENCODERS, TEXT_ENCODERS, SINKS)


class Plugin(msgspec.Struct, frozen=True):
    """Name a plug-in and the package it comes from; ``place`` is its ``module:factory``."""

    kind: Kind
    name: str
    package: str
    version: str
    place: str

    def __str__(self) -> str:
        return f"the {self.kind.noun} {self.name} of {self.package} {self.version}"


def installed(kind: Kind) -> list[Plugin]:
    """List the plug-ins of a kind, by name; imports none of them."""
    # Not at the top: it takes longer than all of `streamser --help`.
    from importlib.metadata import entry_points

    found = [
        Plugin(
            kind,
            point.name,
            "an unknown package" if point.dist is None else point.dist.name,
            "" if point.dist is None else point.dist.version,
            point.value,
        )
        for point in entry_points(group=kind.group)
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.package))


def find_plugin(kind: Kind, name: str) -> Plugin | None:
    """Return the plug-in of a name; raises ``ConfigError`` where two packages bring one."""
    found = [plugin for plugin in installed(kind) if plugin.name == name]
    if len(found) > 1:
        raise ConfigError(
            f"{found[0].package} and {found[1].package} both bring a {kind.noun} {name}:"
            " uninstall one of them."
        )
    return found[0] if found else None


def make(kind: Kind, name: str, /, *arguments: Any, **options: Any) -> Any:
    """Let a plug-in make what it is there for.

    Raises ``ConfigError`` for a name that no plug-in has, with the nearest; ``ModelError``
    where it cannot be imported, or fails; and whatever ``StreamserError`` it raises itself.
    """
    plugin = find_plugin(kind, name)
    if plugin is None:
        names = [each.name for each in installed(kind)]
        there = f"There are {', '.join(names)}." if names else ""
        raise ConfigError(
            f"no {kind.noun} is called {name!r}; install the package that brings it as a plug-in"
            f" (docs/plugins.md). {near(name, names) or there}"
        )
    factory = _loaded(plugin)
    try:
        return factory(*arguments, **options)
    except StreamserError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{plugin} cannot be made ({_reason(error)}).") from error


def check_made(kind: Kind, name: str, made: Any, members: Mapping[str, type | None]) -> None:
    """Raise ``ConfigError`` where what a plug-in made lacks a member; ``None`` is a method."""
    for member, wanted in members.items():
        found = getattr(made, member, None)
        there = callable(found) if wanted is None else isinstance(found, wanted)
        # Every event says it, and terminals show it.
        if there and not (isinstance(found, str) and not found.isprintable()):
            continue
        what = f"method {member}()" if wanted is None else f"{member} ({wanted.__name__})"
        raise ConfigError(
            f"the {kind.noun} {name}: what the plug-in makes ({type(made).__name__}) lacks the"
            f" {what}; see docs/plugins.md."
        )


def fault_of(plugin: Plugin) -> str:
    """Import a plug-in; return in one line what is wrong with it, nothing if it is well."""
    try:
        _loaded(plugin)
    except ModelError as error:
        return str(error)
    return ""


def overruled(kind: Kind, name: str) -> Iterator[str]:
    """Yield a line for each plug-in that has a name of what comes with the program."""
    for plugin in installed(kind):
        if plugin.name == name:
            yield f"{plugin} is not used: one that comes with streamser has this name."


def near(name: str, names: Iterable[str]) -> str:
    """Say which name was perhaps meant; empty where none is near."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {found[0]}?" if found else ""


def _loaded(plugin: Plugin) -> Any:
    from importlib.metadata import EntryPoint

    try:
        factory = EntryPoint(plugin.name, plugin.place, plugin.kind.group).load()
    # What stands in another's module may fail in any way, and asks for the program's end.
    except (Exception, SystemExit) as error:
        raise ModelError(f"{plugin} cannot be imported ({_reason(error)}).") from error
    if not callable(factory):
        raise ModelError(f"{plugin}: its {plugin.place} cannot be called.")
    return factory


def _reason(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
