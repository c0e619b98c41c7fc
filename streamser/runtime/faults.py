"""Word what a model, or what reads its findings, has raised."""

from __future__ import annotations

import logging

from streamser.errors import StreamserError
from streamser.runtime.jobs import Fault

__all__ = ["fault_of", "memory_ran_out"]

logger = logging.getLogger(__name__)


def fault_of(error: Exception | SystemExit) -> Fault:
    """Turn an exception into the fault of a job; one that nobody foresaw is logged."""
    if isinstance(error, StreamserError):
        return Fault(error.code, str(error))
    logger.error("a job failed", exc_info=error)
    code = "out_of_memory" if memory_ran_out(error) else "internal_error"
    return Fault(code, f"{type(error).__name__}: {error}")


def memory_ran_out(error: BaseException) -> bool:
    """Return whether an exception says that there was no memory, of whichever device."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
