"""Train and test every system on every fold with every seed, once, whatever interrupts it."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.training.ablation import System
from streamser.training.folds import Fold
from streamser.training.items import Item
from streamser.training.predictions import Predictions, load_predictions, save_predictions
from streamser.training.settings import TrainSettings

__all__ = ["Cell", "Plan", "conditions", "pending", "read_cell", "run_cells"]

logger = logging.getLogger(__name__)

CONDITIONS = {
    "both": frozenset({"audio", "text"}),
    "audio": frozenset({"audio"}),
    "text": frozenset({"text"}),
}


class Cell(msgspec.Struct, frozen=True):
    """Hold one training: a system, a fold, a seed."""

    system: System
    fold: Fold
    seed: int

    @property
    def name(self) -> str:
        """Return where the cell's results stand, relative to the experiment."""
        return f"{self.system.name}/{self.fold.name}/seed{self.seed}"

    @property
    def settings(self) -> TrainSettings:
        """Return the system's settings with the cell's seed."""
        return replace(self.system.settings, run=replace(self.system.settings.run, seed=self.seed))


class Plan(msgspec.Struct, frozen=True):
    """Hold what an experiment is made of, and where its results go."""

    systems: tuple[System, ...]
    folds: tuple[Fold, ...]
    seeds: tuple[int, ...]
    out: Path

    def cells(self) -> list[Cell]:
        """List the trainings, seeds outermost: whatever ends early is a whole grid."""
        return [
            Cell(system, fold, seed)
            for seed in self.seeds
            for fold in self.folds
            for system in self.systems
        ]

    def folder(self, cell: Cell) -> Path:
        """Return the folder of a cell's results."""
        return self.out / "cells" / cell.name


class _Receipt(msgspec.Struct, frozen=True):
    """Say what a cell's predictions were made from."""

    fingerprint: str
    epochs: int
    best_epoch: int
    seconds: float


def conditions(system: System) -> tuple[str, ...]:
    """List what a system is tested with: all that it takes, then each modality alone."""
    if len(system.modalities) == 2:
        return ("both", "audio", "text")
    return system.modalities


def pending(plan: Plan) -> list[Cell]:
    """List the cells without results.

    Raises ``ConfigError`` where a cell's results were made with other settings or items.
    """
    return [cell for cell in plan.cells() if not _is_done(plan, cell)]


def read_cell(plan: Plan, cell: Cell) -> dict[str, Predictions]:
    """Read a cell's test predictions by condition; raises ``ModelError`` where they are gone."""
    folder = plan.folder(cell)
    return {name: load_predictions(folder / f"test-{name}.npz") for name in conditions(cell.system)}


def run_cells(
    plan: Plan, cells: Sequence[Cell], *, jobs: int, report: Callable[[Cell, float], None]
) -> None:
    """Train and test cells, ``jobs`` at a time, each in its own process with one CPU thread.

    With one job, the cells run in this process with the threads that the settings ask for.
    ``report`` is called with each finished cell and the seconds it took. A cell that was
    interrupted goes on where it stopped. What a cell raises ends the run; the results of the
    others stay.
    """
    if jobs == 1:
        for cell in cells:
            report(cell, _run(cell, plan.folder(cell)))
        return
    # A forked child of a process that has used torch's threads can hang.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(_run_alone, cell, plan.folder(cell)): cell for cell in cells}
        try:
            for future in as_completed(running):
                report(running[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_alone(cell: Cell, folder: Path) -> float:
    import torch

    torch.set_num_threads(1)
    settings = cell.system.settings
    single = replace(settings, run=replace(settings.run, threads=1))
    return _run(replace(cell, system=replace(cell.system, settings=single)), folder)


def _run(cell: Cell, folder: Path) -> float:
    import time

    from streamser.training.loop import train
    from streamser.training.predict import predict

    began = time.monotonic()
    settings = cell.settings
    trained = folder / "training"
    result = train(settings, _learnt(cell.fold), trained, calibrated=False)
    for name in conditions(cell.system):
        found = predict(
            result.model,
            cell.fold.test,
            modalities=CONDITIONS[name],
            text="asr" if settings.data.text == "asr" else "gold",
        )
        save_predictions(found, folder / f"test-{name}.npz")
    seconds = time.monotonic() - began
    receipt = _Receipt(fingerprint(cell), result.epochs, result.best_epoch, seconds)
    _write(folder / "receipt.json", msgspec.json.encode(receipt))
    # Hundreds of checkpoints are of no use once they have been tested.
    shutil.copyfile(trained / "log.csv", folder / "log.csv")
    shutil.rmtree(trained)
    return seconds


def fingerprint(cell: Cell) -> str:
    """Return a hash of all that a cell's results depend on: settings, seed, the fold's items."""
    digest = hashlib.sha256(msgspec.json.encode(_bare(cell.settings), order="deterministic"))
    for part in (cell.fold.train, cell.fold.dev, cell.fold.test):
        digest.update(b"|")
        digest.update("\n".join(_identity(item) for item in part).encode())
    return digest.hexdigest()


def _learnt(fold: Fold) -> list[Item]:
    # A training has no business with the test items.
    return [item for item in fold.as_splits() if item.split != "test"]


def _bare(settings: TrainSettings) -> TrainSettings:
    # Threads and the machine's paths change nothing that is meant to be compared.
    return replace(
        settings,
        run=replace(settings.run, threads=0),
        data=replace(settings.data, manifest=""),
    )


def _identity(item: Item) -> str:
    return f"{item.id} {item.text} {item.votes} {item.dimensions}"


def _is_done(plan: Plan, cell: Cell) -> bool:
    folder = plan.folder(cell)
    try:
        receipt = msgspec.json.decode((folder / "receipt.json").read_bytes(), type=_Receipt)
    except (FileNotFoundError, msgspec.DecodeError):
        return False
    if receipt.fingerprint != fingerprint(cell):
        raise ConfigError(
            f"{folder.name} of {cell.system.name} in {plan.out.name} was made with other settings "
            "or items; give another --out, or delete that folder."
        )
    return all((folder / f"test-{name}.npz").is_file() for name in conditions(cell.system))


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def total_seconds(plan: Plan, cells: Iterable[Cell]) -> float:
    """Add up the seconds that finished cells took."""
    seconds = 0.0
    for cell in cells:
        path = plan.folder(cell) / "receipt.json"
        seconds += msgspec.json.decode(path.read_bytes(), type=_Receipt).seconds
    return seconds
