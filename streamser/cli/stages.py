"""Where a recording is played to: the view of a terminal, or plain lines."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, TextIO

from streamser.cli.sinks import advise, plain_line
from streamser.events import Event

if TYPE_CHECKING:
    from streamser.cli.view import ViewState

__all__ = ["PlainStage", "Stage", "open_stage"]


class Stage(Protocol):
    """Show the state of a playing recording."""

    def show(self, state: ViewState) -> None:
        """Show a state, and the utterance that has just been finished in it."""
        ...

    def advise(self, event: Event) -> None:
        """Tell people of an event that reports a fault or a loss."""
        ...

    def close(self) -> None:
        """Let go of the terminal."""
        ...


class PlainStage:
    """Write one line an utterance."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, state: ViewState) -> None:
        """Write the utterance that has just been finished."""
        if state.finished is not None:
            self._out.write(plain_line(state.finished) + "\n")
            self._out.flush()

    def advise(self, event: Event) -> None:
        """Tell people on stderr."""
        advise(event)

    def close(self) -> None:
        """Have nothing to let go."""


def open_stage(source: str) -> Stage:
    """Take the terminal, if stdout is one that can be drawn on; else write plain lines."""
    if sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from streamser.cli.screen import LiveScreen

        return LiveScreen(source)
    return PlainStage(sys.stdout)
