"""What nobody has foreseen: caught where it happens, and told without what people have said."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from streamser.errors import StreamserError

__all__ = ["SORRY", "describe", "supervised"]

SORRY: Final = "the server has met a fault of its own; the connection ends, begin a new stream"
"""What a client is told, whatever it was."""

_PLACES: Final = 4


def supervised(
    work: Callable[[], Coroutine[Any, Any, None]], on_fault: Callable[[Exception], None]
) -> asyncio.Task[None]:
    """Begin a task; ``on_fault`` is called at once with what it raises."""
    return asyncio.create_task(_guard(work, on_fault))


def describe(error: BaseException) -> str:
    """Say in one line what failed and where, the innermost place first.

    Of errors that are not our own the message is left out: it may quote a token or a transcript.
    """
    kind = type(error).__name__
    if isinstance(error, StreamserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)]
    return f"{kind} at {' < '.join(places)}" if places else kind


async def _guard(
    work: Callable[[], Coroutine[Any, Any, None]], on_fault: Callable[[Exception], None]
) -> None:
    try:
        await work()
    except Exception as error:
        on_fault(error)
