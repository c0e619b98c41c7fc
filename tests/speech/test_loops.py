"""Loops in recognised text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.speech.hypothesis import Loop, find_loops, kept_words, units, without

TEXTS = st.lists(st.sampled_from([" no", " yes", " aaaaaa", "今", " I"]), max_size=40)


def loops(text: str) -> list[Loop]:
    """Return all loops in a text, however quickly they could be said."""
    return find_loops(units(text), lambda loop: True)


def test_three_times_is_emphasis_and_four_times_a_loop() -> None:
    """Case and punctuation make no difference."""
    assert loops("well, no, no, no!") == []
    (loop,) = loops("well, no, No, NO! no. Yes")
    assert (loop.start, loop.end, loop.length) == (1, 5, 1)


def test_the_shortest_phrase_that_is_repeated_is_the_loop() -> None:
    """Eight times "no" is not four times "no no"."""
    (loop,) = loops("no " * 8)
    assert (loop.length, loop.seconds) == (1, 1.0)
    (phrase,) = loops("it is what it is " * 5)
    assert (phrase.start, phrase.end, phrase.length) == (0, 25, 5)


def test_what_follows_a_loop_may_begin_like_it() -> None:
    """But what breaks off at the end of the text belongs to the loop."""
    (loop,) = loops("I said no. " * 4 + "I mean it")
    assert loop.end == 12
    (loop,) = loops("I said no. " * 4 + "I said")
    assert loop.end == 14


@pytest.mark.parametrize(("text", "seconds"), [
    ("no no no no", 4 / 8),
    ("internationally " * 4, 4 * 15 / 25),
    ("哈哈哈哈", 4 / 8),
    ("ははははは", 5 / 12),
    ("hahahahaha", 10 / 16),
    ("1000000", 6 / 16),
])  # fmt: skip
def test_a_loop_takes_at_least_as_long_as_its_syllables(text: str, seconds: float) -> None:
    """Eight syllables a second, or 25 letters, or 12 kana; in one word 16 letters."""
    (loop,) = loops(text)
    assert loop.seconds == pytest.approx(seconds)


@given(TEXTS)
def test_loops_are_apart_and_leave_their_first_phrase(parts: list[str]) -> None:
    """They are in order, do not overlap, and something of each phrase stays."""
    found = find_loops(parts, lambda loop: True)
    assert all(one.end <= two.start for one, two in itertools.pairwise(found))
    stays = without(parts, found)
    for loop in found:
        assert sum(stays[loop.start : loop.end]) == loop.length
    assert sum(stays) >= len(parts) - sum(loop.end - loop.start for loop in found)


def test_words_of_several_characters_stay_if_most_of_them_do() -> None:
    """Where words are not cut as units are; words of another text are none of it."""
    parts = ["今", "日", "は", "は"]
    assert kept_words(["今日", "はは"], parts, [True, True, True, False]) == [True, False]
    assert kept_words(["今日"], parts, [True] * 4) == [False]
