"""Make text fit for formats that know lines, and none of the odder characters."""

from __future__ import annotations

import unicodedata

__all__ = ["flat"]


def flat(text: str) -> str:
    """Return text on one line: blanks and line breaks become one blank, controls go.

    So do surrogates and non-characters, which neither UTF-8 files nor XML can hold.
    """
    kept = "".join(each for each in text if each.isspace() or not _is_control(each))
    return " ".join(kept.split())


def _is_control(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character) in ("Cc", "Cs") or code & 0xFFFE == 0xFFFE
