"""Names of people and meetings: what looks the same is the same, whoever typed it."""

from __future__ import annotations

import unicodedata
from typing import Final

from streamser.errors import ConfigError

__all__ = ["JOINERS", "MARKS", "read_name"]

JOINERS: Final = frozenset("\u200c\u200d")
"""Zero-width non-joiner and joiner: letters of Persian, Sinhala and other scripts need them."""
MARKS: Final = frozenset("\u200e\u200f\u061c")
"""Marks of direction, which begin nothing that would have to be ended."""

_LONGEST: Final = 80
_LONGEST_TYPED: Final = 5 * _LONGEST
"""Characters before they are composed; more is not looked at."""
_UNSEEN: Final = (
    MARKS
    | frozenset("\u00ad\u034f\u200b\u2060\u3164\ufeff\uffa0")
    | frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
)
_JOINED: Final = frozenset(("Lo", "Lm", "So", "Sk", "Sm"))
"""Letters without case, as those of scripts whose letters join, and symbols, as emoji are."""
_FLAG: Final = "\U0001f3f4"
_TAGS: Final = frozenset(map(chr, range(0xE0020, 0xE0080)))
"""What makes a flag that of England, Scotland or Wales."""


def read_name(name: str, param: str) -> str:
    """Return a name of a speaker, a meeting or a session as it is kept and compared.

    Composed (Unicode's NFC), blanks of all kinds as single spaces, without what is not seen:
    marks of direction, soft hyphens, joiners that join nothing. Joiners of words and of emoji
    stay. Raises ``ConfigError``, which names ``param``, for what is no name of 1 to 80
    printable characters.
    """
    kept = ""
    if len(name) <= _LONGEST_TYPED:
        seen = "".join(each for each in name.strip() if each not in _UNSEEN)
        kept = _composed(_without_idle(_composed(_spaced(seen))))
    printable = all(each.isprintable() or each in JOINERS or each in _TAGS for each in kept)
    if not 1 <= len(kept) <= _LONGEST or not printable:
        raise ConfigError(f"{param}: a name has 1 to {_LONGEST} printable characters")
    return kept


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _spaced(text: str) -> str:
    """Make one space of every run of blanks; line ends are no blanks, and no name has them."""
    blanks = (" " if unicodedata.category(each) == "Zs" else each for each in text)
    return " ".join(part for part in "".join(blanks).split(" ") if part)


def _without_idle(text: str) -> str:
    """Leave out joiners and tags that change nothing: two names would look the same."""
    kept: list[str] = []
    for index, each in enumerate(text):
        if each in JOINERS and not (_joins(kept) and _is_joined(text[index + 1 : index + 2])):
            continue
        if each in _TAGS and not (kept and (kept[-1] == _FLAG or kept[-1] in _TAGS)):
            continue
        kept.append(each)
    return "".join(kept)


def _joins(before: list[str]) -> bool:
    """Return whether the last letter, which may bear marks, is one that joiners change."""
    base = next((each for each in reversed(before) if unicodedata.category(each)[0] != "M"), "")
    return bool(base) and unicodedata.category(base) in _JOINED


def _is_joined(after: str) -> bool:
    kind = unicodedata.category(after) if after else ""
    return kind[:1] == "M" or kind in _JOINED
