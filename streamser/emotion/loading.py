"""Weights from files, strictly: every tensor there, none else, nothing random, no code run."""

from __future__ import annotations

import json
import pickle
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from streamser.errors import ModelError, first_line
from streamser.hub import PICKLE, WEIGHTS

_KINDS: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NARROWER: Final = frozenset({torch.float16, torch.bfloat16})


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers; tensors that share memory are written once.

    Raises ``ModelError`` where one holds nan or infinity: such a model says nothing.
    """
    tensors = {
        name: tensor.detach().to("cpu").contiguous() for name, tensor in _stored(model).items()
    }
    for name, tensor in tensors.items():
        _refuse_unreal(f"{path.parent} is not written", name, tensor)
    # It is written as a temporary file, which nobody else may read, and then renamed.
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)


def read_weights(path: Path, model: nn.Module) -> None:
    """Fill a model, in place, with the weights of a file that was written from one alike.

    The file must hold each of the model's tensors, no other, each of its shape and its type
    (or half precision for float32), all finite. Raises ``ModelError`` that names the file and
    the first tensor otherwise; nothing but safetensors is ever read.
    """
    wanted = _stored(model)
    try:
        # One that may not be read is missing, says safetensors.
        path.open("rb").close()
        with safe_open(path, framework="pt", device="cpu") as file:
            _check_names(path, list(file.keys()), list(wanted))
            for name, tensor in wanted.items():
                kept = file.get_slice(name)
                _check_kind(path, name, tensor, tuple(kept.get_shape()), str(kept.get_dtype()))
            with torch.no_grad():
                for name, tensor in wanted.items():
                    value = file.get_tensor(name)
                    _refuse_unreal(str(path), name, value)
                    tensor.copy_(value)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing") from None
    except SafetensorError as error:
        raise ModelError(
            f"{path} is no safetensors file, or only a part of one ({error}): copy it again"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that stand for a model; of those that are one, the first by name."""
    found: dict[str, Tensor] = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in model.state_dict().items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() == 0 or place not in seen:
            found[name] = tensor
        seen.add(place)
    return found


def _check_names(path: Path, found: list[str], wanted: list[str]) -> None:
    kept, needed = set(found), set(wanted)
    for fault, names in (
        ("is missing", [name for name in wanted if name not in kept]),
        ("does not belong to this model", sorted(kept - needed)),
    ):
        if names:
            more = f" (as are {len(names) - 1} more)" if fault == "is missing" else ""
            raise ModelError(
                f"{path}: tensor {names[0]!r} {fault}{more if len(names) > 1 else ''}:"
                " the weights are of another model than config.json"
            )


def _check_kind(path: Path, name: str, tensor: Tensor, shape: tuple[int, ...], kind: str) -> None:
    if shape != tuple(tensor.shape):
        raise ModelError(
            f"{path}: tensor {name!r} has the shape {list(shape)} where the model of config.json"
            f" has {list(tensor.shape)}"
        )
    found = _KINDS.get(kind)
    fits = found is tensor.dtype or (tensor.dtype is torch.float32 and found in _NARROWER)
    if not fits:
        wanted = next(key for key, value in _KINDS.items() if value is tensor.dtype)
        raise ModelError(f"{path}: tensor {name!r} is of type {kind} where {wanted} is needed")


def _refuse_unreal(where: str, name: str, tensor: Tensor) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(f"{where}: tensor {name!r} holds numbers that are not finite")


NOT_NEEDED: Final = re.compile(r"(^|\.)(masked_spec_embed|position_ids)$|(^|\.)pooler\.")
"""Weights that encoders have but never use here, and that older files leave out."""

# What a weight-normed convolution was called before torch had parametrizations.
_OLD_NAMES: Final = (
    (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
    (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"),
)


def read_config(title: str, directory: Path) -> dict[str, Any]:
    """Read a model's ``config.json``; raises ``ModelError`` where it is none."""
    return _read_json(title, directory / "config.json")


def read_optional(title: str, directory: Path, name: str) -> dict[str, Any]:
    """Read another JSON file of a model; empty where it is not there."""
    path = directory / name
    return _read_json(title, path) if path.is_file() else {}


def read_state(title: str, directory: Path) -> dict[str, Tensor]:
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
            raise _damaged(title, safe, error) from None
    elif pickled.is_file():
        found = _unpickle(title, pickled)
    else:
        raise ModelError(f"{title}: {safe} is missing.")
    return {_renamed(name): value.float() for name, value in found.items()}


def fill(title: str, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill a model, in place, with published weights.

    Every weight must be there, none else, each of its shape and finite. Raises ``ModelError`` with
    the first that is not.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state and not NOT_NEEDED.search(name)]
    if missing:
        raise ModelError(
            f"{title}: its weights lack {missing[0]!r}{_more(missing)}, which would be random."
        )
    other = sorted(name for name in state if name not in wanted and not NOT_NEEDED.search(name))
    if other:
        raise ModelError(
            f"{title}: its weights hold {other[0]!r}{_more(other)}, which the model has not:"
            " it is another than its config.json says."
        )
    for name, value in state.items():
        if name not in wanted:
            continue
        if value.shape != wanted[name].shape:
            raise ModelError(
                f"{title}: its weight {name!r} has the shape {list(value.shape)}, where its"
                f" config.json asks for {list(wanted[name].shape)}."
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{title}: its weight {name!r} holds what is no number.")
    model.load_state_dict({**wanted, **{name: state[name] for name in wanted if name in state}})


def _read_json(title: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{title}: {path} is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{title}: {path} cannot be read: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{title}: {path} is no JSON object.")
    return content


def _unpickle(title: str, path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{title}: {path} holds more than weights, or is damaged; what could be code is"
            f" never loaded. `streamser models pull --force {title}` fetches it again."
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(title, path, error) from None
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ModelError(f"{title}: {path} is no table of weights.")
    return dict(found)


def _damaged(title: str, path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{title}: {path} is damaged or only a part of it was downloaded"
        f" ({first_line(error)}): run `streamser models pull --force {title}`."
    )


def _renamed(name: str) -> str:
    for pattern, now in _OLD_NAMES:
        name = pattern.sub(now, name)
    return name


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
