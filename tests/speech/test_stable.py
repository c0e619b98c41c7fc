"""Stable partials as a pure function."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.speech.hypothesis import Stable, agree, committed_text, revisable_text, units

WORDS = st.lists(st.sampled_from(["a", "b", "c", "A", "b,", "d"]), max_size=8)
HYPOTHESES = st.lists(WORDS, max_size=8)


def heard(*hypotheses: str) -> Stable:
    """Return the state after hypotheses in a row."""
    return reduce(lambda state, text: agree(state, units(text)), hypotheses, Stable())


def bare(words: tuple[str, ...] | list[str]) -> list[str]:
    """Take case and commas off words."""
    return [word.casefold().strip(", ") for word in words]


def test_nothing_is_committed_by_a_single_hypothesis() -> None:
    """One hypothesis alone is all revisable."""
    assert heard("I am so") == Stable((), ("I", " am", " so"))


def test_two_hypotheses_commit_their_common_prefix() -> None:
    """What two hypotheses in a row share from the start is settled, the rest is not."""
    state = heard("I am so sappy", "I am so happy today")
    assert committed_text(state) == "I am so"
    assert revisable_text(state) == " happy today"


def test_agreement_needs_successive_hypotheses() -> None:
    """A word that vanishes in between starts anew."""
    state = heard("one two", "one three", "one two")
    assert state == Stable(("one",), (" two",))


def test_case_and_punctuation_do_not_hinder_agreement() -> None:
    """Words are compared bare; the spelling at commitment stays, the pending one is the latest."""
    state = heard("well", "Well, then", "WELL then? yes", "well THEN! Yes. no")
    assert state == Stable(("Well,", " then?", " Yes."), (" no",))


def test_a_contradiction_revises_only_what_comes_after() -> None:
    """A changed committed word stays as it was, and the words behind it still go on."""
    state = heard("we are here", "we are here now", "he are here now then")
    assert committed_text(state) == "we are here now"
    assert revisable_text(state) == " then"


def test_a_word_slipped_in_or_left_out_does_not_repeat_committed_text() -> None:
    """The tail is aligned with the committed words, not counted off."""
    settled = ("a b c d e", "a b c d e")
    assert heard(*settled, "a b x c d e f").pending == (" f",)
    assert heard(*settled, "a b d e f").pending == (" f",)


def test_a_shorter_hypothesis_takes_nothing_back() -> None:
    """Committed text outlives an empty hypothesis."""
    assert heard("a b", "a b c", "") == Stable(("a", " b"), ())


def test_marks_that_are_vowels_are_not_taken_for_punctuation() -> None:
    """Hindi words that differ in a vowel sign only are different words."""
    assert heard("\u0915\u0940", "\u0915\u093e").committed == ()


def test_punctuation_alone_is_a_word_like_any_other() -> None:
    """Tokens without letters agree with themselves and with nothing else."""
    assert heard("—", "—").committed == ("—",)
    assert heard("—", "…").committed == ()


def test_words_carry_the_space_before_them() -> None:
    """Words with their punctuation are units; so is what holds together without a space."""
    assert units(" I am here, at 10-year-old 's\u00a0place. ") == [
        "I", " am", " here,", " at", " 10-year-old", " 's", "\u00a0place.",
    ]  # fmt: skip
    assert units(" \n") == []


@pytest.mark.parametrize(("text", "expected"), [
    ("今日は、いい「天気」。", ["今", "日", "は、", "い", "い", "「天", "気」。"]),
    ("iPhoneを10,000円で OK です", ["iPhone", "を", "10,000", "円", "で", " OK", " で", "す"]),
    ("か\u3099る", ["か\u3099", "る"]),
    ("ที่นี่", ["ที่", "นี่"]),
    ("ខ្មែរ", ["ខ្មែ", "រ"]),
    ("한국어 입니다", ["한국어", " 입니다"]),
    ("नमस्ते दुनिया", ["नमस्ते", " दुनिया"]),
])  # fmt: skip
def test_scripts_without_spaces_are_split_into_characters(text: str, expected: list[str]) -> None:
    """Han, kana, Thai and Khmer by characters with their marks; Korean and Hindi by words."""
    assert units(text) == expected


@pytest.mark.parametrize(("growing", "committed", "pending"), [
    (("今天天气", "今天天气很好", "今天天气很好我们出去"), "今天天气很好", "我们出去"),
    (("今日は。", "今日は天気が", "今日は天気がいいです"), "今日は天気が", "いいです"),
    (("วันนี้", "วันนี้อากาศ", "วันนี้อากาศดีมาก"), "วันนี้อากาศ", "ดีมาก"),
    (("我用 Python", "我用 Python 写", "我用 Python 写程序"), "我用 Python 写", "程序"),
])  # fmt: skip
def test_partials_settle_without_spaces_too(
    growing: tuple[str, ...], committed: str, pending: str
) -> None:
    """What two hypotheses agree on is committed character by character."""
    state = heard(*growing)
    assert (committed_text(state), revisable_text(state)) == (committed, pending)


TEXTS = st.text(st.sampled_from("ab ,.'-1 \n今日は。「ーกี\u0300\u200d한はx\u3000"), max_size=30)


@given(st.one_of(TEXTS, st.text(max_size=30)))
def test_units_lose_nothing(text: str) -> None:
    """Joined, the units are the text; none is blank, and none ends in whitespace."""
    found = units(text)
    assert "".join(found) == text.strip()
    assert all(unit.strip() and unit == unit.rstrip() for unit in found)


@given(st.lists(TEXTS, max_size=6))
def test_what_is_told_of_a_text_grows_and_loses_no_space(hypotheses: list[str]) -> None:
    """Settled text begins with what was settled before; no space is added around it."""
    state, before = Stable(), ""
    for text in hypotheses:
        state = agree(state, units(text))
        settled = committed_text(state)
        assert settled.startswith(before)
        assert settled == settled.strip()
        told = settled + revisable_text(state)
        assert told == told.strip()
        before = settled
    if len(hypotheses) == 1:
        assert told == hypotheses[0].strip()


@given(HYPOTHESES)
def test_committed_text_only_grows(hypotheses: list[list[str]]) -> None:
    """Every state's committed words begin with those of the state before, spelling included."""
    state = Stable()
    for words in hypotheses:
        later = agree(state, words)
        assert later.committed[: len(state.committed)] == state.committed
        state = later


