"""Words that can be compared, whoever wrote them, and which were heard of which; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

__all__ = ["Alignment", "align", "spoken_words"]

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)
# fmt: on
_WRITTEN = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
_WORD = re.compile(r"[0-9]+|[a-z]+(?:'[a-z]+)*")


class Alignment(msgspec.Struct, frozen=True):
    """Hold which word of the truth became which word heard.

    ``heard`` has an index for each word of the truth, ``None`` where it was left out; ``right``
    says whether it is the same word. ``errors`` counts substitutions, deletions and insertions.
    """

    heard: tuple[int | None, ...]
    right: tuple[bool, ...]
    errors: int


def spoken_words(text: str) -> list[str]:
    """Split a text into words as they are said: lower case, no punctuation, numbers spelled.

    Numbers to 99 as one speaks them, longer ones digit by digit; ``Mr``, ``Mrs``, ``Dr`` in full.
    Both the truth and what a server says go through this.
    """
    words: list[str] = []
    for word in _WORD.findall(text.lower().replace("’", "'")):
        if word.isdigit():
            words.extend(_said(word))
        else:
            words.append(_WRITTEN.get(word, word))
    return words


def align(truth: Sequence[str], heard: Sequence[str]) -> Alignment:
    """Align two word sequences by the least number of errors (Levenshtein).

    Among equals a word is taken rather for heard (right or wrong) than for left out.
    """
    rows = [list(range(len(heard) + 1))]
    for i, word in enumerate(truth, 1):
        above = rows[-1]
        row = [i]
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
        rows.append(row)
    i, j = len(truth), len(heard)
    found: list[int | None] = [None] * i
    while i and j:
        if rows[i][j] == rows[i - 1][j - 1] + (truth[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            found[i] = j
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    right = tuple(
        at is not None and heard[at] == word for word, at in zip(truth, found, strict=True)
    )
    return Alignment(tuple(found), right, rows[-1][-1])


def _said(digits: str) -> list[str]:
    number = int(digits)
    if len(digits) > 2 or (len(digits) == 2 and number < 10):
        return [_ONES[int(digit)] for digit in digits]
    if number < len(_ONES):
        return [_ONES[number]]
    tens, ones = divmod(number, 10)
    return [_TENS[tens], *([_ONES[ones]] if ones else [])]
