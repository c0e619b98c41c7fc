"""Load the settings of a training: a preset or TOML file, then single keys, the later winning."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamser.emotion.ready.registry import named
from streamser.errors import ConfigError
from streamser.settings_loader import (
    Key,
    choices,
    find_file,
    flatten,
    keys_of,
    nearest,
    preset_path,
    read_toml,
)
from streamser.training.settings import TrainSettings

__all__ = ["encoder_assignments", "load_train_settings", "train_preset_folder"]

_BRANCHES = {"audio": "acoustic", "text": "text"}
_LISTED = "the presets in configs/train show them."


def load_train_settings(config: str, assignments: Sequence[str] = ()) -> TrainSettings:
    """Load a preset of ``configs/train`` or a TOML file, then ``KEY=VALUE`` by dotted key.

    ``none`` takes away what may be missing: ``model.text=none`` makes a model of the voice
    alone. A list is written with commas (``model.heads.dimensions=valence,arousal``), an empty
    one as nothing. Another ``kind`` of encoder begins from that kind's defaults.

    Raises ``ConfigError`` for a file that is missing or not TOML, an unknown key (naming the
    nearest), or a value that does not fit.
    """
    known = keys_of(TrainSettings)
    path = find_file(config, train_preset_folder())
    origins: dict[str, str] = {}
    tree: dict[str, Any] = {}
    for key, value in flatten(read_toml(path), known).items():
        _refuse_unknown(key, known, f"config {path.name}")
        origins[key] = f"config {path.name}"
        _plant(tree, key, _lacking(known[key], value))
    pairs = [_split(assignment) for assignment in assignments]
    # Another kind throws away the settings of the one before: it must not take ours with it.
    pairs.sort(key=lambda pair: not pair[0].endswith(".kind"))
    for key, text in pairs:
        _refuse_unknown(key, known, f"--set {key}")
        origins[key] = f"--set {key}"
        if key.endswith(".kind") and _look_up(tree, key) not in (None, text):
            _plant(tree, key.removesuffix(".kind"), {})
        _plant(tree, key, _parsed(known[key], text))
    return _convert(tree, origins, known, path)


def encoder_assignments(names: Sequence[str]) -> list[str]:
    """Return the assignments by which a model begins with published encoders.

    Each of ``names`` is a public model's short name, whose encoder goes to the branch that reads
    what it reads, or ``audio=NAME`` or ``text=NAME`` with a directory or a hub name. Raises
    ``ConfigError`` for a name that no public model has, and for two of one branch.
    """
    found: dict[str, str] = {}
    for name in names:
        modality, equals, encoder = name.partition("=")
        if not equals:
            (ready, *more) = named(name)
            if more:
                raise ConfigError(f"--init {name}: repeat --init for each encoder.")
            if ready.revision is not None:
                raise ConfigError(f"--init {name}: a training takes no revision; leave it out.")
            if ready.is_funasr:
                raise ConfigError(f"--init {name}: it runs in FunASR alone.")
            modality, encoder = ready.modality, ready.name
        elif modality not in _BRANCHES or not encoder:
            raise ConfigError(f"--init {name}: write it as audio=NAME or text=NAME.")
        if modality in found:
            raise ConfigError(f"--init {name}: {found[modality]} is the encoder of {modality}.")
        found[modality] = encoder
    return [
        f"model.{_BRANCHES[modality]}.{key}={value}"
        for modality, encoder in found.items()
        for key, value in (("kind", "pretrained"), ("name", encoder))
    ]


def train_preset_folder() -> Path:
    """Return the folder of the training presets that come with the program."""
    return preset_path("any").parent / "train"


def _split(assignment: str) -> tuple[str, str]:
    key, equals, value = assignment.partition("=")
    if not equals:
        raise ConfigError(f"--set {assignment}: write it as KEY=VALUE, such as optimizer.epochs=5.")
    return key.strip(), value.strip()


def _refuse_unknown(key: str, known: Mapping[str, Key], where: str) -> None:
    if key not in known:
        raise ConfigError(f"{where}: {nearest(key, known, _LISTED)}")


def _lacking(key: Key, value: Any) -> Any:
    return None if value == "none" and key.may_be_none else value


def _parsed(key: Key, text: str) -> Any:
    """Read the text of an assignment: a list, a table, or one value that msgspec converts."""
    if key.may_be_none and text in ("none", ""):
        return None
    if text[:1] in ("[", "{"):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML, too long a number, too deep
            return text
    if key.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _plant(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        branch = tree.get(section)
        if not isinstance(branch, dict):
            branch = tree[section] = {}
        tree = branch
    tree[name] = value


def _look_up(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _convert(
    tree: Mapping[str, Any], origins: Mapping[str, str], known: Mapping[str, Key], path: Path
) -> TrainSettings:
    try:
        return msgspec.convert(tree, TrainSettings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).rpartition(" - at `")
        reason, place = (reason, place) if reason else (str(error), "")
        key = place.rstrip("`").removeprefix("$").removeprefix(".").partition("[")[0]
        where = origins.get(key, f"config {path.name}")
        named = f"{key}: " if key and key not in where else ""
        raise ConfigError(f"{where}: {named}{reason}{choices(known.get(key))}.") from None
