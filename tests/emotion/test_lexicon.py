"""Valence of words: VADER on what recognisers write."""

from __future__ import annotations

import sys

import pytest

from streamser.emotion.rules import Lexicon
from streamser.errors import ModelError


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    """Load the lexicon once."""
    return Lexicon()


def test_pleasant_and_unpleasant_words_have_opposite_valence(lexicon: Lexicon) -> None:
    """Lower-cased words without punctuation, as recognisers write them, are enough."""
    happy = lexicon.read("i am so happy today this is wonderful")
    angry = lexicon.read("this is terrible i hate it")
    assert happy is not None
    assert angry is not None
    assert happy.valence > 0.5
    assert happy.lexicon_words == 2
    assert angry.valence < -0.5


def test_negation_turns_valence_round(lexicon: Lexicon) -> None:
    """Not happy is unpleasant, with either apostrophe in a contraction."""
    for text in ("i am not happy", "i don't like it", "i don’t like it"):
        words = lexicon.read(text)
        assert words is not None
        assert words.valence < 0.0


def test_casing_and_punctuation_do_not_matter(lexicon: Lexicon) -> None:
    """Recognisers differ in both, and the voice already says how loud it was."""
    assert lexicon.read("I am SO happy! Wonderful!!!") == lexicon.read("i am so happy wonderful")


def test_a_text_of_plain_words_is_neutral_and_says_that_nothing_was_found(
    lexicon: Lexicon,
) -> None:
    """Without a lexicon word valence is 0 and the count tells why."""
    words = lexicon.read("the train leaves at noon")
    assert words is not None
    assert words.valence == 0.0
    assert words.lexicon_words == 0


@pytest.mark.parametrize("text", [None, "", "   ", "...", "?!", "'", "♪"])
def test_no_words_are_no_text(lexicon: Lexicon, text: str | None) -> None:
    """Nothing said is not a neutral statement."""
    assert lexicon.read(text) is None


def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without vaderSentiment one line says what to install."""
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(ModelError, match="pip install vaderSentiment"):
        Lexicon().read("hello")
