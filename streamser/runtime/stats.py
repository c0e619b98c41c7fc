"""What a device thread has done, counted from several threads."""

from __future__ import annotations

import threading

import msgspec
from msgspec.structs import replace

__all__ = ["Tally", "WorkerStats"]


class WorkerStats(msgspec.Struct, frozen=True):
    """Count what the device thread has done; ``busy_s`` is time inside the models.

    ``faults`` are jobs without a result, ``retries`` jobs tried again; ``died``, ``stuck`` and
    ``not_loaded`` say how often the thread was lost, and models could not be loaded.
    """

    jobs: int = 0
    batches: int = 0
    largest_batch: int = 0
    busy_s: float = 0.0
    faults: int = 0
    retries: int = 0
    died: int = 0
    stuck: int = 0
    not_loaded: int = 0

    def __add__(self, other: WorkerStats) -> WorkerStats:
        """Count two threads together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        largest = max(self.largest_batch, other.largest_batch)
        return WorkerStats(**{**sums, "largest_batch": largest})


class Tally:
    """Add to the counts; any thread may."""

    def __init__(self) -> None:
        self.stats = WorkerStats()
        self._lock = threading.Lock()

    def add(self, *, batch: int = 0, **more: float) -> None:
        """Add to counts by name; ``batch`` is the size of one that was done."""
        with self._lock:
            stats = self.stats
            counts = {name: getattr(stats, name) + amount for name, amount in more.items()}
            self.stats = replace(
                stats,
                jobs=stats.jobs + batch,
                batches=stats.batches + bool(batch),
                largest_batch=max(stats.largest_batch, batch),
                **counts,
            )
