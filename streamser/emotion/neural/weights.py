"""The weights of a model as safetensors: every tensor there, none else, each as it must be."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from streamser.errors import ModelError

__all__ = ["read_weights", "write_weights"]

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
