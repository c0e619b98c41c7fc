"""How many words of a transcript are wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["bare_words", "word_errors"]


def bare_words(text: str) -> list[str]:
    """Split a transcript into words in lower case without punctuation."""
    return re.sub(r"[^a-z' ]+", " ", text.lower().replace("-", " ")).split()


def word_errors(truth: Sequence[str], heard: Sequence[str]) -> int:
    """Count substitutions, deletions and insertions between two word sequences (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(truth, 1):
        above, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return row[-1]
