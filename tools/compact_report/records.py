"""What a report holds: figures with their goals, in tables, in sections."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import msgspec
from msgspec.structs import replace

from streamser.machine import Machine

__all__ = ["Cell", "Figure", "ModelPrint", "Provenance", "Report", "Section", "Table", "verdicts"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a figure: the mean over models (seeds), its 95 % interval, and that of the one shipped.

    ``None`` where it is not defined. ``goal`` is what was set out to reach, at least or, with
    ``at_most``, at most; ``floor`` what a simpler system reaches.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    ships: float | None = None
    goal: float | None = None
    at_most: bool = False
    floor: float | None = None

    def aimed(
        self, goal: float | None, *, at_most: bool = False, floor: float | None = None
    ) -> Figure:
        """Return the figure with a goal and a floor."""
        return replace(self, goal=goal, at_most=at_most, floor=floor)

    @property
    def lacking(self) -> float | None:
        """Return by how much the goal is missed, 0 or less where it is met; ``None``: no goal."""
        if self.value is None or self.goal is None:
            return None
        return self.value - self.goal if self.at_most else self.goal - self.value


Cell = Figure | str | int


class Table(msgspec.Struct, frozen=True):
    """Hold a table; the first cell of a row names it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Section(msgspec.Struct, frozen=True):
    """Hold one section: what is shown, in words, then the tables."""

    title: str
    text: str
    tables: tuple[Table, ...]
    seconds: float = 0.0


class ModelPrint(msgspec.Struct, frozen=True):
    """Name a model by the hashes (SHA-256) of its parts."""

    name: str
    parts: dict[str, str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Say what was measured, on what, and how often things were drawn."""

    command: str
    data: str
    quick: bool
    stream_seeds: int
    replicates: int
    models: tuple[ModelPrint, ...]
    machine: Machine


class Report(msgspec.Struct, frozen=True):
    """Hold the whole report; ``sections`` go by their short names."""

    provenance: Provenance
    sections: dict[str, Section]


def verdicts(tables: tuple[Table, ...]) -> list[str]:
    """Say of every figure with a goal whether it was reached: ``EmoDB, UAR cold: met``."""
    said = []
    for where, figure, lacking in _aimed(tables):
        relation = "at most " if figure.at_most else ""
        goal = f"{where} {figure.value:.3f} (goal {relation}{figure.goal:g})"
        # What is missed by less than the last digit shown is met by what is shown.
        met = lacking < 0.0005
        said.append(f"{goal}: {'met' if met else f'missed by {lacking:.3f}'}")
    return said


def _aimed(tables: tuple[Table, ...]) -> Iterator[tuple[str, Figure, float]]:
    for table in tables:
        for row in table.rows:
            names = list(takewhile(lambda cell: isinstance(cell, str), row))
            for head, cell in zip(table.heads, row, strict=True):
                lacking = cell.lacking if isinstance(cell, Figure) else None
                if isinstance(cell, Figure) and lacking is not None:
                    yield ", ".join(map(str, [*names, head])), cell, lacking
