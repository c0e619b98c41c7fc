"""The directory of a training: what stands in it, and whose it is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.saving import remove_parts, replacing
from streamser.training.items import Item
from streamser.training.log import EpochRow
from streamser.training.settings import TrainSettings

__all__ = ["Beginning", "Result", "RunDirectory", "open_run"]

Beginning = Literal["resume", "new", "fresh"]


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
