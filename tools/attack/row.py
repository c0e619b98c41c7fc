"""What an attack has shown: a row of the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Row", "table"]


@dataclass(frozen=True)
class Row:
    """Hold a figure and the most that it may be."""

    attack: str
    what: str
    figure: float
    limit: float
    unit: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the attack has failed; no figure at all is a fault."""
        return self.figure <= self.limit


def table(rows: Iterable[Row]) -> str:
    """Write rows for people, in columns."""
    lines = [("attack", "what", "figure", "at most", "")]
    for row in rows:
        figure, limit = (f"{value:,.4g} {row.unit}".strip() for value in (row.figure, row.limit))
        lines.append((row.attack, row.what, figure, limit, "ok" if row.ok else "FAILED"))
    widths = [max(len(line[at]) for line in lines) for at in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
