"""Load settings: defaults, then a preset or TOML file, then the environment, then flags."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streamser.errors import ConfigError
from streamser.settings import ASR_ENGINES, Settings

S = TypeVar("S", bound=msgspec.Struct)

_SECTIONS = tuple(
    field.name
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, msgspec.Struct)
)
_ALL_LISTED = "`streamser config show` lists them all."
_DEEPEST: Final = 10
_LONGEST: Final = 100
_MOST_BYTES: Final = 1 << 18
_MOST_DOTS: Final = 200


class EffectiveSettings(msgspec.Struct, frozen=True):
    """Hold the settings in force and where each comes from, by dotted key."""

    settings: Settings
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, Any, str, str]]:
        """List key, value, origin and description of every setting, in order."""
        return [
            (key, attrgetter(key)(self.settings), self.origins[key], info.description)
            for key, info in keys_of(Settings).items()
        ]


def load_settings(
    *configs: str,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Join defaults, a preset or file, the environment and flags, the later winning.

    Each of ``configs`` names a preset (``"embedded"``) or a TOML file; without any,
    ``STREAMSER_CONFIG`` may name one. ``flags`` maps dotted keys (``"asr.engine"``) to values,
    ``None`` meaning not given; environment variables are ``STREAMSER_`` and the key in capitals
    with underscores (``STREAMSER_ASR_ENGINE``).

    Raises ``ConfigError`` for a file that is missing or not TOML, an unknown key (naming the
    nearest), or a value that does not fit.
    """
    return explain_settings(*configs, flags=flags, environ=environ).settings