@given(HYPOTHESES, WORDS)
def test_newly_committed_words_were_in_both_hypotheses(
    hypotheses: list[list[str]], words: list[str]
) -> None:
    """What is added was pending before and stands in the new hypothesis, in that order."""
    before = reduce(agree, hypotheses, Stable())
    after = agree(before, words)
    new = after.committed[len(before.committed) :]
    assert bare(new) == bare(before.pending)[: len(new)]
    rest = [*new, *after.pending]
    assert words[len(words) - len(rest) :] == rest


@given(HYPOTHESES, WORDS)
def test_no_agreement_is_missed(hypotheses: list[list[str]], words: list[str]) -> None:
    """The words left pending differ from the last ones at their first word."""
    before = reduce(agree, hypotheses, Stable())
    after = agree(before, words)
    unused = bare(before.pending)[len(after.committed) - len(before.committed) :]
    assert not unused or not after.pending or unused[0] != bare(after.pending)[0]


@given(WORDS, WORDS)
def test_the_first_two_hypotheses_commit_exactly_their_common_prefix(
    first: list[str], second: list[str]
) -> None:
    """LocalAgreement-2 is the longest common prefix."""
    state = agree(agree(Stable(), first), second)
    n = len(state.committed)
    assert bare(first)[:n] == bare(second)[:n]
    assert bare(first)[n : n + 1] != bare(second)[n : n + 1] or n == len(first) == len(second)


@given(WORDS)
def test_a_hypothesis_said_twice_is_settled_and_said_again_changes_nothing(
    words: list[str],
) -> None:
    """Repetition settles everything at once and is idempotent from then on."""
    settled = agree(agree(Stable(), words), words)
    assert settled == Stable(tuple(words), ())
    assert agree(settled, words) == settled


@given(HYPOTHESES, WORDS)
def test_growing_a_settled_hypothesis_keeps_its_words(
    hypotheses: list[list[str]], more: list[str]
) -> None:
    """A hypothesis that repeats the committed words and goes on is pending from there."""
    state = reduce(agree, hypotheses, Stable())
    later = agree(state, [*state.committed, *more])
    assert [*later.committed, *later.pending] == [*state.committed, *more]
