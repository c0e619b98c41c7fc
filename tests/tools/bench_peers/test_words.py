from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.measure import word_errors
from tools.bench_peers.words import align, spoken_words

SENTENCES = st.lists(st.sampled_from("abcd"), max_size=8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Go forward 10 meters.", "go forward ten meters"),
        ("5, 5!", "five five"),
        ("the 42nd", "the forty two nd"),
        ("Room 007 and 1984", "room zero zero seven and one nine eight four"),
        ("Mr. Dashwood’s cold-hearted man", "mister dashwood's cold hearted man"),
    ],
)
def test_texts_that_sound_alike_are_the_same_words(one: str, other: str) -> None:
    """Case, punctuation, digits and short titles make no difference."""
    assert spoken_words(one) == spoken_words(other)


@given(SENTENCES, SENTENCES)
def test_an_alignment_has_the_least_number_of_errors(truth: list[str], heard: list[str]) -> None:
    """It agrees with the plain distance, and names the words that make it up."""
    found = align(truth, heard)
    assert found.errors == word_errors(truth, heard)
    places = [at for at in found.heard if at is not None]
    assert places == sorted(set(places))
    wrong = len(places) - sum(found.right)
    assert found.errors == wrong + (len(truth) - len(places)) + (len(heard) - len(places))


def test_a_wrong_word_stands_for_the_one_that_was_said() -> None:
    """What was misheard keeps its place; what was left out has none."""
    found = align(spoken_words("he was not an ill man"), spoken_words("he was not and old man"))
    assert found.heard == (0, 1, 2, 3, 4, 5)
    assert found.right == (True, True, True, False, False, True)
    assert align(["a", "b"], ["b"]).heard == (None, 0)
