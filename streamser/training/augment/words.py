"""Words as a recogniser gets them: some missing, some taken for others that sound alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Letters and digits, with apostrophes inside of words, which recognisers write too.
_SPOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

_ALIKE = 8
_LENGTH_APART = 2

# Letters of nearly one sound become one letter, somewhat as in Soundex; for English.
_SPELLINGS = (
    ("ght", "t"), ("gh", "g"), ("ph", "f"), ("kn", "n"), ("wr", "r"), ("wh", "w"), ("ck", "k"),
    ("ce", "se"), ("ci", "si"), ("cy", "si"),
)  # fmt: skip
_SOUNDS = str.maketrans("bvcqgxzdyw", "pfkkksstiu")


def vocabulary_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the words of some texts in lower case, each once, sorted; numbers are left out."""
    words = {word.lower() for text in texts for word in _WORD.findall(text)}
    return tuple(sorted({word.replace("’", "'") for word in words}))


def plain(text: str) -> str:
    """Return a text in lower case without punctuation, as a simple recogniser writes it.

    A text without letters and digits stays as it is.
    """
    return " ".join(word.lower().replace("’", "'") for word in _SPOKEN.findall(text)) or text


class SoundAlikes:
    """Find words of a vocabulary that a word may be taken for.

    Alike are words whose first letters sound the same, that differ by two letters at most in
    length and share pairs of letters, as written and as sounded. What was found for a word is
    kept, so that each is searched once.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._words = tuple(vocabulary)
        self._by_start: dict[str, list[tuple[str, frozenset[str]]]] | None = None
        self._known: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {}

    def draw(self, word: str, rng: np.random.Generator) -> str:
        """Draw one of the eight words most alike, by their likeness; else any; else the same.

        ``word`` is in lower case, and so is what is returned.
        """
        if word not in self._known:
            self._known[word] = self._search(word)
        words, bounds = self._known[word]
        if words:
            return words[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]
        if self._words:
            return self._words[rng.integers(len(self._words))]
        return word

    def _search(self, word: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        if self._by_start is None:
            by_start = defaultdict(list)
            for other in self._words:
                by_start[_sounded(other)[:1]].append((other, _pairs(other)))
            self._by_start = dict(by_start)
        pairs = _pairs(word)
        scored = sorted(
            (-2 * len(pairs & others) / (len(pairs) + len(others)), other)
            for other, others in self._by_start.get(_sounded(word)[:1], ())
            if other != word and abs(len(other) - len(word)) <= _LENGTH_APART
        )[:_ALIKE]
        weights = np.cumsum([score**2 + 1e-3 for score, _ in scored])
        return tuple(other for _, other in scored), tuple(weights.tolist())


def _sounded(word: str) -> str:
    """Return a word with one letter for each sound, none doubled and no final e."""
    for spelling, sound in _SPELLINGS:
        word = word.replace(spelling, sound)
    return re.sub(r"(.)\1+|(?<=..)e$", r"\1", word.translate(_SOUNDS))


def _pairs(word: str) -> frozenset[str]:
    """Return the pairs of neighbouring letters as written, and of sounds marked by a stroke."""
    written, sounded = f"^{word}$", f"^{_sounded(word)}$"
    return frozenset(
        [a + b for a, b in pairwise(written)] + [f"|{a}{b}" for a, b in pairwise(sounded)]
    )


def disturb_words(
    text: str, drop: float, swap: float, alikes: SoundAlikes, rng: np.random.Generator
) -> str:
    """Leave out a share of the words and replace a share by others that sound alike.

    Each word is drawn for on its own. Capitals at a word's beginning and punctuation around it
    stay. One word at least is left of a text that has one; runs of spaces become one.
    """
    words = text.split()
    if not words or not (drop or swap):
        return text
    kept = rng.random(len(words)) >= drop
    spoken = [i for i, word in enumerate(words) if _SPOKEN.search(word)] or [0]
    if not kept[spoken].any():
        kept[rng.choice(spoken)] = True
    swapped = rng.random(len(words)) < swap
    return " ".join(
        _replaced(word, alikes, rng) if other else word
        for word, stays, other in zip(words, kept, swapped, strict=True)
        if stays
    )


def _replaced(word: str, alikes: SoundAlikes, rng: np.random.Generator) -> str:
    found = _WORD.search(word)
    if found is None:
        return word
    other = alikes.draw(found[0].lower().replace("’", "'"), rng)
    if found[0][0].isupper():
        other = other[:1].upper() + other[1:]
    return word[: found.start()] + other + word[found.end() :]
