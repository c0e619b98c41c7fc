"""The directory of a training: whose it is, its log, its states, its end."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from msgspec.structs import replace
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from streamser.emotion.fused.config import HeadsConfig
from streamser.errors import ConfigError, ModelError
from streamser.saving import remove_parts, replacing
from streamser.training.manifest import Item
from streamser.training.settings import TrainSettings

Beginning = Literal["resume", "new", "fresh"]


class EpochRow(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the figures of one epoch; ``None`` where there were no labels to make them from.

    ``epoch`` counts from 1, ``step`` all steps so far. ``learning_rate`` is that of the heads at
    the end. ``masked`` names the modality that the epoch hid. ``train`` and ``dev`` hold the
    loss of each task without weights (cross-entropy, then 1 - CCC of each dimension),
    ``train_loss`` and ``dev_loss`` their weighted sum. ``score`` is what the best epoch is
    chosen by: larger is better.
    """

    epoch: int
    step: int
    learning_rate: float
    masked: str
    train_loss: float | None
    train: tuple[float | None, ...]
    dev_loss: float | None
    dev: tuple[float | None, ...]
    dev_uar: float | None
    dev_ccc: tuple[float | None, ...]
    score: float
    seconds: float


class Result(msgspec.Struct, frozen=True):
    """Hold how a training ended: epochs run, the best of them (from 1), and all rows."""

    epochs: int
    best_epoch: int
    history: tuple[EpochRow, ...]


class _Owner(msgspec.Struct, frozen=True):
    """Say which training a directory belongs to."""

    settings: TrainSettings
    items: str


