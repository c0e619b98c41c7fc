"""The live view on a terminal: the thin edge around the pure view."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

from streamser.cli.sinks import advice_of
from streamser.cli.view import Level, ViewState, hear, legend, render, render_utterance, update
from streamser.events import ErrorRaised, Event
from streamser.visible import printable, visible

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

__all__ = ["LiveScreen"]

_FRAMES_PER_S = 12


class _Reflowed(Live):
    """Take away the rows that a terminal made of ours when it became narrower.

    Rich goes up by as many rows as it drew; terminals break rows that no longer fit.
    """

    _drawn: Sequence[int] = ()

    def note(self, widths: Sequence[int]) -> None:
        """Remember how wide the rows are that are being drawn."""
        self._drawn = widths

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Go up by the rows that rich does not know of, clearing them."""
        processed = super().process_renderables(renderables)
        width = max(1, self.console.width)
        more = sum(max(0, (drawn - 1) // width) for drawn in self._drawn)
        if not (more and self.console.is_interactive and _breaks_rows()):
            return processed
        clear = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * more
        return [Control(ControlType.CARRIAGE_RETURN, *clear), *processed]


def _breaks_rows() -> bool:
    """Tell whether the terminal breaks rows, as most do; these few cut them off."""
    term = os.environ.get("TERM", "")
    return "XTERM_VERSION" not in os.environ and not term.startswith(("linux", "rxvt"))


class LiveScreen:
    """Show a session on a terminal: finished utterances scroll up, the present stays below.

    The terminal is taken at the first event: until then it is for what loading has to say.
    Events and sound replace a value each; the drawing thread reads both whole.
    """

    def __init__(self, source: str, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._state = ViewState(source=printable(source))
        self._level = Level()
        self._explained = False
        self._live = _Reflowed(
            self,
            console=self._console,
            refresh_per_second=_FRAMES_PER_S,
            transient=True,
            vertical_overflow="crop",
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawing = render(self._state, self._level, options.max_width)
        rows = console.render_lines(drawing, options, pad=False)
        self._live.note([Segment.get_line_length(row) for row in rows])
        for row in rows:
            yield from row
            yield Segment.line()

    def take(self, event: Event) -> None:
        """Follow an event."""
        event = visible(event)
        self.show(update(self._state, event))
        self.advise(event)

    def show(self, state: ViewState) -> None:
        """Show a state, and the utterance that has just been finished in it."""
        self._state = state
        self._live.start()
        if state.finished is not None:
            if state.finished.emotion is not None and not self._explained:
                self._explained = True
                self._console.print(legend())
            self._console.print(render_utterance(state.finished, self._console.width))

    def advise(self, event: Event) -> None:
        """Tell people of an event that reports a fault or a loss."""
        advice = advice_of(visible(event))
        if advice is not None:
            style = "red" if isinstance(event, ErrorRaised) else "yellow"
            self._console.print(Text(advice, style=style))

    def hear(self, samples: Samples) -> None:
        """Follow the sound."""
        self._level = hear(self._level, samples)

    def close(self) -> None:
        """Take the live part off the terminal; the utterances stay."""
        self._live.stop()
