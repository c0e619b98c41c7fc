"""All that a training needs to go on after a stop, in one file without pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from streamser.errors import ModelError
from streamser.saving import replacing
from streamser.training.log import EpochRow

__all__ = ["Progress", "load_state", "load_weights", "save_state", "save_weights"]

_KEY = "progress"
_WEIGHTS, _OPTIMIZER = "weights.", "optimizer."


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how far a training has come.

    ``epoch`` is the running one, from 0, of which ``batch`` batches are done; ``step`` counts
    all. ``lost`` and ``counted`` are the running epoch's sums of losses and of batches that had
    them. ``best`` is the number of the best epoch, from 1; 0 before there is one. ``seconds``
    were spent on the running epoch. Every draw of a training follows from its seed and these
    numbers, so there is no state of a generator to keep.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    lost: tuple[float, ...] = ()
    counted: tuple[float, ...] = ()
    history: tuple[EpochRow, ...] = ()
    best: int = 0
    seconds: float = 0.0


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write weights that learn, the optimizer's state and the progress, in one move."""
    tensors = {_WEIGHTS + name: tensor for name, tensor in _learning(model)}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{_OPTIMIZER}{number}.{name}"] = value
    _write(path, tensors, {_KEY: msgspec.json.encode(progress).decode()})


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a state into model and optimizer, and return its progress.

    Raises ``ModelError`` where the file is damaged or of another model.
    """
    tensors, metadata = _read(path)
    weights = {
        name.removeprefix(_WEIGHTS): tensor
        for name, tensor in tensors.items()
        if name.startswith(_WEIGHTS)
    }
    _put(path, model, weights)
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            number, _, part = name.removeprefix(_OPTIMIZER).partition(".")
            states.setdefault(int(number), {})[part] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    try:
        return msgspec.json.decode(metadata[_KEY], type=Progress)
    except (KeyError, msgspec.DecodeError):
        raise ModelError(f"{path} is no state of a training; train with --fresh.") from None


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the weights that learn, in one move."""
    _write(path, dict(_learning(model)), {})


def load_weights(path: Path, model: nn.Module) -> None:
    """Put weights that ``save_weights`` wrote into a model.

    Raises ``ModelError`` where the file is damaged or of another model.
    """
    _put(path, model, _read(path)[0])


def _learning(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what changes while training: weights that learn, and buffers.

    A weight that is frozen for this epoch only must be among them: ask outside of ``frozen``.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter.detach()
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if name in kept:
            yield name, buffer


def _put(path: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = dict(_learning(model))
    if own.keys() != weights.keys():
        raise ModelError(f"{path} is the state of another model; train with --fresh.")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise ModelError(f"{path} is the state of another model; train with --fresh.")
            tensor.copy_(weights[name])


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: t.detach().contiguous() for name, t in tensors.items()}
    with replacing(path) as file:
        save_file(plain, file.name, metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            opened: Any = file
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}; train with --fresh.") from None
