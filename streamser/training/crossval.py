"""Train and test every system on every fold with every seed, once, whatever interrupts it."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from streamser.errors import ConfigError, StreamserError
from streamser.saving import replacing
from streamser.taxonomy import DIMENSIONS
from streamser.training.evaluation.predictions import (
    Predictions,
    load_predictions,
    save_predictions,
)
from streamser.training.folds import Fold
from streamser.training.manifest import Item
from streamser.training.settings import TrainSettings
from streamser.training.workers import run_side_by_side

TASKS: Final = ("both", "category", "dimension")


class SystemRow(msgspec.Struct, frozen=True):
    """Name one row of the grid, and say in words what it adds."""

    name: str
    title: str


ROWS: Final = (
    SystemRow("baseline", "baseline"),
    SystemRow("self-attention", "+ self-attention"),
    SystemRow("cross-attention", "+ cross-attention"),
    SystemRow("bridge-tokens", "+ bridge tokens"),
    SystemRow("rmm", "+ RMM"),
    SystemRow("same-kv", "bridge tokens, K = V"),
    SystemRow("concat", "refined means, concatenated"),
    SystemRow("voice", "voice only"),
    SystemRow("words", "words only"),
)
"""The paper's five rows, and four that it lacks (paper §4, Table 2)."""

PAPER_ROWS: Final = ("baseline", "self-attention", "cross-attention", "bridge-tokens", "rmm")


class PaperRow(msgspec.Struct, frozen=True):
    """Hold what the paper reports for a row: percent and CCC, ``None`` where it has no figure."""

    uar: float | None = None
    war: float | None = None
    valence: float | None = None
    arousal: float | None = None


PAPER: Final = {
    ("baseline", "both"): PaperRow(69.43, 67.22, 0.637, 0.674),
    ("baseline", "category"): PaperRow(67.12, 65.5),
    ("baseline", "dimension"): PaperRow(None, None, 0.617, 0.675),
    ("self-attention", "both"): PaperRow(73.92, 73.01, 0.737, 0.676),
    ("self-attention", "category"): PaperRow(74.17, 72.9),
    ("self-attention", "dimension"): PaperRow(None, None, 0.711, 0.687),
    ("cross-attention", "both"): PaperRow(74.68, 74.69, 0.738, 0.685),
    ("cross-attention", "category"): PaperRow(74.29, 73.6),
    ("cross-attention", "dimension"): PaperRow(None, None, 0.718, 0.686),
    ("bridge-tokens", "both"): PaperRow(75.71, 74.60, 0.748, 0.677),
    ("bridge-tokens", "category"): PaperRow(74.02, 73.05),
    ("bridge-tokens", "dimension"): PaperRow(None, None, 0.714, 0.698),
    ("rmm", "both"): PaperRow(75.79, 74.38, 0.744, 0.679),
}
"""Table 2 of arXiv 2401.00536: HuBERT-large and DeBERTaV3-large on IEMOCAP, 10 folds."""


class System(msgspec.Struct, frozen=True):
    """Hold one system of the grid: a row, its task, and the settings that train it."""

    row: str
    task: str
    settings: TrainSettings

    @property
    def name(self) -> str:
        """Return a name that can stand in a path, such as ``bridge-tokens.both``."""
        return f"{self.row}.{self.task}"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return what the system takes in: ``audio``, ``text`` or both."""
        model = self.settings.model
        found = (("audio", model.acoustic), ("text", model.text))
        return tuple(name for name, part in found if part is not None)


def title_of(row: str) -> str:
    """Return the words for a row's name."""
    return next(known.title for known in ROWS if known.name == row)


def systems(settings: TrainSettings, rows: tuple[str, ...], tasks: tuple[str, ...]) -> list[System]:
    """Make the systems of some rows and tasks; each differs from ``settings`` in its row alone.

    Every row but ``rmm`` trains without Random Modality Masking. ``rmm`` is ``bridge-tokens``
    with it. The rows that the paper lacks are made for both tasks together alone, where those
    are asked for. Raises ``ConfigError`` for a row or task that there is not, or where the
    settings lack what a row needs.
    """
    if not rows or not tasks:
        raise ConfigError("no row or no task of the grid is named.")
    for asked, known, what in (
        (rows, tuple(row.name for row in ROWS), "row"),
        (tasks, TASKS, "task"),
    ):
        for name in asked:
            if name not in known:
                raise ConfigError(f"no {what} is called {name!r}; there are {', '.join(known)}.")
    return [
        System(row, task, _for_task(_for_row(settings, row), task))
        for row in rows
        for task in tasks
        if row in PAPER_ROWS or task == "both" or "both" not in tasks
    ]


