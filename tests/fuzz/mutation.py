"""Ways to spoil good bytes: blindly, as JSON, as lines of text, as a file of chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

__all__ = ["JSON_VALUES", "WORDS", "spoil_bytes", "spoil_json", "spoil_lines", "spoil_text"]

WORDS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
"""Numbers at which programs err, written over length fields."""

JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.0, -0.0,
    0.5, 1e308, -1e308, 1e-320, float("nan"), float("inf"), "", "x", "none", "\0", "\ud800",
    "\U0001f600", "x" * 600, "a/../../b", [], [None], {}, {"": {}}, {"type": "x"}, [[[[]]]],
)  # fmt: skip

_TEXTS = (
    "\0", "\n", "\r", "\t", "\x7f", "\x85", "\u2028", "\u0661", "²", "ß", "\ud800", "\udcff",
    "\ufeff", "%00", "%ff", "%ED%A0%80", "+", "&", "=", ";", "#", "?", "/", '"', "'", "\\u0000",
    "none", "nan", "inf", "-inf", "1e999", "-1", "0x10", "1_000", "9" * 25, "9" * 5000, "[" * 3000,
    "a." * 3000, "{" * 3000, '{"a":' * 3000, "true", "[[", "]]", '"""', "1979-05-27T07:32:00Z",
)  # fmt: skip


def spoil_bytes(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Flip bits, write numbers, cut, double, move, or splice with another case."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        # Most that can be broken stands at the head.
        reach = len(found) if rng.random() < 0.5 else min(len(found), 128)
        at = rng.randrange(reach) if reach else 0
        size = min(rng.choice((1, 2, 4, 8, 16, 64, 512)), max(1, len(found) - at))
        match rng.randrange(10):
            case 0 | 1 if found:
                found[at] ^= 1 << rng.randrange(8)
            case 2 if found:
                found[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 3 | 4:
                width = rng.choice((1, 2, 4, 8))
                word = rng.choice((*WORDS, len(found), rng.getrandbits(8 * width)))
                order = "little" if rng.random() < 0.5 else "big"
                found[at : at + width] = (word % 256**width).to_bytes(width, order)
            case 5:
                del found[at:]
            case 6:
                del found[at : at + size]
            case 7:
                found[at:at] = found[at : at + size] * rng.choice((1, 1, 2, 50))
            case 8:
                found[at:at] = rng.randbytes(size)
            case _:
                other = rng.choice(others) if others else bytes(found)
                start = rng.randrange(len(other)) if other else 0
                found[at:] = other[start:]
    return bytes(found)


def spoil_text(text: str, rng: Random) -> str:
    """Put strange characters in, take some away, double some."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        size = rng.choice((0, 1, 3, 20))
        match rng.randrange(4):
            case 0 | 1:
                text = text[:at] + rng.choice(_TEXTS) + text[at + size :]
            case 2:
                text = text[:at] + text[at + size :]
            case _:
                text = text[:at] + text[at : at + size] * rng.choice((2, 3, 40)) + text[at:]
    return text


def spoil_lines(text: str, rng: Random, others: Sequence[str]) -> str:
    """Spoil, double, drop or mix the lines of a text with those of others."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0 | 1:
                lines[at] = spoil_text(lines[at], rng)
            case 2:
                lines.insert(at, rng.choice(lines))
            case 3 if len(lines) > 1:
                del lines[at]
            case _:
                lines.insert(at, rng.choice(rng.choice(others).split("\n")))
    return "\n".join(lines[:200])


def spoil_json(text: str, rng: Random) -> str:
    """Put strange values into a document, move and drop members; now and then spoil the text."""
    if rng.random() < 0.15:
        return spoil_text(text, rng)
    try:
        tree = json.loads(text)
        for _ in range(rng.choice((1, 1, 2, 4))):
            tree = _spoil_tree(tree, rng)
        return json.dumps(tree, ensure_ascii=rng.random() < 0.8)
    except (ValueError, RecursionError):
        return spoil_text(text, rng)


def _spoil_tree(tree: Any, rng: Random) -> Any:
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    if not places or rng.random() < 0.02:
        return deepcopy(rng.choice(JSON_VALUES))
    holder, key = rng.choice(places)
    value = holder[key]
    match rng.randrange(8):
        case 0 | 1 | 2:
            holder[key] = deepcopy(rng.choice(JSON_VALUES))
        case 3:
            other, name = rng.choice(places)
            holder[key] = other[name] if _depth(other[name]) < 20 else None
        case 4 if isinstance(value, (int, float)):
            holder[key] = _near(value, rng)
        case 4 | 5 if isinstance(value, str):
            holder[key] = spoil_text(value, rng)
        case 6 if isinstance(holder, dict):
            holder[rng.choice(("type", "kind", "x", "", str(key) + "_"))] = value
        case _:
            del holder[key]
    # A copy: what was moved may hold itself by now.
    return json.loads(json.dumps(tree))


def _near(value: float, rng: Random) -> Any:
    change = rng.choice((1, -1, value, -2 * value, 1000, 0.5))
    return value + change if abs(value) < 1e300 else 0


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    keys: list[Any] = []
    if isinstance(tree, dict):
        keys = list(tree)
    elif isinstance(tree, list):
        keys = list(range(len(tree)))
    for key in keys:
        if len(places) > 500:
            return
        places.append((tree, key))
        _collect(tree[key], places)


def _depth(tree: Any) -> int:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return 1 + max((_depth(value) for value in inner), default=0)
