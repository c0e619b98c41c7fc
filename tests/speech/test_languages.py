"""Which language is spoken, and what a client's code for it means."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.errors import ConfigError
from streamser.speech.transcriber import Guess, LanguageMemory, base_language, known_language

GERMAN = Guess(3.0, {"de": 0.99, "en": 0.005})
ENGLISH = Guess(3.0, {"en": 0.99, "de": 0.005})
ODD_WORD = Guess(0.8, {"en": 0.78, "de": 0.1, "cy": 0.04})
"""What Whisper base says of a piece of a German word."""


def after(*guesses: Guess) -> LanguageMemory:
    """Remember a session of these utterances, numbered from 1."""
    memory = LanguageMemory()
    for number, guess in enumerate(guesses, 1):
        memory.note("s", number, guess)
    return memory


def test_the_first_utterance_is_judged_by_itself() -> None:
    """Without a past the likeliest language is the language."""
    assert LanguageMemory().judge("s", 1, ODD_WORD) == "en"


def test_one_odd_short_word_does_not_turn_a_german_talk_english() -> None:
    """Nor do several in a row."""
    assert after(GERMAN).judge("s", 2, ODD_WORD) == "de"
    assert after(GERMAN, ODD_WORD, ODD_WORD).judge("s", 4, ODD_WORD) == "de"
    assert after(GERMAN).judge("s", 2, Guess(0.6, {"ar": 0.3, "fr": 0.29, "de": 0.06})) == "de"


def test_a_clear_sentence_in_another_language_switches_at_once() -> None:
    """A bilingual speaker is followed, there and back, however long one language lasted."""
    sentence = Guess(2.0, {"en": 0.996, "de": 0.001})
    assert after(*[GERMAN] * 40).judge("s", 41, sentence) == "en"
    assert after(*[GERMAN] * 40, ENGLISH).judge("s", 42, GERMAN) == "de"


def test_after_a_switch_short_words_follow_the_new_language() -> None:
    """What was long ago is forgotten."""
    memory = after(*[GERMAN] * 20, *[ENGLISH] * 3)
    assert memory.judge("s", 24, Guess(0.7, {"de": 0.5, "en": 0.3})) == "en"


def test_an_odd_beginning_is_outweighed_by_the_first_clear_sentence() -> None:
    """A cough heard as Welsh does not stay."""
    memory = after(Guess(0.5, {"cy": 0.6, "de": 0.01}))
    assert memory.judge("s", 2, GERMAN) == "de"


def test_a_final_that_is_asked_for_again_replaces_what_it_said() -> None:
    """A final that was withdrawn leaves no trace."""
    memory = after(GERMAN)
    memory.note("s", 2, Guess(8.0, {"en": 1.0}))
    memory.note("s", 2, GERMAN)
    assert memory.judge("s", 3, ODD_WORD) == "de"


def test_later_utterances_and_other_sessions_do_not_count() -> None:
    """A result for an utterance that is judged late is that of one judged in time."""
    memory = after(GERMAN, ENGLISH, ENGLISH)
    memory.note("t", 1, ENGLISH)
    assert memory.judge("s", 2, ODD_WORD) == "de"


def test_a_session_that_has_ended_is_forgotten() -> None:
    """And one that was never there can be forgotten as well."""
    memory = after(GERMAN)
    memory.forget("s")
    memory.forget("nobody")
    assert memory.judge("s", 2, ODD_WORD) == "en"


def test_a_long_session_costs_no_more_than_a_short_one() -> None:
    """Only so many utterances are kept."""
    memory = after(*[ODD_WORD] * 1000)
    assert len(memory._noted["s"]) < 100


CHANCES = st.dictionaries(st.sampled_from(["de", "en", "fr"]), st.floats(0, 1), min_size=1)
GUESSES = st.builds(Guess, st.floats(0, 20), CHANCES)


@given(st.lists(GUESSES, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_what_is_said_does_not_depend_on_the_order_of_results(
    guesses: list[Guess], order: random.Random
) -> None:
    """Noted in any order, some of them twice, utterances are judged alike."""
    shuffled = [*enumerate(guesses, 1), *order.sample([*enumerate(guesses, 1)], len(guesses) // 2)]
    order.shuffle(shuffled)
    memory = LanguageMemory()
    for number, guess in shuffled:
        memory.note("s", number, guess)
    for number, guess in enumerate(guesses, 1):
        in_time = after(*guesses[: number - 1]).judge("s", number, guess)
        assert memory.judge("s", number, guess) == in_time


@pytest.mark.parametrize(("code", "language"), [
    ("de", "de"), ("de-DE", "de"), ("pt_BR", "pt"), (" EN-us ", "en"), ("zh-Hant-TW", "zh"),
    ("nb-NO", "no"), ("yue", "yue"), ("", None), ("-", None), ("auto", None), ("multi", None),
])  # fmt: skip
def test_codes_are_read_without_region(code: str, language: str | None) -> None:
    """Script and region aside, by Whisper's names."""
    assert base_language(code) == language


@pytest.mark.parametrize("code", ["german", "d", "日本", "1a", "de de", "x" * 5000])
def test_what_is_no_code_is_refused_in_one_short_line(code: str) -> None:
    """However long it is."""
    with pytest.raises(ConfigError, match="a code such as en") as refused:
        base_language(code)
    assert refused.value.code == "unsupported_language"
    assert len(str(refused.value)) < 200


def test_a_model_that_does_not_say_what_it_knows_is_asked_for_anything() -> None:
    """One that does is asked for what it knows."""
    assert known_language("de-AT", None, "own") == "de"
    assert known_language(None, {"en"}, "own") is None
    assert known_language("de", {"en", "de"}, "own") == "de"
    with pytest.raises(ConfigError, match=r"'fr'.*own knows only de, en: leave"):
        known_language("fr", {"en", "de"}, "own")
    with pytest.raises(ConfigError, match=r"'tlh'.*own does not know it: leave"):
        known_language("tlh", {*"abcdefgh"}, "own")