def _for_row(settings: TrainSettings, row: str) -> TrainSettings:
    model, fusion = settings.model, settings.model.fusion
    if row != "words" and model.acoustic is None:
        raise ConfigError(f"the row {row!r} needs model.acoustic.")
    if row != "voice" and model.text is None:
        raise ConfigError(f"the row {row!r} needs model.text.")
    refinement = max(1, fusion.refinement)
    masking = replace(settings.masking, mode="none")
    tokens = fusion.bridge_tokens
    if row in ("bridge-tokens", "rmm", "same-kv") and not tokens:
        raise ConfigError(f"the row {row!r} needs model.fusion.bridge_tokens above 0.")
    match row:
        case "baseline":
            fusion = replace(fusion, mode="mixed_kv", refinement=0, cross_attention=False)
        case "self-attention" | "voice" | "words":
            fusion = replace(fusion, mode="mixed_kv", refinement=refinement, cross_attention=False)
        case "cross-attention":
            fusion = replace(
                fusion,
                mode="mixed_kv",
                refinement=refinement,
                cross_attention=True,
                bridge_tokens=0,
            )
        case "bridge-tokens" | "rmm":
            fusion = replace(fusion, mode="mixed_kv", refinement=refinement, cross_attention=True)
        case "same-kv":
            fusion = replace(fusion, mode="same_kv", refinement=refinement, cross_attention=True)
        case "concat":
            fusion = replace(fusion, mode="concat", refinement=refinement, cross_attention=False)
    if row == "rmm":
        masking = replace(masking, mode="epoch")
    if row == "voice":
        model = replace(model, text=None)
    if row == "words":
        model = replace(model, acoustic=None)
    return replace(settings, model=replace(model, fusion=fusion), masking=masking)


def _for_task(settings: TrainSettings, task: str) -> TrainSettings:
    heads = settings.model.heads
    if task != "dimension" and not heads.categories:
        raise ConfigError(f"the task {task!r} needs model.heads.categories.")
    if task != "category" and not heads.dimensions:
        raise ConfigError(f"the task {task!r} needs model.heads.dimensions.")
    match task:
        case "category":
            heads = replace(heads, dimensions=())
        case "dimension":
            heads = replace(heads, categories=())
    return replace(settings, model=replace(settings.model, heads=heads))


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


class CrossvalPlan(msgspec.Struct, frozen=True):
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


def check_labels(plan: CrossvalPlan) -> None:
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


def pending(plan: CrossvalPlan) -> list[Cell]:
    """List the cells without results.

    Raises ``ConfigError`` where a cell's results were made with other settings or items.
    """
    return [cell for cell in plan.cells() if not _is_done(plan, cell)]


def read_cell(plan: CrossvalPlan, cell: Cell) -> dict[str, Predictions]:
    """Read a cell's test predictions by condition; raises ``ModelError`` where they are gone."""
    folder = plan.folder(cell)
    return {name: load_predictions(folder / f"test-{name}.npz") for name in conditions(cell.system)}


def run_cells(
    plan: CrossvalPlan, cells: Sequence[Cell], *, jobs: int, report: Callable[[Cell, float], None]
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

    from streamser.training.batches import Inputs
    from streamser.training.evaluation.predictions import predict
    from streamser.training.train import train

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


def _is_done(plan: CrossvalPlan, cell: Cell) -> bool:
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


def total_seconds(plan: CrossvalPlan, cells: Iterable[Cell]) -> float:
    """Add up the seconds that finished cells took."""
    seconds = 0.0
    for cell in cells:
        path = plan.folder(cell) / "receipt.json"
        seconds += msgspec.json.decode(path.read_bytes(), type=_Receipt).seconds
    return seconds
