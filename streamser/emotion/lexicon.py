"""Judge how pleasant words are by VADER's lexicon and rules.

C. Hutto & E. Gilbert, "VADER: a parsimonious rule-based model for sentiment analysis of social
media text", ICWSM 2014. It was made for written posts; a transcript has neither capitals nor
exclamation marks to trust, and recognisers differ in them, so both are removed first.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from streamser.errors import ModelError

__all__ = ["Lexicon", "Words"]

_APOSTROPHES: Final = str.maketrans({"’": "'", "‘": "'"})
_PUNCTUATION: Final = re.compile(r"[^\w\s']|_")


class Words(msgspec.Struct, frozen=True):
    """Hold VADER's compound valence in [-1, 1] and how many words the lexicon knew.

    Without any such word ``valence`` is 0.0, which then means little: EmoBank's raters find
    such sentences, two in five, as pleasant as the average one.
    """

    valence: float
    lexicon_words: int


class Lexicon:
    """Read the valence of words; loads VADER's lexicon at the first text."""

    def __init__(self) -> None:
        self._analyzer: Any = None

    def read(self, text: str | None) -> Words | None:
        """Judge a text in any casing, with or without punctuation; ``None`` without a word.

        Raises ``ModelError`` where the package vaderSentiment is missing.
        """
        plain = " ".join(_PUNCTUATION.sub(" ", (text or "").translate(_APOSTROPHES)).split())
        plain = plain.lower()
        if not any(character.isalnum() for character in plain):
            return None
        analyzer = self._load()
        compound = float(analyzer.polarity_scores(plain)["compound"])
        known = sum(word.strip("'") in analyzer.lexicon for word in plain.split())
        # Idioms ("hand to mouth") are judged without any word of theirs being listed.
        return Words(compound, max(known, int(compound != 0.0)))

    def _load(self) -> Any:
        if self._analyzer is None:
            try:
                from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
            except ImportError as error:
                raise ModelError(
                    "The emotion model 'rules' reads words with vaderSentiment, which is not "
                    "installed: pip install vaderSentiment"
                ) from error
            self._analyzer = SentimentIntensityAnalyzer()
        return self._analyzer
