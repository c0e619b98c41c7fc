"""The time that the device thread and its watchdog go by."""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["SYSTEM", "Timing"]


class Timing(Protocol):
    """Tell the time, and wait; tests bring one whose hands they move."""

    def now(self) -> float:
        """Return the time in s; never set back or forward."""
        ...

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait for a notice, or until a time; may return early. The condition is held."""
        ...


class _System:
    def now(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        condition.wait(None if until is None else max(0.0, until - time.monotonic()))


SYSTEM: Timing = _System()
"""The monotonic clock of this machine, which no change of date or time touches."""