def explain_settings(
    *configs: str,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> EffectiveSettings:
    """Load settings as ``load_settings`` does, and say where each value comes from."""
    known = keys_of(Settings)
    variables = {f"STREAMSER_{key.upper().replace('.', '_')}": key for key in known}
    environ = os.environ if environ is None else environ
    named = environ.get("STREAMSER_CONFIG")
    folder = preset_path("any").parent
    files = [find_file(config, folder) for config in (configs or ([named] if named else []))]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")

    for path in files:
        for key, value in flatten(read_toml(path), known).items():
            refuse_unknown(key, known, f"config {path.name}")
            values[key], origins[key] = value, f"config {path.name}"
    for variable, text in environ.items():
        # An empty variable is as good as none.
        if variable in variables and text:
            key = variables[variable]
            values[key], origins[key] = text, f"environment {variable}"
        elif variable not in variables and _looks_like_ours(variable, variables):
            raise ConfigError(f"environment: {nearest(variable, variables, _ALL_LISTED)}")
    for key, value in (flags or {}).items():
        if value is not None:
            refuse_unknown(key, known, "flags")
            values[key], origins[key] = value, "flag"
    tree: dict[str, Any] = {}
    for key, value in values.items():
        plant(tree, key, _lacking(key, value))
    settings = convert(tree, Settings, origins, known, "config")
    _refuse_unknown_engine(settings.asr.engine, origins["asr.engine"])
    return EffectiveSettings(settings, origins)


def preset_names() -> list[str]:
    """List the presets that come with the program."""
    return sorted(path.stem for path in preset_path("any").parent.glob("*.toml"))


def preset_path(name: str) -> Path:
    """Return where the preset of a name stands, or would stand."""
    package = Path(__file__).parent
    packed = package / "configs"
    # In a checkout the presets stand beside the package, where people look for them.
    folder = packed if packed.is_dir() else package.parent / "configs"
    return folder / f"{name}.toml"


def refuse_unknown(
    key: str, known: Mapping[str, Key], where: str, otherwise: str = _ALL_LISTED
) -> None:
    """Raise ``ConfigError`` for a key that there is not, with the nearest that there is."""
    if key not in known:
        raise ConfigError(f"{where}: {nearest(key, known, otherwise)}")


def _refuse_unknown_engine(engine: str, origin: str) -> None:
    if engine in ASR_ENGINES:
        return
    # Only now: finding plug-ins takes longer than all the rest.
    from streamser.plugins import TRANSCRIBERS, installed, near

    names = [*ASR_ENGINES, *(plugin.name for plugin in installed(TRANSCRIBERS))]
    if engine not in names:
        hint = near(engine, names)
        raise ConfigError(
            f"{origin}: asr.engine: no recogniser is called {engine!r};"
            f" {f'{hint} Or ' if hint else ''}choose from {', '.join(names)}."
        )


def _looks_like_ours(variable: str, known: Mapping[str, str]) -> bool:
    sections = tuple(f"STREAMSER_{name.upper()}" for name in _SECTIONS)
    if variable in sections or variable.startswith(tuple(f"{name}_" for name in sections)):
        return True
    import difflib

    ours = variable.startswith("STREAMSER_") and variable != "STREAMSER_CONFIG"
    return ours and bool(difflib.get_close_matches(variable, known, n=1, cutoff=0.85))


def _lacking(key: str, value: Any) -> Any:
    # Text from the environment; the rest is typed already, but "none" serves both.
    return None if value == "" or (value == "none" and key != "asr.engine") else value


def plant(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value into a tree of tables at its dotted key; what is no table gives way to one."""
    *sections, name = key.split(".")
    for section in sections:
        branch = tree.get(section)
        if not isinstance(branch, dict):
            branch = tree[section] = {}
        tree = branch
    tree[name] = value


def look_up(tree: Mapping[str, Any], key: str) -> Any:
    """Return what a tree of tables holds at a dotted key; ``None`` where it holds nothing."""
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def convert(
    tree: Mapping[str, Any],
    kind: type[S],
    origins: Mapping[str, str],
    known: Mapping[str, Key],
    otherwise: str,
) -> S:
    """Make settings of a tree of tables.

    ``origins`` says where each key comes from, ``otherwise`` where any other does. Raises
    ``ConfigError``, which names the key and its origin, for a value that does not fit.
    """
    try:
        return msgspec.convert(tree, kind, strict=False)
    except UnicodeError:  # a variable may hold any bytes; only names of files may be such
        key = next((key for key in known if not _is_text(look_up(tree, key))), "")
        where = origins.get(key, otherwise)
        named = f"{key}: " if key and key not in where else ""
        raise ConfigError(f"{where}: {named}the value is not valid UTF-8.") from None
    except msgspec.ValidationError as error:
        reason, _, place = str(error).rpartition(" - at `")
        reason, place = (reason, place) if reason else (str(error), "")
        key = place.rstrip("`").removeprefix("$").removeprefix(".").partition("[")[0]
        if key in known and look_up(tree, key) is None and not known[key].may_be_none:
            reason = "a value is needed"
        where = origins.get(key, otherwise)
        named = f"{key}: " if key and key not in where else ""
        raise ConfigError(f"{where}: {named}{reason}{choices(known.get(key))}.") from None


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_text, value))
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeError:
        return False
    return True


class Key(NamedTuple):
    """Hold what is known of a setting: what it is for, and what fits it."""

    description: str
    kind: msgspec.inspect.Type

    @property
    def may_be_none(self) -> bool:
        """Say whether there may be no value."""
        return any(isinstance(kind, msgspec.inspect.NoneType) for kind in _parts(self.kind))

    @property
    def is_list(self) -> bool:
        """Say whether it takes several values."""
        lists = (msgspec.inspect.VarTupleType, msgspec.inspect.TupleType, msgspec.inspect.ListType)
        return any(isinstance(kind, lists) for kind in _parts(self.kind))


def keys_of(section: type[msgspec.Struct]) -> dict[str, Key]:
    """Map every dotted key under a section to what is known of it, in the order of the classes.

    Where a section may be one of several kinds, the keys of all of them are there, and the one
    that tells them apart; where it may be none, it is a key itself.
    """
    found: dict[str, Key] = {}

    def visit(info: msgspec.inspect.StructType, prefix: str) -> None:
        if info.tag_field is not None and info.tag_field not in info.cls.__struct_fields__:
            tags = msgspec.inspect.LiteralType(values=(info.tag,))
            known = found.get(prefix + info.tag_field)
            if known is not None and isinstance(known.kind, msgspec.inspect.LiteralType):
                tags = msgspec.inspect.LiteralType(values=(*known.kind.values, info.tag))
            found[prefix + info.tag_field] = Key("Which kind it is.", tags)
        for field in info.fields:
            name = prefix + field.name
            parts = _parts(field.type)
            sections = [part for part in parts if isinstance(part, msgspec.inspect.StructType)]
            if not sections or len(parts) > len(sections):
                found.setdefault(name, Key(_description(field.type), field.type))
            for inner in sections:
                visit(inner, f"{name}.")

    top = msgspec.inspect.type_info(section)
    assert isinstance(top, msgspec.inspect.StructType)
    visit(top, "")
    return found


def find_file(config: str, folder: Path) -> Path:
    """Return the TOML file that a path names, or the preset of a name in a folder.

    Raises ``ConfigError`` where there is neither, listing the presets.
    """
    path = Path(config)
    if path.suffix == ".toml" or is_file(path):
        if not is_file(path):
            raise ConfigError(f"config file {config} does not exist.")
        return path
    preset = folder / f"{config}.toml"
    if not is_file(preset):
        names = sorted(path.stem for path in folder.glob("*.toml"))
        raise ConfigError(
            f"no preset is called {config!r}; there are {', '.join(names)}; "
            "or give the path of a .toml file."
        )
    return preset


def is_file(path: Path) -> bool:
    """Say whether a file is there; a name that none can have is no file."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises ``ConfigError`` where it cannot be read or is none."""
    import tomllib

    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("utf-8")
        _refuse_outsized(path, text)
        # As text files are read: a line may end as on any system.
        return tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))
    # ValueError: no TOML, no UTF-8, or a number of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config {path.name} is not valid TOML: {error}.") from None
    except OSError as error:
        raise ConfigError(f"config {path.name} cannot be read: {error.strerror}.") from None


