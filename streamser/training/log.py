"""What each epoch of a training gave: one record, one row of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from streamser.emotion.neural.config import HeadsConfig
from streamser.saving import replacing

__all__ = ["SILENT", "EpochRow", "Report", "columns", "tasks_of", "write_log"]


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


class Report(Protocol):
    """Be told how a training goes."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Hear how many epochs there are, how many steps each has, how many steps are done."""
        ...

    def step(self) -> None:
        """Hear that one more step is done."""
        ...

    def epoch(self, row: EpochRow, best: bool) -> None:
        """Hear what an epoch gave, and whether it is the best so far."""
        ...

    def note(self, line: str) -> None:
        """Hear something that is good to know."""
        ...


class _Silent:
    """Tell nobody."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Say nothing."""

    def step(self) -> None:
        """Say nothing."""

    def epoch(self, row: EpochRow, best: bool) -> None:
        """Say nothing."""

    def note(self, line: str) -> None:
        """Say nothing."""


SILENT: Report = _Silent()


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
    writer.writerows([_written(value) for value in _flat(row)] for row in rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _flat(row: EpochRow) -> list[object]:
    values: list[object] = []
    for value in msgspec.structs.astuple(row):
        values += value if isinstance(value, tuple) else [value]
    return values


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
