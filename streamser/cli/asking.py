"""Signals that ask for the end: how often they were meant, and on event loops of every system."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal

from streamser.cli.ending import INTERRUPTED, leave_at_once

__all__ = ["Wish", "heed"]

_ECHO_S = 1.0
"""On a machine with much to do the two of one wish are so far apart at times."""


class Wish:
    """Tell a second wish for the end from an echo of the first; ``now`` is a clock in s.

    ``timeout`` sends its signal to a program and to the group that it is in; what a terminal sends
    to all is sent once more by programs that run others.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None

    def heard(self) -> Literal["first", "echo", "again"]:
        """Take a signal; return what it means."""
        if self._first is None:
            self._first = self._now()
            return "first"
        return "echo" if self._now() - self._first < _ECHO_S else "again"


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
