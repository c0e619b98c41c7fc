"""How a recogniser's text is followed: words that stay, and loops that nobody can have said.

Stable partials: words that two hypotheses in a row agree on are never taken back. Where a script
has no spaces between words, characters stand for words. LocalAgreement-2 (Liu et al. 2020,
"Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis
Selection", §3.2; Macháček et al. 2023, "Turning Whisper into Real-Time Transcription System", §2),
as a pure function over immutable state. Hypotheses are those of one utterance from its first
sample on, so each repeats what the ones before it said.

Text alone, so that whoever reads recordings need not load what sound needs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import accumulate

import msgspec

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
