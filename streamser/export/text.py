"""Make text fit for formats: for lines without the odder characters, and for tables."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["as_text", "flat", "said_by"]

_FORMULA: Final = re.compile("'*[-=+@\\t\\r\\n\uff0d\uff1d\uff0b\uff20]")
"""What table programs may take for a formula, in its wide forms too."""


def flat(text: str) -> str:
    """Return text on one line: blanks and line breaks become one blank, controls go.

    So do surrogates and non-characters, which neither UTF-8 files nor XML can hold.
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


def _is_control(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character) in ("Cc", "Cs") or code & 0xFFFE == 0xFFFE
