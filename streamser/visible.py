"""Text of others as it may go to a terminal: nothing in it moves the cursor or reverses a line."""

from __future__ import annotations

import unicodedata
from typing import Any, TypeVar

import msgspec

from streamser.names import JOINERS, MARKS

__all__ = ["printable", "visible"]

_T = TypeVar("_T")


def printable(text: str) -> str:
    """Write line ends, control characters and broken bytes, as file names hold them, as escapes.

    Blanks of all widths, joiners and marks of direction stay: names in many scripts have them.
    Overrides of direction do not: they make a text look like another.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign if _is_printable(sign) else sign.encode("unicode_escape").decode() for sign in text
    )


def visible(value: _T) -> _T:
    """Return an event, or a part of one, with every text in it as ``printable`` writes it."""
    return _visible(value)  # type: ignore[no-any-return]


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        changed = {
            name: kept for name, each in fields.items() if (kept := _visible(each)) is not each
        }
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, tuple | list):
        parts = [_visible(each) for each in value]
        same = all(one is other for one, other in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    if isinstance(value, dict):
        pairs = {_visible(key): _visible(each) for key, each in value.items()}
        return value if pairs == value else pairs
    return value


def _is_printable(sign: str) -> bool:
    if sign.isprintable() or sign in JOINERS or sign in MARKS:
        return True
    return unicodedata.category(sign) == "Zs"
