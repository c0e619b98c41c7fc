"""Memory that a child shares with its watcher: which case it is at, and how many there were."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

__all__ = ["Journal"]

_HEAD = struct.Struct("<QQd")
_MOST = 8 << 20


class Journal:
    """Note a case before it is tried, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_HEAD.size + _MOST))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _HEAD.size + _MOST)

    def note(self, count: int, case: bytes, at: float) -> None:
        """Note the case that is tried now, as the so-manieth."""
        case = case[:_MOST]
        self._memory[_HEAD.size : _HEAD.size + len(case)] = case
        self._memory[: _HEAD.size] = _HEAD.pack(count, len(case), at)

    def rest(self, count: int) -> None:
        """Note that no case is being tried."""
        self._memory[: _HEAD.size] = _HEAD.pack(count, 0, 0.0)

    def read(self) -> tuple[int, bytes, float]:
        """Return how many cases were begun, the one being tried, and when it was begun."""
        count, size, at = _HEAD.unpack(self._memory[: _HEAD.size])
        return count, bytes(self._memory[_HEAD.size : _HEAD.size + size]), at
