"""Train and test every system on every fold with every seed, once, whatever interrupts it."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamser.errors import ConfigError, StreamserError
from streamser.saving import replacing
from streamser.taxonomy import DIMENSIONS
from streamser.training.ablation import System
from streamser.training.folds import Fold
from streamser.training.items import Item
from streamser.training.predictions import Predictions, load_predictions, save_predictions
from streamser.training.settings import TrainSettings
from streamser.training.workers import run_side_by_side

__all__ = [
    "Cell",
    "Plan",
    "check_labels",
    "conditions",
    "fingerprint",
    "pending",
    "read_cell",
    "run_cells",
    "total_seconds",
]

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
        """Return where the cell's results stand, relative to the experiment.

        A fold is named after a speaker, and speakers may be called anything.
        """
        fold = "".join(
            sign if sign.isalnum() or sign in "-_" else f"%{ord(sign):02x}"
            for sign in self.fold.name
        )
        return f"{self.system.name}/{fold}/seed{self.seed}"

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


def check_labels(plan: Plan) -> None:
    """Refuse to learn and measure what nobody has rated, before hours are spent on the rest.

    Raises ``ConfigError`` where a system answers what no test item of any fold has a label of.
    """
    tested = [item for fold in plan.folds for item in fold.test]
    heads = [system.settings.model.heads for system in plan.systems]
    if any(each.categories for each in heads) and not any(item.category for item in tested):
        raise ConfigError("no utterance to test on has a category; take --tasks dimension.")
    names = dict.fromkeys(name for each in heads for name in each.dimensions)
    rated = [
        name
        for name in names
        if not all(math.isnan(item.dimensions[DIMENSIONS.index(name)]) for item in tested)
    ]
    missing = [name for name in names if name not in rated]
    if missing:
        instead = f"--set model.heads.dimensions={','.join(rated)}" if rated else "--tasks category"
        raise ConfigError(
            f"no utterance to test on has a rating of {' or '.join(missing)}; take {instead}."
        )


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
    interrupted goes on where it stopped. A ``StreamserError`` of a cell, with its name, ends the
    run at once, as Ctrl-C does; the results of the others stay.

    A test clip that cannot be read is left out for every system, unless ``data.strict``.
    """
    if jobs == 1:
        for cell in cells:
            report(cell, _run(cell, plan.folder(cell)))
        return
    works = [(cell, plan.folder(cell)) for cell in cells]
    run_side_by_side(_run_alone, works, jobs=jobs, report=lambda work, took: report(work[0], took))


def _run_alone(work: tuple[Cell, Path]) -> float:
    import torch

    cell, folder = work

    torch.set_num_threads(1)
    settings = cell.system.settings
    single = replace(settings, run=replace(settings.run, threads=1))
    return _run(replace(cell, system=replace(cell.system, settings=single)), folder)


def _run(cell: Cell, folder: Path) -> float:
    try:
        return _train_and_test(cell, folder)
    except StreamserError as error:
        raise type(error)(f"{cell.name}: {error}", code=error.code) from None


def _train_and_test(cell: Cell, folder: Path) -> float:
    import time

    from streamser.training.inputs import Inputs
    from streamser.training.loop import train
    from streamser.training.predict import predict

    began = time.monotonic()
    settings, mark = cell.settings, fingerprint(cell)
    # What an interrupted training of other settings has left here is not gone on with.
    trained = folder / f"training-{mark[:12]}"
    result = train(settings, _learnt(cell.fold), trained, calibrated=False)
    # For words alone, too: systems can be compared on the same items only.
    tested = result.sounds.readable(cell.fold.test, strict=settings.data.strict).items
    if not tested:
        raise ConfigError("not one of the test clips can be read.")
    inputs = Inputs(result.model, result.sounds)
    for name in conditions(cell.system):
        found = predict(
            result.model,
            tested,
            modalities=CONDITIONS[name],
            text="asr" if settings.data.text == "asr" else "gold",
            sounds=result.sounds,
            inputs=inputs,
        )
        # A fold may lack what teaches a task: its model does not tell it, and others do.
        save_predictions(found.over(settings.model.heads), folder / f"test-{name}.npz")
    seconds = time.monotonic() - began
    shutil.copyfile(trained / "log.csv", folder / "log.csv")
    receipt = _Receipt(mark, result.epochs, result.best_epoch, seconds)
    _write(folder / "receipt.json", msgspec.json.encode(receipt))
    # Hundreds of checkpoints are of no use once they have been tested.
    for left in folder.glob("training*"):
        shutil.rmtree(left)
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
    # Threads and where the manifest lies change nothing that is meant to be compared.
    return replace(
        settings,
        run=replace(settings.run, threads=0),
        data=replace(settings.data, manifest=""),
    )


def _identity(item: Item) -> str:
    identity = f"{item.id} {item.text} {item.votes} {item.dimensions}"
    if item.text_asr is not None:
        identity += f" {item.text_asr}"
    return identity if item.has_sound else f"{identity} silent"


def _is_done(plan: Plan, cell: Cell) -> bool:
    folder = plan.folder(cell)
    try:
        receipt = msgspec.json.decode((folder / "receipt.json").read_bytes(), type=_Receipt)
    except (FileNotFoundError, msgspec.DecodeError):
        return False
    if receipt.fingerprint != fingerprint(cell):
        raise ConfigError(
            f"cells/{cell.name} in {plan.out} was made with other settings or items; "
            "give another --out, or delete that folder."
        )
    return all((folder / f"test-{name}.npz").is_file() for name in conditions(cell.system))


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def total_seconds(plan: Plan, cells: Iterable[Cell]) -> float:
    """Add up the seconds that finished cells took."""
    seconds = 0.0
    for cell in cells:
        path = plan.folder(cell) / "receipt.json"
        seconds += msgspec.json.decode(path.read_bytes(), type=_Receipt).seconds
    return seconds
