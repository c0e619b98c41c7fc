"""The report of ``tools.bench pipeline``: every figure, and the goal it is held against."""

from __future__ import annotations

import msgspec

from streamser.machine import Machine
from tools.bench.cost import PartialSection
from tools.bench.front import FrontSection
from tools.bench.latency import LatencySection
from tools.bench.memory import MemorySection
from tools.bench.startup import StartupSection

__all__ = ["SECTIONS", "Figure", "Goal", "PipelineReport", "Sections"]

SECTIONS = ("front", "partials", "startup", "latency", "memory")
"""The parts of the report, in the order in which they are measured."""


class Goal(msgspec.Struct, frozen=True):
    """Hold the limit that a figure should keep."""

    limit: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"

    def met_by(self, value: float) -> bool:
        """Tell whether a value keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what was measured; ``None`` for what was left out."""

    front: FrontSection | None = None
    partials: PartialSection | None = None
    startup: StartupSection | None = None
    latency: LatencySection | None = None
    memory: MemorySection | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one line of the table; ``met`` is ``None`` where there is no goal or no judging it."""

    part: str
    name: str
    value: str
    goal: str = ""
    met: bool | None = None


class PipelineReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole run; a ``quick`` one tries everything out and judges nothing."""

    quick: bool
    machine: Machine
    recordings: str
    lap_s: float
    sections: Sections
    figures: tuple[Figure, ...]
