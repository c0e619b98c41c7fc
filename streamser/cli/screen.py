"""The live view on a terminal: the thin edge around the pure view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from streamser.cli.sinks import advice_of
from streamser.cli.view import Level, ViewState, hear, render, render_utterance, update
from streamser.events import ErrorRaised, Event

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

__all__ = ["LiveScreen"]

_FRAMES_PER_S = 12


class LiveScreen:
    """Show a session on a terminal: finished utterances scroll up, the present stays below.

    Events and sound replace a value each; the drawing thread reads both whole.
    """

    def __init__(self, source: str, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._state = ViewState(source=source)
        self._level = Level()
        self._live = Live(
            self,
            console=self._console,
            refresh_per_second=_FRAMES_PER_S,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.start()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield render(self._state, self._level, options.max_width)

    def take(self, event: Event) -> None:
        """Follow an event."""
        self._state = update(self._state, event)
        if self._state.finished is not None:
            self._console.print(render_utterance(self._state.finished, self._console.width))
        advice = advice_of(event)
        if advice is not None:
            style = "red" if isinstance(event, ErrorRaised) else "yellow"
            self._console.print(Text(advice, style=style))

    def hear(self, samples: Samples) -> None:
        """Follow the sound."""
        self._level = hear(self._level, samples)

    def close(self) -> None:
        """Take the live part off the terminal; the utterances stay."""
        self._live.stop()
