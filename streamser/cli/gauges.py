"""Bars and gauges of text: exact in width, readable without colour."""

from __future__ import annotations

import itertools
import math

from rich.text import Text

__all__ = [
    "CATEGORY_STYLES",
    "FLOOR_DB",
    "category_text",
    "gauge",
    "level_meter",
    "number",
    "probability_bar",
]

CATEGORY_STYLES = {
    "neutral": "cyan",
    "happy": "yellow",
    "sad": "blue",
    "angry": "red",
    "unsure": "bright_black",
}
FLOOR_DB = -60.0

_FROM_LEFT = " ▏▎▍▌▋▊▉█"


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
