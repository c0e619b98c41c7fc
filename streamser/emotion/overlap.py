"""Measure how long two or more spoke at once, from stretches of speech in any order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

import msgspec

__all__ = ["Overlap"]

_REACH_MS: Final = 600_000  # how late a stretch may be told, measured from the latest end
_PIECES: Final = 1_000  # more than ten lively speakers make in that time


class _Piece(msgspec.Struct, frozen=True):
    """Hold a time in which the same people spoke, ms; ``end`` is no longer in it."""

    start: int
    end: int
    names: frozenset[str]


class Overlap:
    """Add up the time in which at least two names spoke.

    What is told of one name twice counts once. Time that lies so far back that it is no longer
    remembered is settled: what is told of it later does not count. Memory is bounded.
    """

    def __init__(self) -> None:
        self.total_ms = 0
        self._pieces: list[_Piece] = []  # disjoint, in order
        self._settled: int | None = None  # before it, nothing is remembered

    def add(self, name: str, start: int, end: int) -> None:
        """Take in that ``name`` spoke from ``start`` to ``end``, in ms of any common clock."""
        if self._settled is not None:
            start = max(start, self._settled)
        if start >= end:
            return
        first = bisect_right(self._pieces, start, key=lambda piece: piece.end)
        last = bisect_left(self._pieces, end, key=lambda piece: piece.start)
        self._pieces[first:last] = self._cut(name, start, end, self._pieces[first:last])
        self._forget()

    def _cut(self, name: str, start: int, end: int, touched: list[_Piece]) -> list[_Piece]:
        """Cut the pieces that a stretch touches at its ends, and fill the gaps between them."""
        cut: list[_Piece] = []
        at = start
        for piece in touched:
            if piece.start < start:
                cut.append(_Piece(piece.start, start, piece.names))
            if at < piece.start:
                cut.append(_Piece(at, piece.start, frozenset({name})))
            begin, at = max(piece.start, start), min(piece.end, end)
            if len(piece.names) == 1 and name not in piece.names:
                self.total_ms += at - begin
            cut.append(_Piece(begin, at, piece.names | {name}))
            if end < piece.end:
                cut.append(_Piece(end, piece.end, piece.names))
        if at < end:
            cut.append(_Piece(at, end, frozenset({name})))
        return cut

    def _forget(self) -> None:
        pieces = self._pieces
        horizon = pieces[-1].end - _REACH_MS
        old = max(0, len(pieces) - _PIECES)
        while pieces[old].end <= horizon:
            old += 1
        if old:
            self._settled = pieces[old - 1].end
            del pieces[:old]
