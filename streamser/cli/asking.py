"""Signals that ask what runs on an event loop to end, on every system."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType

from streamser.cli.ending import INTERRUPTED, leave_at_once

__all__ = ["heed"]


def heed(name: str, act: Callable[[], None]) -> None:
    """Call a function on the running loop whenever a signal of that name comes.

    In the main thread alone. After the loop has ended the signal ends the program at once.
    """
    loop = asyncio.get_running_loop()
    number = getattr(signal, name)

    def ask(number: int, frame: FrameType | None) -> None:
        try:
            loop.call_soon_threadsafe(act)
        except RuntimeError:
            leave_at_once(INTERRUPTED)

    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:
        # The loops of Windows know no signals; they are woken by them all the same.
        signal.signal(number, ask)
