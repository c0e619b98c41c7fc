"""A tiny random checkpoint, and the ways in which one can be spoilt."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from streamser.emotion.calibration import Calibration, MonotoneMap
from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.checkpoint import save_checkpoint
from streamser.emotion.fused.config import (
    CompactAcousticConfig,
    CompactTextConfig,
    FusedConfig,
    FusionConfig,
    HeadsConfig,
)
from streamser.emotion.fused.network import FusedModel

__all__ = [
    "CALIBRATIONS",
    "FUSION",
    "SPOILT",
    "TEXTS",
    "TINY",
    "VOICE_ONLY",
    "Spoilt",
    "tiny_checkpoint",
    "tiny_model",
]

TEXTS = ("What a wonderful surprise!", "Leave me alone, I never want to hear that again.")

FUSION = FusionConfig(width=16, heads=2, bridge_tokens=4)
TINY = FusedConfig(
    acoustic=CompactAcousticConfig(width=16, heads=2, layers=1),
    text=CompactTextConfig(width=16, heads=2, layers=1, vocabulary=64),
    fusion=FUSION,
)
VOICE_ONLY = replace(TINY, text=None, heads=HeadsConfig(categories=(), dimensions=("arousal",)))

CALIBRATIONS = {
    "audio": Calibration(temperature=2.0, fitted_on="nobody"),
    "audio+text": Calibration(
        temperature=0.5, maps={"arousal": MonotoneMap((0.0, 1.0), (0.25, 0.75))}
    ),
}


def tiny_model(config: FusedConfig = TINY) -> FusedModel:
    """Make a random model in evaluation mode, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return build_model(config, texts=TEXTS).eval()


def tiny_checkpoint(directory: Path, config: FusedConfig = TINY) -> Path:
    """Save a random model; returns the directory."""
    save_checkpoint(directory, tiny_model(config), calibrations=CALIBRATIONS, card="# Tiny")
    return directory


class Spoilt(NamedTuple):
    """Hold a way to spoil a checkpoint, and what the one line about it must name."""

    spoil: Callable[[Path], object]
    parts: tuple[str, ...]


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        change(tensors)
        save_file(tensors, directory / "model.safetensors")

    return spoil


