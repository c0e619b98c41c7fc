"""Checkpoints of both formats of which one part is spoilt, with and without fitting hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import torch
from torch import nn

from streamser.emotion.compact.bundle import NORM, PARTS, describe, is_bundle, load_bundle
from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.checkpoint import load_checkpoint, save_checkpoint
from streamser.emotion.fused.config import (
    FusedConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    WhisperAcousticConfig,
)
from streamser.errors import ModelError
from streamser.graphs import CONFIG
from tests.emotion.compact.bundles import tiny_bundle
from tests.emotion.fused.checkpoints import CALIBRATIONS, FUSION, TINY, VOICE_ONLY, tiny_checkpoint
from tests.emotion.fused.tiny import tiny_acoustic, tiny_text
from tests.fuzz.mutation import WORDS, spoil_bytes, spoil_json
from tests.fuzz.target import Target, forbidding, require

__all__ = ["TARGET"]

_FUSED_PARTS = (CONFIG, "model.safetensors", "calibration.json", "tokenizer.json")
_BUNDLE_PARTS = (CONFIG, *PARTS)
_KINDS = ("bundle", "fused", "voice", "pretrained", "whisper")


class _Good(msgspec.Struct, frozen=True):
    """Hold a good checkpoint: its parts, and what is loaded of it."""

    directory: Path
    parts: dict[str, bytes]
    state: dict[str, torch.Tensor]


_GOOD: list[_Good] = []


def _seeds(folder: Path) -> list[bytes]:
    """Make a checkpoint of each kind, and a case of each of its parts as it should be."""
    _GOOD.clear()
    bundle = tiny_bundle(folder / "bundle")
    _GOOD.append(_Good(bundle, _parts(bundle, _BUNDLE_PARTS), {}))
    pretrained = FusedConfig(
        acoustic=PretrainedAcousticConfig(name=str(tiny_acoustic("wav2vec2", folder / "wav"))),
        text=PretrainedTextConfig(name=str(tiny_text("bert", folder / "bert"))),
        fusion=FUSION,
    )
    ears = str(tiny_acoustic("whisper", folder / "ears"))
    whisper = FusedConfig(
        acoustic=WhisperAcousticConfig(name=ears, used_layers=(1, 2)), fusion=FUSION
    )
    for name, config in (("pretrained", pretrained), ("whisper", whisper)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            model = build_model(config, offline=True)
        save_checkpoint(folder / name, model, calibrations=CALIBRATIONS, card="# Tiny")
    for directory in (
        tiny_checkpoint(folder / "fused", TINY),
        tiny_checkpoint(folder / "voice", VOICE_ONLY),
        folder / "pretrained",
        folder / "whisper",
    ):
        found = load_checkpoint(directory, offline=True)
        parts = _parts(directory, _FUSED_PARTS)
        _GOOD.append(_Good(directory, parts, _state(found.model)))
    return [
        bytes([kind, number, fitting]) + content
        for kind, good in enumerate(_GOOD)
        for number, content in enumerate(good.parts.values())
        for fitting in (0, 1)
    ]


def _parts(directory: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in names if (directory / name).exists()}


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _mutate(data: bytes, rng: Random) -> bytes:
    head, body = data[:3].ljust(3, b"\0"), data[3:]
    if rng.random() < 0.1:
        head = bytes([head[0], head[1], rng.randrange(2)])
    if body.startswith(b"{") and rng.random() < 0.8:
        text = spoil_json(body.decode("utf-8", "replace"), rng)
        return head + text.encode("utf-8", "replace")
    if len(body) > 8 and body[8:9] == b"{" and rng.random() < 0.5:
        return head + _spoil_header(body, rng)
    return head + spoil_bytes(body, rng)


def _spoil_header(body: bytes, rng: Random) -> bytes:
    """Spoil the head of a safetensors file, and now and then its length."""
    size = int.from_bytes(body[:8], "little")
    text = spoil_json(body[8 : 8 + size].decode("utf-8", "replace"), rng).encode("utf-8", "replace")
    stated = len(text) if rng.random() < 0.8 else rng.choice(WORDS) % 2**64
    return stated.to_bytes(8, "little") + text + body[8 + size :]


def _check(data: bytes, folder: Path) -> str:
    good = _GOOD[data[0] % len(_GOOD)] if data else _GOOD[0]
    kind = _KINDS[_GOOD.index(good)]
    name = list(good.parts)[(data[1] if len(data) > 1 else 0) % len(good.parts)]
    fitting = bool(data[2] % 2) if len(data) > 2 else False
    try:
        (good.directory / name).write_bytes(data[3:])
        if fitting:
            _fit(good.directory, name)
        with forbidding():
            _load(kind, good)
    except ModelError as error:
        require("\n" not in str(error), "one line")
        return f"{kind}: {name}: refused"
    finally:
        for part in (name, CONFIG):
            (good.directory / part).write_bytes(good.parts[part])
    changed = data[3:] != good.parts[name]
    return f"{kind}: {name}: {'other' if changed else 'same'} loaded"


def _fit(directory: Path, name: str) -> None:
    """Write into the description what the part hashes to now, as a stranger would."""
    if name == CONFIG:
        return
    if is_bundle(directory):
        (directory / CONFIG).write_bytes(msgspec.json.encode(describe(directory)))
        return
    tree: dict[str, Any] = json.loads((directory / CONFIG).read_bytes())
    field = {"model.safetensors": "weights"}.get(name, name.removesuffix(".json"))
    if field in tree:
        tree[field] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    (directory / CONFIG).write_text(json.dumps(tree))


def _load(kind: str, good: _Good) -> None:
    """Load what is there; it must be the one that is described, each of its numbers."""
    if kind == "bundle":
        found = load_bundle(good.directory)
        described = msgspec.json.decode((good.directory / CONFIG).read_bytes())["parts"]
        for name in PARTS:
            content = (good.directory / name).read_bytes()
            require(described[name] == hashlib.sha256(content).hexdigest(), f"{name} as described")
        require((good.directory / NORM).exists() and found.norm is not None, "a norm")
        return
    checkpoint = load_checkpoint(good.directory, offline=True)
    tree = json.loads((good.directory / CONFIG).read_bytes())
    content = (good.directory / "model.safetensors").read_bytes()
    state = checkpoint.model.state_dict()
    if content == good.parts["model.safetensors"]:
        # No weight may be random, whatever config.json says: all are those of the file.
        require(set(state) == set(good.state), "the tensors of the model")
        for name, tensor in state.items():
            require(torch.equal(tensor, good.state[name]), f"{name} is that of the file")
    if tree.get("weights") == json.loads(good.parts[CONFIG]).get("weights"):
        require(content == good.parts["model.safetensors"], "damaged weights are noticed")
    require(all(bool(torch.isfinite(tensor).all()) for tensor in state.values()), "finite")


TARGET = Target(name="checkpoints", seeds=_seeds, mutate=_mutate, check=_check, seconds=30.0)
