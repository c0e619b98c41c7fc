"""Stable partials: words that two hypotheses in a row agree on are never taken back.

LocalAgreement-2 (Liu et al. 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection", §3.2; Macháček et al. 2023, "Turning Whisper into
Real-Time Transcription System", §2), as a pure function over immutable state. Hypotheses are
those of one utterance from its first sample on, so each repeats what the ones before it said.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import msgspec

__all__ = ["Stable", "agree", "committed_text", "revisable_text"]


class Stable(msgspec.Struct, frozen=True):
    """Hold what is settled of an utterance, and what the latest hypothesis adds to it.

    ``committed`` only ever grows, word by word at its end; ``pending`` is replaced by every
    hypothesis. Start with ``Stable()``.
    """

    committed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


def agree(previous: Stable, hypothesis: Sequence[str]) -> Stable:
    """Take in the next hypothesis: commit what it shares with the last one, keep the rest open.

    Words are compared without case and punctuation; a committed word keeps the spelling in
    which it was first committed, a pending one takes the latest.

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
    """Return the settled words, separated by spaces."""
    return " ".join(stable.committed)


def revisable_text(stable: Stable) -> str:
    """Return the words that the next hypothesis may still change, separated by spaces."""
    return " ".join(stable.pending)


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
