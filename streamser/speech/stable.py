"""Stable partials: words that two hypotheses in a row agree on are never taken back.

Where a script has no spaces between words, characters stand for words.

LocalAgreement-2 (Liu et al. 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection", §3.2; Macháček et al. 2023, "Turning Whisper into
Real-Time Transcription System", §2), as a pure function over immutable state. Hypotheses are
those of one utterance from its first sample on, so each repeats what the ones before it said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import msgspec

__all__ = ["Stable", "agree", "committed_text", "is_unspaced", "revisable_text", "units"]

_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff"  # Han
    "\uf900-\ufaff\U00020000-\U0003ffff"  # Han, rarer
    "\u3031-\u3035\u3041-\u312f\u31a0-\u31ff\uff66-\uff9f"  # kana, bopomofo
    "]"
)
_STACKERS = frozenset("\u1039\u17d2")
"""Signs of Myanmar and Khmer that put the next consonant under the one before."""


class Stable(msgspec.Struct, frozen=True):
    """Hold what is settled of an utterance, and what the latest hypothesis adds to it.

    Both hold ``units``: joined as they are, one behind the other, they are the text.
    ``committed`` only ever grows, unit by unit at its end; ``pending`` is replaced by every
    hypothesis. Start with ``Stable()``.
    """

    committed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


def units(text: str) -> list[str]:
    """Split a text into words, or characters in scripts without spaces; nothing is lost.

    Each unit carries the whitespace before it and the punctuation behind it, so that
    ``"".join(units(text)) == text.strip()``. A character comes with its combining marks; what
    stands in another script between such characters is a word.
    """
    found: list[str] = []
    gap, last, alone = "", "", False
    for letter in text.strip():
        if letter.isspace():
            gap += letter
            continue
        if gap or not found or _begins_unit(last, letter, alone):
            found.append(gap + letter)
            gap = ""
            alone = is_unspaced(letter)
        else:
            found[-1] += letter
            alone = alone or is_unspaced(letter)
        last = letter
    return found


def is_unspaced(letter: str) -> bool:
    """Return whether a character is of a script that puts no spaces between words."""
    return _UNSPACED.match(letter) is not None


def agree(previous: Stable, hypothesis: Sequence[str]) -> Stable:
    """Take in the next hypothesis: commit what it shares with the last one, keep the rest open.

    ``hypothesis`` are the ``units`` of a text. They are compared without case and punctuation; a
    committed one keeps the spelling in which it was first committed, a pending one takes the
    latest.

    The tail (what the hypothesis says after the committed words) is found by alignment: it
    begins after that prefix of the hypothesis whose edit distance to the committed words is
    smallest; among equals the prefix as long as the committed words wins, then the longer. So
    a hypothesis that contradicts a committed word, leaves one out or slips one in revises only
    what comes after, and nothing committed is said twice.
    """
    words = tuple(hypothesis)
    tail = words[_aligned_length(_keys(previous.committed), _keys(words)) :]
    agreed = _shared_prefix(_keys(previous.pending), _keys(tail))
    return Stable(previous.committed + tail[:agreed], tail[agreed:])


def committed_text(stable: Stable) -> str:
    """Return the settled text."""
    return "".join(stable.committed)


def revisable_text(stable: Stable) -> str:
    """Return what the next hypothesis may still change, with the space before it, if any."""
    return "".join(stable.pending)


def _begins_unit(last: str, letter: str, alone: bool) -> bool:
    """Return whether a letter right behind another begins a unit of its own.

    ``alone``: the unit so far holds a character of a script without spaces.
    """
    kind = unicodedata.category(letter)
    if kind[0] == "M" or kind == "Cf" or last in _STACKERS:
        return False
    if unicodedata.category(last) in ("Ps", "Pi"):
        return False
    if is_unspaced(letter):
        return True
    return alone and (kind[0] in "LN" or kind in ("Ps", "Pi"))


def _keys(words: Sequence[str]) -> list[str]:
    """Strip words of what recognisers change their mind about: case, punctuation, symbols."""
    return [_key(word) for word in words]


def _key(word: str) -> str:
    folded = unicodedata.normalize("NFKC", word).casefold()
    # Marks are kept: in Indic scripts they are vowels, without which different words collide.
    kept = "".join(letter for letter in folded if unicodedata.category(letter)[0] in "LNM")
    # A word of nothing but punctuation is at least equal to itself.
    return kept or folded


def _shared_prefix(left: Sequence[str], right: Sequence[str]) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


def _aligned_length(committed: Sequence[str], words: Sequence[str]) -> int:
    """Return how many of ``words`` stand for the committed words (see ``agree``)."""
    size = len(committed)
    if list(words[:size]) == list(committed):
        return size
    # One row of the Levenshtein table at a time; row[j] is the distance between the committed
    # words so far and the first j words of the hypothesis.
    row = list(range(len(words) + 1))
    for i, settled in enumerate(committed, 1):
        above, row = row, [i]
        for j, word in enumerate(words, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (settled != word)))
    return min(range(len(row)), key=lambda j: (row[j], abs(j - size), -j))
