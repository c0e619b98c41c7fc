"""Fewer points and blocks where a screen could not tell them apart; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from streamser.report.figures import Said

__all__ = ["Block", "merge", "thin"]

_COLUMNS: Final = 4_000
"""Columns that a time axis is taken to have at most: a screen, zoomed in on a little."""


class Block(msgspec.Struct, frozen=True):
    """Hold a stretch of one speaker and one category; ``number`` is its first utterance."""

    number: int
    start_ms: int
    end_ms: int
    category: str | None
    confidence: float


def thin(points: Sequence[tuple[int, float]], length_ms: int) -> list[tuple[int, float]]:
    """Keep of each column the first, lowest, highest and last point: a line looks as it did."""
    kept: list[tuple[int, float]] = []
    column: list[tuple[int, float]] = []
    now = -1
    for point in points:
        place = point[0] * _COLUMNS // max(1, length_ms)
        if place != now:
            kept += _ends(column)
            column, now = [], place
        column.append(point)
    return kept + _ends(column)


def _ends(column: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(column) <= 4:
        return list(column)
    values = [value for _, value in column]
    places = {0, values.index(min(values)), values.index(max(values)), len(column) - 1}
    return [column[place] for place in sorted(places)]


def merge(said: Sequence[Said], talker: int, length_ms: int) -> Iterator[Block]:
    """Yield the blocks of a speaker's lane; alike ones that no column parts become one."""
    gap = length_ms / _COLUMNS
    held: Block | None = None
    for number, each in enumerate(said):
        if each.talker != talker:
            continue
        block = Block(number, each.start_ms, each.end_ms, each.category, each.confidence)
        if held is None:
            held = block
        elif held.category == block.category and _narrow(held, block, gap):
            held = msgspec.structs.replace(held, end_ms=max(held.end_ms, block.end_ms))
        else:
            yield held
            held = block
    if held is not None:
        yield held


def _narrow(held: Block, block: Block, gap: float) -> bool:
    """Return whether both are too narrow, and too near, to be seen as two."""
    small = min(held.end_ms - held.start_ms, block.end_ms - block.start_ms)
    return small < 2 * gap and block.start_ms - held.end_ms < gap
