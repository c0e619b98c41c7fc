"""Pieces of the page: escaped text, times, icons of categories, signs of speakers; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Final

from streamser.text import flat

# The shapes and colours of the live page, in a box of 16 x 16: told apart without colour.
_SHAPES: Final = {
    "neutral": '<circle cx="8" cy="8" r="5" class="line"/>',
    "happy": '<path d="M8 1.5l1.9 4.3 4.6.5-3.4 3.1.9 4.6L8 11.7 4 14l.9-4.6L1.5 6.3l4.6-.5z"/>',
    "sad": '<path d="M8 1.5c2.6 3.3 4.4 5.6 4.4 8.1a4.4 4.4 0 0 1-8.8 0C3.6 7.1 5.4 4.8 8 1.5z"/>',
    "angry": '<path d="M8 2l6.6 11.8H1.4z"/>',
    "unsure": '<circle cx="8" cy="8" r="5.2" class="line dashed"/>',
    "other": '<path d="M8 1.8L14.2 8 8 14.2 1.8 8z"/>',
}
_COLOURS: Final = 10
_FARTHEST_MS: Final = 253_402_300_799_000  # the end of the year 9999

SYMBOLS: Final = (
    '<svg class="hidden" aria-hidden="true" focusable="false">'
    + "".join(
        f'<symbol id="i-{name}" viewBox="0 0 16 16">{shape}</symbol>'
        for name, shape in _SHAPES.items()
    )
    + "</svg>"
)
"""What ``icon`` refers to; once in a page."""


def text(words: object) -> str:
    """Escape anything for HTML text and attributes; on one line, without control characters."""
    return escape(flat(str(words)), quote=True)


def style_name(category: str | None) -> str:
    """Return the name under which a category has its colour and shape."""
    if category is None:
        return "none"
    return category if category in _SHAPES else "other"


def icon(category: str | None) -> str:
    """Draw the icon of a category; a word has to stand beside it."""
    name = "unsure" if category is None else style_name(category)
    return f'<svg class="icon" aria-hidden="true"><use href="#i-{name}"/></svg>'


def badge(category: str, more: str = "") -> str:
    """Write a category: shape and word, and what is known besides."""
    after = f" <b>{text(more)}</b>" if more else ""
    return (
        f'<span class="badge" data-category="{style_name(category)}">{icon(category)}'
        f"<span>{text(category)}</span>{after}</span>"
    )


def sign(index: int, name: str) -> str:
    """Draw the round sign of the speaker who came as number ``index``."""
    return (
        f'<span class="sign" data-speaker="{index % _COLOURS}" aria-hidden="true">'
        f"{text(monogram(name))}</span>"
    )


def monogram(name: str) -> str:
    """Return the initials of a name, one or two characters."""
    words = flat(name).split()
    if len(words) > 1:
        return (words[0][0] + words[-1][0]).upper()
    return (words[0][:2] if words else "?").upper()


def clock(ms: float) -> str:
    """Write a place in the session, such as 1:02:03 or 0:07."""
    seconds = max(0, int(ms)) // 1000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours}:{minutes:02d}:{seconds % 60:02d}"
    return f"{minutes}:{seconds % 60:02d}"


def length(ms: float) -> str:
    """Write a length of time with its units, such as ``1 h 2 min``, ``1 min 32 s`` or ``4.2 s``."""
    if ms < 50:
        return "0 s"
    if ms < 9_950:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def day(unix_ms: int | None) -> str:
    """Write when it was, in UTC; the page tells it in the reader's own time zone."""
    if unix_ms is None or not 0 <= unix_ms <= _FARTHEST_MS:
        return ""
    when = datetime.fromtimestamp(unix_ms / 1000, tz=UTC)
    months = "January February March April May June July August September October November December"
    month = months.split()[when.month - 1]
    return (
        f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}">{when.day} {month} {when.year},'
        f" {when:%H:%M} UTC</time>"
    )


def percent(share: float) -> str:
    """Write a share of 1 in per cent."""
    return f"{round(100 * share)} %"


def signed(value: float | None) -> str:
    """Write a dimension with its sign, or a dash where it was not measured."""
    if value is None:
        return "–"
    written = f"{abs(value):.2f}"
    return written if written == "0.00" else f"{'−' if value < 0 else '+'}{written}"