class RunDirectory(msgspec.Struct, frozen=True):
    """Name what stands in the directory of a training.

    ``model`` is the checkpoint of the best epoch, there once the training has ended; ``log``
    a row for each epoch. ``start`` (the model before the first step) and ``state`` are what a
    stopped training goes on from; both are gone in the end.
    """

    path: Path

    @property
    def model(self) -> Path:
        """Return the directory of the finished checkpoint."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """Return the CSV file of all epochs."""
        return self.path / "log.csv"

    @property
    def start(self) -> Path:
        """Return the checkpoint of the model before its first step."""
        return self.path / "start"

    @property
    def state(self) -> Path:
        """Return the file of the last state."""
        return self.path / "state.safetensors"

    @property
    def settings(self) -> Path:
        """Return the file that says whose directory this is."""
        return self.path / "settings.json"

    @property
    def result(self) -> Path:
        """Return the file that says that the training has ended, and how."""
        return self.path / "result.json"

    @property
    def has_begun(self) -> bool:
        """Say whether there is anything to go on from."""
        return self.state.exists() or self.result.exists()

    def best(self, epoch: int) -> Path:
        """Return the file of the weights of an epoch that was the best so far."""
        return self.path / f"best-{epoch}.safetensors"

    def forget_bests(self, but: int = 0) -> None:
        """Delete the weights of epochs that are not the best any more."""
        for path in self.path.glob("best-*.safetensors"):
            if path != self.best(but):
                path.unlink()

    def finish(self, result: Result) -> None:
        """Write that the training has ended, and delete what only going on would need."""
        _write(self.result, msgspec.json.encode(result))
        self.forget_bests()
        self.state.unlink(missing_ok=True)
        shutil.rmtree(self.start, ignore_errors=True)

    def read_result(self) -> Result | None:
        """Return how the training ended, or ``None`` where it has not."""
        try:
            return msgspec.json.decode(self.result.read_bytes(), type=Result)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


def open_run(
    path: Path, settings: TrainSettings, items: Sequence[Item], how: Beginning
) -> RunDirectory:
    """Take a directory for a training, and write there whose it is.

    ``resume`` goes on with what is there, if anything; ``new`` refuses what is there; ``fresh``
    deletes what an earlier training left, and nothing else. Raises ``ConfigError`` where a
    training of other settings or items is to go on, where files stand in the way that are no
    training's, or where the directory cannot be written.
    """
    run = RunDirectory(path)
    owner = _Owner(_bare(settings), _digest(items))
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = _read_owner(run)
        if found is not None:
            remove_parts(path)
        if found is None or how == "fresh" or not run.has_begun:
            _clear(run, ours=found is not None)
            _write(run.settings, msgspec.json.format(msgspec.json.encode(owner), indent=2))
            return run
    except OSError as error:
        raise ConfigError(f"{path} cannot be used for a training: {error.strerror}.") from None
    if how == "new":
        state = "a finished" if run.result.exists() else "an unfinished"
        raise ConfigError(
            f"{path} holds {state} training: go on with --resume, begin anew with --fresh, "
            "or give another --out."
        )
    if (difference := _difference(found, owner)) is not None:
        raise ConfigError(
            f"{path} holds a training with {difference}: "
            "begin anew with --fresh, or give another --out."
        )
    return run


def _read_owner(run: RunDirectory) -> _Owner | None:
    try:
        return msgspec.json.decode(run.settings.read_bytes(), type=_Owner)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        raise ConfigError(
            f"{run.settings} is damaged, or no training's of this version: "
            "delete it and what is beside it, or give another --out."
        ) from None


def _clear(run: RunDirectory, *, ours: bool) -> None:
    """Delete what a training left; refuse where it was not one that left it."""
    bests = list(run.path.glob("best-*.safetensors"))
    left = [run.result, run.state, run.log, run.start, run.model, *bests]
    for path in left:
        if path.exists():
            if not ours:
                raise ConfigError(
                    f"{path} is in the way, and is no training's: give another --out."
                )
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _bare(settings: TrainSettings) -> TrainSettings:
    # A training may go on with other threads, on another device, its manifest moved.
    run = replace(settings.run, threads=0, device="auto", compile=False)
    return replace(settings, run=run, data=replace(settings.data, manifest=""))


def _digest(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        # Files may have been moved; what they hold is taken on trust.
        digest.update(msgspec.json.encode(replace(item, audio=None, mel=None)))
        digest.update(b"1" if item.has_sound else b"0")
    return digest.hexdigest()


def _difference(found: _Owner, wanted: _Owner) -> str | None:
    before, after = (_flat(msgspec.to_builtins(each.settings)) for each in (found, wanted))
    for key in sorted(before.keys() | after.keys()):
        old, new = (side.get(key, "nothing") for side in (before, after))
        if old != new:
            return f"{key} = {_shown(old)}, not {_shown(new)}"
    return None if found.items == wanted.items else "other items or labels"


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


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
    _write_tensors(path, tensors, {_KEY: msgspec.json.encode(progress).decode()})


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a state into model and optimizer, and return its progress.

    Raises ``ModelError`` where the file is damaged or of another model.
    """
    tensors, metadata = _read_tensors(path)
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
    _write_tensors(path, dict(_learning(model)), {})


def load_weights(path: Path, model: nn.Module) -> None:
    """Put weights that ``save_weights`` wrote into a model.

    Raises ``ModelError`` where the file is damaged or of another model.
    """
    _put(path, model, _read_tensors(path)[0])


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


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: t.detach().contiguous() for name, t in tensors.items()}
    with replacing(path) as file:
        save_file(plain, file.name, metadata)


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            opened: Any = file
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}; train with --fresh.") from None


def tasks_of(heads: HeadsConfig) -> tuple[str, ...]:
    """Name what a model's losses are for, in their order: ``category`` and its dimensions."""
    return ("category", *heads.dimensions)


def columns(heads: HeadsConfig) -> tuple[str, ...]:
    """Name the columns of the log of a training."""
    tasks = tasks_of(heads)
    return (
        *("epoch", "step", "learning_rate", "masked", "train_loss"),
        *(f"train_{task}" for task in tasks),
        "dev_loss",
        *(f"dev_{task}" for task in tasks),
        "dev_uar",
        *(f"dev_ccc_{name}" for name in heads.dimensions),
        *("score", "seconds"),
    )


def write_log(path: Path, rows: Sequence[EpochRow], heads: HeadsConfig) -> None:
    """Write all epochs as CSV, in one move; what is not known stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(heads))
    writer.writerows([_written(value) for value in _cells(row)] for row in rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _cells(row: EpochRow) -> list[object]:
    values: list[object] = []
    for value in msgspec.structs.astuple(row):
        values += value if isinstance(value, tuple) else [value]
    return values


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
