"""Words out of Whisper's tokens."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.clip import SAMPLE_RATE
from streamser.speech.whisper import Group, Span, group_words, join_texts

TEN_SECONDS = Span(1_000, 10 * SAMPLE_RATE)


def spoken(*texts: str, sure: tuple[float, ...] = ()) -> list[Group]:
    """Return groups of half a second each, one after another."""
    chances = sure or (0.9,) * len(texts)
    return [
        Group(text, i / 2, (i + 1) / 2, chance)
        for i, (text, chance) in enumerate(zip(texts, chances, strict=True))
    ]


def words(*texts: str) -> list[str]:
    """Return the words that groups of tokens make."""
    return [word.text for word in group_words(spoken(*texts), TEN_SECONDS)]


@pytest.mark.parametrize(("groups", "expected"), [
    ((" a", " 10", "-year", "-old", " girl"), ["a", "10-year-old", "girl"]),
    ((" de", " d", "'avoir", " dit"), ["de", "d'avoir", "dit"]),
    ((" 2", ".5", "%", ","), ["2.5%,"]),
    ((" $", "5", ",", "000"), ["$5,000"]),
    ((' "', "Stop", "!", '"', " he", " said", "."), ['"Stop!"', "he", "said."]),
    (("今", "天", "，", "10", ",", "000", "元", "。"), ["今", "天，", "10,000", "元。"]),
    (("今天", "天气", "很好"), ["今天", "天气", "很好"]),
    (("我", "用", "Py", "thon", "写"), ["我", "用", "Python", "写"]),
    (("ก", "ิน", " ข้าว"), ["กิน", "ข้าว"]),
    ((" ", "Well", " ", " yes"), ["Well", "yes"]),
    ((), []),
    ((" ", ""), []),
])  # fmt: skip
def test_what_belongs_together_is_one_word(groups: tuple[str, ...], expected: list[str]) -> None:
    """Hyphens, apostrophes, decimals and punctuation hold on to what they belong to."""
    assert words(*groups) == expected


def test_a_joined_word_has_the_times_and_the_least_confidence_of_its_spoken_parts() -> None:
    """A comma behind a word neither makes it longer nor less sure."""
    groups = spoken(" 10", "-", "year", ",", sure=(0.9, 0.1, 0.6, 0.2))
    (word,) = group_words(groups, TEN_SECONDS)
    assert (word.text, word.confidence) == ("10-year,", 0.6)
    assert (word.start, word.end) == (1_000, 1_000 + SAMPLE_RATE * 3 // 2)


def test_words_lie_inside_their_piece() -> None:
    """What the alignment puts before or behind the sound is put at its edge."""
    groups = [Group(" one", -0.02, 0.3, 1.0), Group(" two", 0.3, 7.0, 1.0)]
    first, second = group_words(groups, Span(500, SAMPLE_RATE))
    assert first.start == 500
    assert second.end == 500 + SAMPLE_RATE


@given(
    st.lists(st.text(st.sampled_from("ab -'.5今は, ก\u0e34"), min_size=1, max_size=4), max_size=12)
)
def test_no_letter_is_lost_and_times_go_on(texts: list[str]) -> None:
    """Words are the text without the spaces around them, in its order and one after another."""
    made = list(group_words(spoken(*texts), TEN_SECONDS))
    heard = "".join("".join(word.text.split()) for word in made)
    whole = "".join("".join(texts).split())
    assert heard == whole
    assert all(word.text for word in made)
    assert all(one.start <= one.end for one in made)
    assert all(one.start <= two.start for one, two in itertools.pairwise(made))


def test_pieces_of_a_text_are_joined_as_their_scripts_are_written() -> None:
    """With a space, but not between characters of a script without any."""
    assert join_texts(["I am", "", "here."]) == "I am here."
    assert join_texts(["今日は。", "「天気」"]) == "今日は。「天気」"
    assert join_texts(["今日は", "OK", "です"]) == "今日は OK です"
    assert join_texts([]) == ""
