"""Processor time and memory of a server and all that it started, once a second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tools.bench.streams.server import family

__all__ = ["Meter", "Use", "used"]

_EVERY_S = 1.0


class Reading(msgspec.Struct, frozen=True):
    """Hold a moment (``time.monotonic``, s), processor time so far (s) and PSS (MiB), in sum."""

    at: float
    busy_s: float
    pss_mib: float


class Use(msgspec.Struct, frozen=True):
    """Hold what was used: processor seconds a second, and the greatest PSS in MiB."""

    cpu: float | None
    pss_mib: float | None


class Meter:
    """Read a process and those it started in a thread, for ``with``."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self.readings: list[Reading] = []

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.readings.append(read(self._pid))


def read(pid: int, proc: Path = Path("/proc")) -> Reading:
    """Read a process and those it started; those that have ended count with their parent."""
    busy = pss = 0.0
    for each in family(pid, proc):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything.
            stat = (proc / str(each) / "stat").read_text("utf-8", "replace").rpartition(")")[2]
            busy += sum(map(int, stat.split()[11:15])) / os.sysconf("SC_CLK_TCK")
            rollup = (proc / str(each) / "smaps_rollup").read_text("utf-8")
            line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
            pss += int(line.split()[1]) / 2**10
    return Reading(time.monotonic(), busy, pss)


def used(readings: Sequence[Reading], begin: float, end: float) -> Use:
    """Say what was used between two moments; memory at any time."""
    inside = [each for each in readings if begin <= each.at <= end]
    cpu = None
    if len(inside) > 1:
        first, last = inside[0], inside[-1]
        cpu = round((last.busy_s - first.busy_s) / (last.at - first.at), 3)
    most = max((each.pss_mib for each in readings), default=None)
    return Use(cpu, None if most is None else round(most, 1))
