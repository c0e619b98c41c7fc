"""Make text fit for formats: for lines without the odder characters, and for tables."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["as_text", "direction_mark", "flat", "said_by", "why_distrusted"]

_FORMULA: Final = re.compile("'*[-=+@\\t\\r\\n\uff0d\uff1d\uff0b\uff20]")
"""What table programs may take for a formula, in its wide forms too."""

_DISTRUSTED: Final = {
    "too_quiet": "too quiet",
    "no_speech": "probably no speech",
    "low_logprob": "too unclear",
    "repetitive": "the same words over and over",
    "too_fast": "more words than anybody says in that time",
}


def why_distrusted(code: str) -> str:
    """Return in plain words why a transcript is not trusted; an unknown code with blanks."""
    return _DISTRUSTED.get(code, code.replace("_", " "))


def flat(text: str) -> str:
    """Return text on one line: blanks and line breaks become one blank, controls go.

    So do surrogates and non-characters, which neither UTF-8 files nor XML can hold, and what
    opens an order of its own (embeddings, overrides, isolates): left open it turns the rest around.
    """
    kept = "".join(each for each in text if each.isspace() or not _is_control(each))
    return " ".join(kept.split())


def as_text(text: str) -> str:
    """Return text that no table program takes for a formula: an apostrophe before what looks so.

    Names and words come from anybody. A text that begins with apostrophes and then so gets one
    more; ``said_by`` takes it away again.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def said_by(cell: str) -> str:
    """Return the text that ``as_text`` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def direction_mark(line: str, words: str) -> str:
    """Return the mark to put before a line, so that it has the direction of the words in it.

    Players take a line's direction from its first letter with one, which may be that of a label
    or a name; then the full stop of Hebrew or Arabic words stands at the wrong end. Empty where
    the line has that direction anyway.
    """
    wanted = _direction(words)
    if wanted is None or wanted == _direction(line):
        return ""
    return "\u200f" if wanted == "R" else "\u200e"


def _direction(text: str) -> str | None:
    """Return L or R, the direction of the first letter that has one (Unicode's UAX #9, P2)."""
    kinds = {"L": "L", "R": "R", "AL": "R"}
    return next(
        (kinds[kind] for kind in map(unicodedata.bidirectional, text) if kind in kinds), None
    )


def _is_control(character: str) -> bool:
    code = ord(character)
    if unicodedata.category(character) in ("Cc", "Cs") or code & 0xFFFE == 0xFFFE:
        return True
    return 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
