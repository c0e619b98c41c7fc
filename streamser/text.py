"""Text that others wrote: names made comparable, and made fit for terminals, lines and tables."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final, TypeVar

import msgspec

from streamser.errors import ConfigError

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
_T = TypeVar("_T")
_FORMULA: Final = re.compile("'*[-=+@\\t\\r\\n\uff0d\uff1d\uff0b\uff20]")
"""What table programs may take for a formula, in its wide forms too."""
_DISTRUSTED: Final = {
    "too_quiet": "too quiet",
    "no_speech": "probably no speech",
    "low_logprob": "too unclear",
    "repetitive": "the same words over and over",
    "too_fast": "more words than anybody says in that time",
}


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


def read_place(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; the brackets of an IPv6 address are left out.

    Raises ``ValueError``, also for a port that is none: 0 to 65535 are.
    """
    host, _, port = text.rpartition(":")
    number = int(port[:6]) if port.isascii() and port.isdigit() else -1
    if not host or any(sign.isspace() for sign in host) or not 0 <= number < 65_536:
        raise ValueError("no place on a network")
    return host.strip("[]"), number


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
