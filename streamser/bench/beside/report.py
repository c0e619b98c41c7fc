"""The report of ``streamser bench beside``: contenders with their figures, and the ratios."""

from __future__ import annotations

import msgspec

from streamser.bench.machine import Machine

__all__ = ["PARTS", "BesideReport", "Comparison", "Contender", "Ratio"]

PARTS = ("locks", "words", "vad", "pipeline", "whisper", "matrix")
"""The comparisons, in the order in which they are made."""


class Contender(msgspec.Struct, frozen=True):
    """Hold what one design gave: figures by name; ``None``: it could not be told."""

    name: str
    figures: dict[str, float | None]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a figure of ours over the same of another's; ``goal``: what it should reach."""

    name: str
    value: float | None
    goal: float | None = None

    @property
    def met(self) -> bool | None:
        """Return whether the goal is reached; ``None`` where there is none, or no value."""
        return None if self.goal is None or self.value is None else self.value >= self.goal


class Comparison(msgspec.Struct, frozen=True, kw_only=True, tag="comparison"):
    """Hold one comparison; ``conditions`` say what was the same for all, ``took_s`` the time."""

    part: str
    title: str
    conditions: tuple[str, ...]
    contenders: tuple[Contender, ...]
    ratios: tuple[Ratio, ...]
    took_s: float = 0.0


class BesideReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole run; ``quick`` ones try everything out and judge nothing."""

    command: str
    quick: bool
    seed: int
    machine: Machine
    comparisons: tuple[Comparison, ...]
