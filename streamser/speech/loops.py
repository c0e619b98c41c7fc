"""Loops in recognised text: the same again and again, more of it than anybody can say."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from itertools import accumulate

import msgspec

from streamser.speech.stable import is_unspaced

__all__ = ["Loop", "find_loops", "is_ideograph", "kept_words", "letters_of", "without"]

_FEWEST = 4
"""Times in a row from which on something is a loop: "no, no, no" is emphasis."""
_LONGEST = 30
"""Units of the longest phrase that is looked for."""
_SYLLABLES = 8.0
"""A second: nobody repeats syllables faster (the diadochokinetic rate is 5 to 7)."""
_LETTERS = 25.0
_KANA = 12.0
"""A second; in plain Japanese about 8."""


class Loop(msgspec.Struct, frozen=True):
    """Hold a stretch of the ``units`` of a text, from ``start`` to before ``end``.

    It begins with a phrase of ``length`` units, 0 where the unit itself is one long loop
    ("aaaaaaaa"); ``seconds`` is the least time it could be said in.
    """

    start: int
    end: int
    length: int
    seconds: float


def find_loops(parts: Sequence[str], counts: Callable[[Loop], bool]) -> list[Loop]:
    """Return the loops among the units of a text that ``counts`` says count.

    They do not overlap, and are in order; shorter phrases are looked for first.
    """
    keys = [letters_of(part.casefold()) or part.strip() for part in parts]
    free = [True] * len(keys)
    found: list[Loop] = []

    def take(loop: Loop) -> None:
        if all(free[loop.start : loop.end]) and counts(loop):
            found.append(loop)
            free[loop.start : loop.end] = [False] * (loop.end - loop.start)

    for i, key in enumerate(keys):
        if (run := _longest_run(key)) >= _FEWEST:
            take(Loop(i, i + 1, 0, run / (2 * _SYLLABLES)))
    least = list(accumulate(map(_least_seconds, keys), initial=0.0))
    for length in range(1, min(_LONGEST, len(keys) // _FEWEST) + 1):
        equal = 0
        for i in range(len(keys) - length + 1):
            if i + length < len(keys) and keys[i] == keys[i + length]:
                equal += 1
                continue
            if equal >= (_FEWEST - 1) * length:
                # What is left over at the end of the text is a repetition that broke off.
                rest = 0 if i + length == len(keys) else equal % length
                start, end = i - equal, i + length - rest
                take(Loop(start, end, length, least[end] - least[start]))
            equal = 0
    return sorted(found, key=lambda loop: loop.start)


def without(parts: Sequence[str], loops: Sequence[Loop]) -> list[bool]:
    """Return of each unit whether it stays: of a loop its first phrase does, and all around it."""
    stays = [True] * len(parts)
    for loop in loops:
        for i in range(loop.start + loop.length, loop.end):
            stays[i] = False
    return stays


def kept_words(words: Sequence[str], parts: Sequence[str], stays: Sequence[bool]) -> list[bool]:
    """Return of each word whether it stays, as the units do that it stands for.

    None stays where the words are not those of the text.
    """
    letters = [stay for part, stay in zip(parts, stays, strict=True) for _ in "".join(part.split())]
    sizes = [len("".join(word.split())) for word in words]
    if sum(sizes) != len(letters):
        return [False] * len(words)
    ends = list(accumulate(sizes))
    return [
        2 * sum(letters[end - size : end]) > size for size, end in zip(sizes, ends, strict=True)
    ]


def letters_of(text: str) -> str:
    """Return a text without spaces, punctuation and symbols."""
    return "".join(letter for letter in text if unicodedata.category(letter)[0] in "LNM")


def is_ideograph(letter: str) -> bool:
    """Tell a Han character or kana, which stands for a syllable or more."""
    return "\u3040" <= letter <= "\u30ff" or "\u3400" <= letter <= "\u9fff"


def _least_seconds(key: str) -> float:
    """Return the least time that a unit can be said in when it is repeated."""
    if key and is_ideograph(key[0]):
        return 1 / (_KANA if "\u3040" <= key[0] <= "\u30ff" else _SYLLABLES)
    if key and is_unspaced(key[0]):
        return len(key) / _LETTERS
    return max(1 / _SYLLABLES, len(key) / _LETTERS)


def _longest_run(key: str) -> int:
    """Return how many letters the longest run of the same 1 to 4 letters in a word has."""
    longest = 0
    for length in range(1, 5):
        equal = 0
        for one, later in zip(key, key[length:], strict=False):
            equal = equal + 1 if one == later else 0
            if equal >= (_FEWEST - 1) * length:
                longest = max(longest, equal + length)
    return longest
