"""The processor cores that this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["core_count", "cpu_name", "usable_cores", "use_one_blas_thread"]


def usable_cores() -> frozenset[int]:
    """Return their numbers; none where the system keeps no process to its cores."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count() -> int:
    """Return how many there are, 1 at least."""
    return len(usable_cores()) or os.cpu_count() or 1


def cpu_name() -> str:
    """Return what the processor is called, or its kind where the system does not say."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def use_one_blas_thread() -> None:
    """Let numpy multiply matrices on one thread, if it is loaded later, here or in a child.

    Ours are small: a second thread of OpenBLAS only waits for the next one, and keeps a core
    busy with that. A user who has set ``OPENBLAS_NUM_THREADS`` has decided.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