def _config(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        tree = json.loads((directory / "config.json").read_text())
        change(tree)
        (directory / "config.json").write_text(json.dumps(tree))

    return spoil


def _calibration(text: str) -> Callable[[Path], object]:
    return lambda directory: (directory / "calibration.json").write_text(text)


def _flipped(directory: Path) -> None:
    file = directory / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


def _heads(**changes: Any) -> Callable[[Path], None]:
    return _config(lambda tree: tree["model"]["heads"].update(changes))


def _as_pickle(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({"classifier.bias": [0.0]}))


def _disguised_pickle(directory: Path) -> None:
    torch.save({"classifier.bias": torch.zeros(4)}, directory / "model.safetensors")


def _swapped_words(directory: Path) -> None:
    file = directory / "tokenizer.json"
    tree = json.loads(file.read_text())
    words = tree["model"]["vocab"]
    one, other = [word for word in words if not word.startswith("[")][:2]
    words[one], words[other] = words[other], words[one]
    file.write_text(json.dumps(tree))


def _cut(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


_BIAS = "classifier.bias"

SPOILT = {
    "missing tensor": Spoilt(
        _weights(lambda tensors: tensors.pop(_BIAS)), ("model.safetensors", _BIAS, "is missing")
    ),
    "extra tensor": Spoilt(
        _weights(lambda tensors: tensors.update({"extra.bias": torch.zeros(1)})),
        ("model.safetensors", "extra.bias", "does not belong"),
    ),
    "other shape": Spoilt(
        _weights(lambda tensors: tensors.update({_BIAS: torch.zeros(5)})),
        ("model.safetensors", _BIAS, "[5]", "[4]"),
    ),
    "other type": Spoilt(
        _weights(lambda tensors: tensors.update({_BIAS: torch.zeros(4, dtype=torch.int64)})),
        ("model.safetensors", _BIAS, "I64", "F32"),
    ),
    "nan": Spoilt(
        _weights(lambda tensors: tensors[_BIAS].fill_(float("nan"))),
        ("model.safetensors", _BIAS, "not finite"),
    ),
    "truncated": Spoilt(_cut, ("model.safetensors", "only a part")),
    "another number": Spoilt(_flipped, ("model.safetensors", "of another model than config.json")),
    "far too wide": Spoilt(
        _config(lambda tree: tree["model"]["fusion"].update(width=2**16)),
        ("model.safetensors", "bytes for"),
    ),
    "no safetensors": Spoilt(
        lambda directory: (directory / "model.safetensors").write_text("hello"),
        ("model.safetensors", "no safetensors file"),
    ),
    "pickle": Spoilt(_as_pickle, ("pytorch_model.bin", "only safetensors are loaded")),
    "disguised pickle": Spoilt(_disguised_pickle, ("model.safetensors", "no safetensors file")),
    "no weights": Spoilt(
        lambda directory: (directory / "model.safetensors").unlink(),
        ("lacks model.safetensors",),
    ),
    "no config": Spoilt(
        lambda directory: (directory / "config.json").unlink(), ("lacks config.json",)
    ),
    "broken config": Spoilt(
        lambda directory: (directory / "config.json").write_text("{"),
        ("config.json", "does not describe a model"),
    ),
    "endless config": Spoilt(
        lambda directory: (directory / "config.json").write_text('{"a":' + "[" * 100_000),
        ("config.json", "does not describe a model"),
    ),
    "config in no encoding": Spoilt(
        lambda directory: (directory / "config.json").write_bytes(b'{"format": "\xff"}'),
        ("config.json", "does not describe a model"),
    ),
    "unknown key": Spoilt(
        _config(lambda tree: tree["model"].update(colour="red")), ("config.json", "colour")
    ),
    "other program": Spoilt(
        _config(lambda tree: tree.pop("format")), ("config.json", "of another program")
    ),
    "newer version": Spoilt(
        _config(lambda tree: tree.update(version=2)),
        ("config.json", "version 2", "pip install --upgrade streamser"),
    ),
    "other scale": Spoilt(
        _config(lambda tree: tree.update(dimension_scale=[1, 5])), ("config.json", "[1.0, 5.0]")
    ),
    "unknown label": Spoilt(
        _heads(categories=["neutral", "happy", "sad", "bored"]), ("config.json", "'bored'")
    ),
    "label twice": Spoilt(
        _heads(categories=["neutral", "happy", "sad", "sad"]), ("config.json", "'sad'")
    ),
    "other label set": Spoilt(
        _heads(categories=["neutral", "happy", "sad"]),
        ("model.safetensors", "classifier", "[4"),
    ),
    "unknown dimension": Spoilt(
        _heads(dimensions=["valence", "tension"]), ("config.json", "'tension'")
    ),
    "impossible width": Spoilt(
        _config(lambda tree: tree["model"]["acoustic"].update(width=10)), ("config.json", "10")
    ),
    "no tokenizer": Spoilt(
        lambda directory: (directory / "tokenizer.json").unlink(),
        ("tokenizer.json", "missing"),
    ),
    "broken tokenizer": Spoilt(
        lambda directory: (directory / "tokenizer.json").write_text("{}"),
        ("tokenizer.json", "damaged"),
    ),
    "other tokenizer": Spoilt(
        _swapped_words, ("tokenizer.json", "of another model than config.json")
    ),
    "temperature 0": Spoilt(
        _calibration('{"audio": {"temperature": 0}}'), ("calibration.json", "temperature")
    ),
    "falling map": Spoilt(
        _calibration('{"text": {"maps": {"arousal": {"x": [0, 1], "y": [1, 0]}}}}'),
        ("calibration.json", "must not fall"),
    ),
    "unknown modality": Spoilt(_calibration('{"smell": {}}'), ("calibration.json", "'smell'")),
    "calibration in no encoding": Spoilt(
        lambda directory: (directory / "calibration.json").write_bytes(b'{"\xff": {}}'),
        ("calibration.json",),
    ),
    "endless calibration": Spoilt(
        _calibration('{"audio":' + "[" * 100_000), ("calibration.json", "no calibration")
    ),
    "broken calibration": Spoilt(_calibration('{"audio": {"temp'), ("calibration.json",)),
}
"""Everything that can be wrong with a checkpoint of ``TINY``, by name."""