def _refuse_outsized(path: Path, text: str) -> None:
    """Refuse what would take the parser minutes: it grows with the square of a key's parts."""
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"config {path.name} is far too long for a file of settings.")
    for number, line in enumerate(text.splitlines(), 1):
        if line.partition("#")[0].count(".") > _MOST_DOTS:
            raise ConfigError(f"config {path.name}, line {number}: a key has too many parts.")


def flatten(table: Mapping[str, Any], known: Mapping[str, Key], prefix: str = "") -> dict[str, Any]:
    """Bring the tables of a TOML file to dotted keys; a table that is a value itself stays one.

    So does one that lies deeper than any known key could.
    """
    flat: dict[str, Any] = {}
    for name, value in table.items():
        key = prefix + name
        is_section = any(other.startswith(f"{key}.") for other in known)
        deep = prefix.count(".") > _DEEPEST
        if isinstance(value, Mapping) and not deep and (is_section or (value and key not in known)):
            flat |= flatten(value, known, f"{key}.")
        else:
            flat[key] = value
    return flat


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Say that a key is unknown, and which one was perhaps meant."""
    import difflib

    near = difflib.get_close_matches(name[:_LONGEST], list(known), n=1, cutoff=0.5)
    told = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    return f"unknown key {told!r}; {f'did you mean {near[0]!r}?' if near else otherwise}"


def choices(key: Key | None) -> str:
    """List what a setting may be, where that can be counted; begins with a semicolon."""
    values = {
        str(value)
        for part in (_parts(key.kind) if key else ())
        for value in getattr(part, "values", ())
    }
    return f"; choose from {', '.join(sorted(values))}" if values else ""


def _parts(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    """Take a type apart: what is annotated, and the members of a union."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _parts(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return tuple(part for member in kind.types for part in _parts(member))
    return (kind,)


def _description(kind: msgspec.inspect.Type) -> str:
    if isinstance(kind, msgspec.inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    return ""
