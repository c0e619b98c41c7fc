"""The live view of a terminal: how a state is drawn for a width, and the edge to the screen."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    Group,
    RenderableType,
    RenderResult,
)
from rich.control import Control
from rich.live import Live
from rich.rule import Rule
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from streamser.cli.console import clock
from streamser.cli.live.sinks import Shown, advice_of
from streamser.cli.live.view_state import FLOOR_DB, Level, Played, Speech, ViewState, hear, update
from streamser.events import EmotionBody, EmotionProvisional, ErrorRaised, Event
from streamser.export.utterances import Utterance, likeliest
from streamser.taxonomy import DIMENSIONS
from streamser.text import printable, visible, why_distrusted

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

CATEGORY_STYLES = {
    "neutral": "cyan",
    "happy": "yellow",
    "sad": "blue",
    "angry": "red",
    "unsure": "bright_black",
}

_FROM_LEFT = " ▏▎▍▌▋▊▉█"
NARROW = 110
"""Below this width an utterance takes two rows: words, and what they sounded like."""
TIGHT = 79
"""Below this width numbers take the place of gauges, and rows are broken: fit for 40 columns."""
_BAR = 8
_TIGHT_BAR = 6
_MARGIN = 11
_LAG = 8
_ROOM_FOR_PEAK = 60
_MARKS: Final[dict[Speech, tuple[str, str]]] = {
    "silent": ("○ silent  ", "bright_black"),
    "speaking": ("● speaking", "bold green"),
    "thinking": ("◌ thinking", "yellow"),
}
_FRAMES_PER_S = 12


def render(state: ViewState, level: Level, width: int) -> RenderableType:
    """Draw the live part: as many rows as ever at this width, so that nothing around it jumps.

    Six of them, or more where the terminal is too narrow for these.
    """
    return Group(
        Rule(style="bright_black", characters="─"),
        _sound(state, level, width),
        *_partial(state, width),
        *_delta(state, width),
        *_footer(state, width),
    )


def legend() -> Text:
    """Say what the gauges of an utterance mean, once, in words."""
    return Text(
        "V valence: unpleasant to pleasant · A arousal: calm to excited"
        " · D dominance: submissive to dominant",
        style="bright_black",
    )


def render_utterance(spoken: Utterance, width: int) -> RenderableType:
    """Draw a finished utterance: one row where there is room, else words above figures."""
    words, lag = _words(spoken), _lag(spoken)
    grid = Table.grid(padding=(0, 2, 0, 0), expand=False)
    grid.width = width
    grid.add_column(width=_MARGIN - 2, no_wrap=True, justify="right")
    grid.add_column(ratio=1, overflow="fold")
    time = Text(clock(spoken.start_ms), style="bright_black")
    if width >= NARROW:
        figures = Text() if spoken.emotion is None else _gauges(spoken.emotion)
        grid.add_column(no_wrap=True, width=figures.cell_len)
        grid.add_column(no_wrap=True, width=_LAG, justify="right")
        grid.add_row(time, words, figures, lag)
        return grid
    grid.add_row(time, words)
    if spoken.emotion is None:
        return grid
    margin = Text(" " * _MARGIN)
    *above, last = _emotion(spoken.emotion, width, besides=_MARGIN + _LAG)
    last = margin + last
    last.pad_right(width - last.cell_len - lag.cell_len)
    return Group(
        grid, *(_one_row(margin + row, width) for row in above), _one_row(last + lag, width)
    )


def _sound(state: ViewState, level: Level, width: int) -> Text:
    if state.played is not None:
        return _place(state, state.played, width)
    decibels = f" {level.rms_db:4.0f} dBFS  peak {level.peak_db:4.0f}  "
    if width < _ROOM_FOR_PEAK:
        decibels = f" {level.rms_db:3.0f} dB  "
    mark = Text(*_MARKS[state.speech])
    time = Text(f"  {clock(level.seconds * 1000):>9}", style="bright_black")
    rest = mark.cell_len + time.cell_len + len(decibels)
    meter = level_meter(level.rms_db, level.peak_db, min(48, max(8, width - rest)))
    return _one_row(meter + Text(decibels, style="bright_black") + mark + time, width)


def _place(state: ViewState, played: Played, width: int) -> Text:
    """Draw where the playing is: a bar, the time, and how fast it goes."""
    mark = Text(*_MARKS[state.speech])
    speed = "" if played.speed == 1 else f"  {played.speed:g}×"
    time = f"  {clock(played.at_ms)} of {clock(played.length_ms)}{speed}  "
    share = played.at_ms / played.length_ms if played.length_ms else 1.0
    room = min(48, max(8, width - mark.cell_len - len(time)))
    bar = probability_bar(share, room, "cyan")
    return _one_row(bar + Text(time, style="bright_black") + mark, width)


def _partial(state: ViewState, width: int) -> list[Text]:
    """Draw the end of what has been understood so far, on two rows.

    Where words are awaited, the first of them is the latest reading of a voice alone.
    """
    who = f"{state.speaker}: " if state.speaker else ""
    above = [_alone(state.alone[-1], who, width)] if state.alone else []
    if not (state.committed or state.revisable):
        hint = "…" if state.speech != "silent" else "waiting for speech"
        return [*above, Text(hint, style="bright_black"), Text()][:2]
    text = Text.assemble(
        (who, "bold"),
        state.committed,
        (state.revisable, "dim italic"),
    )
    before = Text("… ", style="bright_black")
    rows = _wrapped(text, width - before.cell_len)
    if len(rows) > 2 - len(above):
        rows = [before + rows[-2], rows[-1]] if not above else [before + rows[-1]]
    return [*above, *rows, Text()][:2]


def _alone(provisional: EmotionProvisional, who: str, width: int) -> Text:
    """Draw what a voice alone says of an utterance whose words are awaited, on one row."""
    emotion = provisional.emotion
    time = f"{clock(emotion.window.start_ms)} " if width >= _ROOM_FOR_PEAK else ""
    row = Text.assemble((f"{time}voice alone ", "bright_black"), (who, "bold"))
    row += _gauges(emotion) if width >= NARROW else _judged(emotion, _TIGHT_BAR)
    follow = Text("… words follow", style="bright_black")
    return _one_row(row + follow if row.cell_len + follow.cell_len <= width else row, width)


def _delta(state: ViewState, width: int) -> list[Text]:
    """Draw what the voice sounds like now, on one row, or two where a row is too short."""
    before = Text("now ", style="bright_black")
    tall = 1 if width >= TIGHT else 2
    if state.delta is None:
        return [Text()] * tall
    first, *more = _emotion(state.delta, width, besides=before.cell_len)
    rows = [before + first, *(Text(" " * before.cell_len) + row for row in more)]
    return [_one_row(row, width) for row in [*rows, Text()][:tall]]


def _footer(state: ViewState, width: int) -> list[Text]:
    """Draw what is at work, on one row, or two or three where a row is too short."""
    parts = [Text(state.source), Text(state.models)]
    if state.dropped:
        parts.insert(0, Text(state.dropped, style="yellow"))
    if state.mood is not None:
        mood = Text("mood ") + category_text(state.mood.category)
        share = state.mood.scores.get(state.mood.category)
        parts.insert(0, mood + Text(f" {share:.0%}") if share is not None else mood)
    footer = Text("  ·  ", style="bright_black").join(part for part in parts if part.plain)
    footer.style = "bright_black"
    tall = 1 if width >= TIGHT else 2 if width >= _ROOM_FOR_PEAK else 3
    if tall == 1:
        return [_one_row(footer, width)]
    rows = _wrapped(footer, width)
    if len(rows) > tall:
        rows[tall - 1] = _one_row(rows[tall - 1] + Text("…" * width), width)
    return [*rows, *[Text()] * tall][:tall]


def _words(spoken: Utterance) -> Text:
    said = _said(spoken)
    return Text.assemble((f"{spoken.speaker}: ", "bold"), said) if spoken.speaker else said


def _said(spoken: Utterance) -> Text:
    if spoken.fault is not None:
        return Text(f"not analysed: {spoken.fault}", style="red")
    if spoken.transcript:
        return Text(spoken.transcript)
    if spoken.distrusted:
        return Text(f"(words withheld: {why_distrusted(spoken.distrusted)})", style="bright_black")
    seconds = (spoken.end_ms - spoken.start_ms) / 1000
    hint = "no words understood" if spoken.transcript == "" else "speech"
    return Text(f"({hint}, {seconds:.1f} s)", style="bright_black")


def _emotion(emotion: EmotionBody, width: int, *, besides: int) -> list[Text]:
    """Write a judgement on one row, or on two where they do not leave room for ``besides``."""
    if width >= TIGHT:
        return [_gauges(emotion)]
    numbers = [number(name[0].upper(), getattr(emotion.dimensions, name)) for name in DIMENSIONS]
    rows = [_judged(emotion, _TIGHT_BAR), Text(" ").join(numbers)]
    whole = Text(" ").join(rows)
    return [whole] if whole.cell_len + besides <= width else rows


def _gauges(emotion: EmotionBody) -> Text:
    """Write category, probability and dimensions in cells of fixed width."""
    drawn = (gauge(name[0].upper(), getattr(emotion.dimensions, name)) for name in DIMENSIONS)
    return Text(" ").join([_judged(emotion, _BAR), *drawn])


def _judged(emotion: EmotionBody, bar: int) -> Text:
    """Write category and probability in cells of fixed width."""
    best = likeliest(emotion)
    style = CATEGORY_STYLES.get(best, "magenta")
    category = category_text(emotion.category)
    category.pad_right(max(0, 8 - category.cell_len))
    doubt = f" {best}?" if best != emotion.category else ""
    return Text.assemble(
        category,
        probability_bar(emotion.confidence, bar, style),
        f" {emotion.confidence:>4.0%}",
        (f"{doubt:<9}", "bright_black"),
    )


def _lag(spoken: Utterance) -> Text:
    return Text("" if spoken.lag_ms is None else f"{spoken.lag_ms:.0f} ms", style="bright_black")


def _wrapped(text: Text, width: int) -> list[Text]:
    return list(text.wrap(Console(width=width), width, overflow="fold"))


def _one_row(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text


def category_text(category: str) -> Text:
    """Write a category in its colour."""
    return Text(category, style=f"bold {CATEGORY_STYLES.get(category, 'magenta')}")


def probability_bar(probability: float, width: int, style: str) -> Text:
    """Draw a probability in [0, 1] as a bar of ``width`` cells, exact to an eighth of a cell."""
    eighths = round(min(max(probability, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (_FROM_LEFT[rest] if rest else "")
    return Text.assemble((bar, style), ("─" * (width - len(bar)), "bright_black"))


def gauge(name: str, value: float | None, arm: int = 3) -> Text:
    """Draw a value in [-1, 1] as a bar that grows from the middle to the left or to the right.

    The width is ``len(name) + 2 * arm + 2`` cells; a value that was not measured is a dash.
    """
    if value is None:
        return Text.assemble(
            (f"{name} ", "bright_black"), ("–".center(2 * arm + 1), "bright_black")
        )
    value = min(max(value, -1.0), 1.0)
    halves = round(abs(value) * arm * 2)
    full, half = divmod(halves, 2)
    if value < 0:
        bar = ("▐" if half else "") + "█" * full
        left, right = bar.rjust(arm, "·"), "·" * arm
    else:
        bar = "█" * full + ("▌" if half else "")
        left, right = "·" * arm, bar.ljust(arm, "·")
    text = Text(f"{name} ", style="bright_black")
    middle = Text(f"{left}│{right}", style="bright_black")
    middle.highlight_regex(r"[▐█▌]+", "magenta" if value < 0 else "green")
    return text + middle


def number(name: str, value: float | None) -> Text:
    """Write a value in [-1, 1] with one digit: a gauge for where bars have no room.

    The width is ``len(name) + 5`` cells; a value that was not measured is a dash.
    """
    text = Text(f"{name} ", style="bright_black")
    if value is None:
        return text + Text("–".center(4), style="bright_black")
    # Adding 0.0 turns -0.0 into 0.0.
    value = round(min(max(value, -1.0), 1.0), 1) + 0.0
    return text + Text(f"{value:+.1f}", style="magenta" if value < 0 else "green")


def level_meter(rms_db: float, peak_db: float, width: int) -> Text:
    """Draw sound level in dBFS from -60 to 0 as a bar of ``width`` cells with a mark at the peak.

    Green to -18 dB, yellow to -6 dB, red above.
    """
    loud, peak = _reach(rms_db, width), _reach(peak_db, width) - 1

    def cell(index: int) -> tuple[str, str]:
        here_db = FLOOR_DB * (1 - (index + 1) / width)
        colour = "green" if here_db <= -18 else "yellow" if here_db <= -6 else "red"
        if index < loud:
            return "■", colour
        return ("│", colour) if index == peak else ("·", "bright_black")

    runs = itertools.groupby(cell(index) for index in range(width))
    return Text.assemble(*((mark * len(list(run)), style) for (mark, style), run in runs))


def _reach(db: float, width: int) -> int:
    if not math.isfinite(db):
        return 0
    return min(width, max(0, round((1 - db / FLOOR_DB) * width)))


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
        self._shown = Shown()
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
            self._shown.add(state.finished)

    def advise(self, event: Event) -> None:
        """Tell people of an event that reports a fault or a loss, or who spoke after all."""
        event = visible(event)
        for line in self._shown.lines(event):
            self._console.print(Text(line, style="cyan"))
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
