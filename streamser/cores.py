"""The processor cores that this process may use."""

from __future__ import annotations

import os

__all__ = ["core_count", "usable_cores"]


def usable_cores() -> frozenset[int]:
    """Return their numbers; none where the system keeps no process to its cores."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count() -> int:
    """Return how many there are, 1 at least."""
    return len(usable_cores()) or os.cpu_count() or 1
