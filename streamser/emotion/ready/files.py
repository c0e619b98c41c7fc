"""The files of a published model: its configuration, and its weights, each by name."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from streamser.emotion.neural.pretrained import NOT_NEEDED, first_line
from streamser.emotion.ready.place import PICKLE, WEIGHTS
from streamser.emotion.ready.registry import Ready
from streamser.errors import ModelError

__all__ = ["fill", "read_config", "read_optional", "read_state"]

# What a weight-normed convolution was called before torch had parametrizations.
_OLD_NAMES: Final = (
    (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
    (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"),
)


def read_config(ready: Ready, directory: Path) -> dict[str, Any]:
    """Read a model's ``config.json``; raises ``ModelError`` where it is none."""
    return _read_json(ready, directory / "config.json")


def read_optional(ready: Ready, directory: Path, name: str) -> dict[str, Any]:
    """Read another JSON file of a model; empty where it is not there."""
    path = directory / name
    return _read_json(ready, path) if path.is_file() else {}


def read_state(ready: Ready, directory: Path) -> dict[str, Tensor]:
    """Read a model's weights, float32, under today's names.

    ``model.safetensors`` is preferred; ``pytorch_model.bin`` is read as weights alone, so that no
    code in it runs. Raises ``ModelError`` naming the file that is missing, damaged or more than
    weights.
    """
    safe, pickled = directory / WEIGHTS, directory / PICKLE
    if safe.is_file():
        try:
            found = load_file(safe)
        except (SafetensorError, OSError) as error:
            raise _damaged(ready, safe, error) from None
    elif pickled.is_file():
        found = _unpickle(ready, pickled)
    else:
        raise ModelError(f"{ready.name}: {safe} is missing.")
    return {_renamed(name): value.float() for name, value in found.items()}


def fill(ready: Ready, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill a model, in place, with published weights.

    Every weight must be there, none else, each of its shape and finite. Raises ``ModelError`` with
    the first that is not.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state and not NOT_NEEDED.search(name)]
    if missing:
        raise ModelError(
            f"{ready.name}: its weights lack {missing[0]!r}{_more(missing)}, which would be random."
        )
    other = sorted(name for name in state if name not in wanted and not NOT_NEEDED.search(name))
    if other:
        raise ModelError(
            f"{ready.name}: its weights hold {other[0]!r}{_more(other)}, which the model has not:"
            " it is another than its config.json says."
        )
    for name, value in state.items():
        if name not in wanted:
            continue
        if value.shape != wanted[name].shape:
            raise ModelError(
                f"{ready.name}: its weight {name!r} has the shape {list(value.shape)}, where its"
                f" config.json asks for {list(wanted[name].shape)}."
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{ready.name}: its weight {name!r} holds what is no number.")
    model.load_state_dict({**wanted, **{name: state[name] for name in wanted if name in state}})


def _read_json(ready: Ready, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{ready.name}: {path} is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{ready.name}: {path} cannot be read: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{ready.name}: {path} is no JSON object.")
    return content


def _unpickle(ready: Ready, path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{ready.name}: {path} holds more than weights, or is damaged; what could be code is"
            f" never loaded. `streamser models pull --force {ready.name}` fetches it again."
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(ready, path, error) from None
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ModelError(f"{ready.name}: {path} is no table of weights.")
    return dict(found)


def _damaged(ready: Ready, path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{ready.name}: {path} is damaged or only a part of it was downloaded"
        f" ({first_line(error)}): run `streamser models pull --force {ready.name}`."
    )


def _renamed(name: str) -> str:
    for pattern, now in _OLD_NAMES:
        name = pattern.sub(now, name)
    return name


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
