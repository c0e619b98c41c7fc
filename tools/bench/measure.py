"""What measurements share: percentiles, word errors, one core to run on, this process's memory."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from streamser.machine import usable_cores

__all__ = [
    "METHOD",
    "Spread",
    "bare_words",
    "memory_kind",
    "percentile",
    "pinned",
    "resident_mib",
    "spread",
    "word_errors",
]

METHOD = "linear interpolation between closest ranks (Hyndman & Fan type 7, numpy's default)"


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how ``n`` measurements are distributed, in their own unit."""

    n: int
    least: float
    p50: float
    p95: float
    p99: float
    most: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share in [0, 1] of the values lies.

    With the n values sorted and counted from 0, the result lies at place ``share * (n - 1)``,
    interpolated linearly between its two neighbours (Hyndman & Fan 1996, type 7). Raises
    ``ValueError`` for no values or a share outside [0, 1].
    """
    if not values or not 0.0 <= share <= 1.0:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    weight = place - low
    return ordered[low] * (1.0 - weight) + ordered[high] * weight


def spread(values: Sequence[float]) -> Spread | None:
    """Summarise measurements; ``None`` where there are none."""
    if not values:
        return None
    return Spread(
        n=len(values),
        least=round(min(values), 3),
        p50=round(percentile(values, 0.50), 3),
        p95=round(percentile(values, 0.95), 3),
        p99=round(percentile(values, 0.99), 3),
        most=round(max(values), 3),
    )


def bare_words(text: str) -> list[str]:
    """Split a transcript into words in lower case without punctuation."""
    return re.sub(r"[^a-z' ]+", " ", text.lower().replace("-", " ")).split()


def word_errors(truth: Sequence[str], heard: Sequence[str]) -> int:
    """Count substitutions, deletions and insertions between two word sequences (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(truth, 1):
        above, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return row[-1]


@contextlib.contextmanager
def pinned() -> Iterator[int | None]:
    """Keep the calling thread on one core while the block runs; yield that core.

    Yields ``None`` where the system (macOS, Windows) offers no such thing.
    """
    cores = usable_cores()
    if not cores:
        yield None
        return
    # The last core: interrupts are commonly served by the first.
    core = max(cores)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, cores)


def memory_kind() -> str:
    """Say what ``resident_mib`` returns here: ``current``, ``peak`` or ``not measured``."""
    if Path("/proc/self/statm").exists():
        return "current"
    return "not measured" if sys.platform == "win32" else "peak"


def resident_mib() -> float | None:
    """Return the resident memory of this process in MiB; ``None`` where it cannot be had."""
    if sys.platform == "win32":
        return None
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Bytes on macOS, KiB elsewhere.
        return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 2)
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)
