"""A transcript in pieces that have times: words, or parts of scripts without spaces."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from streamser.events import WordTiming
from streamser.export.text import flat
from streamser.speech.hypothesis import units

__all__ = ["Piece", "pieces_of", "width"]

_NEVER_FIRST: Final = frozenset("ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶゝゞヽヾ々ๆฯໆ")
"""Signs that no line begins with: they belong to the one before."""
_LEADING: Final = frozenset("เแโใไເແໂໃໄ")
"""Vowels of Thai and Lao that stand before the consonant they belong to."""


class Piece(msgspec.Struct, frozen=True):
    """Hold what is never cut, with the blank before it, and when it was said in ms."""

    start_ms: int
    end_ms: int
    text: str


def width(text: str) -> int:
    """Return how many columns a text takes: two for a wide character (Unicode's UAX #11)."""
    return sum(_columns(each) for each in text)


def pieces_of(text: str, words: Sequence[WordTiming]) -> list[Piece]:
    """Cut a flat text at its words; joined, the pieces are the text again.

    What recognisers time is not always a word: ``two`` and ``-bedroom``, ``d`` and ``'avoir``,
    ``3`` and ``.5`` are one piece each, since no blank is between them. In scripts without
    spaces a piece ends where what was timed does. No pieces where the words are not those of
    the text, whatever the blanks.
    """
    spans = _spans(text, words)
    if not spans:
        return []
    starts = {start for start, _, _ in spans}
    cuts = [place for place in _breaks(text) if _past_blanks(text, place) in starts]
    return list(_timed(text, [0, *cuts, len(text)], spans))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _spans(text: str, words: Sequence[WordTiming]) -> list[tuple[int, int, WordTiming]]:
    """Find the words in the text, in their order; none where they are not all of it."""
    spans = []
    place = 0
    for word in words:
        said = flat(word.word)
        if not said:
            continue
        place = _past_blanks(text, place)
        if not text.startswith(said, place):
            return []
        spans.append((place, place + len(said), word))
        place += len(said)
    return spans if not text[place:].strip() else []


def _past_blanks(text: str, place: int) -> int:
    return len(text) - len(text[place:].lstrip())


def _breaks(text: str) -> Iterator[int]:
    """Yield where a line may end before: blanks, and characters of scripts without spaces."""
    place = 0
    for unit in units(text):
        letter = unit.lstrip()[:1]
        bound = letter in _NEVER_FIRST or text[place - 1 : place] in _LEADING
        if place and (unit[:1].isspace() or not bound):
            yield place
        place += len(unit)


def _timed(
    text: str, cuts: Sequence[int], spans: Sequence[tuple[int, int, WordTiming]]
) -> Iterator[Piece]:
    spoken = deque(spans)
    for begin, end in pairwise(cuts):
        held = []
        while spoken and spoken[0][0] < end:
            held.append(spoken.popleft()[2])
        yield Piece(held[0].start_ms, held[-1].end_ms, text[begin:end])
