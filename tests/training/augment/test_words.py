"""Words as a recogniser might get them."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.training.augment import Augmenter, vocabulary_of
from streamser.training.augment.augmenter import SoundAlikes, disturb_words, plain
from streamser.training.settings import AugmentSettings

VOCABULARY = vocabulary_of(
    [
        "know now no knows right write rite night knight sat sad set bad terrible table happy",
        "happily cent cat kit see sea wonderful wandering elephant phone",
    ]
)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_vocabulary_is_every_word_once() -> None:
    """Lower case, sorted, apostrophes of either kind inside; numbers and signs are no words."""
    texts = ["Don't go, GO home!", "don’t — 42 times; Élan_vital"]
    assert vocabulary_of(texts) == ("don't", "go", "home", "times", "vital", "élan")
    assert vocabulary_of([]) == ()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hello, World!", "hello world"),
        ("  I DON’T know... do you? ", "i don't know do you"),
        ("It's 5 o'clock – \"maybe\"", "it's 5 o'clock maybe"),
        ("ÄRGER? Nein.", "ärger nein"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_plain_text_is_lower_case_without_punctuation(text: str, wanted: str) -> None:
    """As simple recognisers write; a text of signs alone stays, so that none becomes empty."""
    assert plain(text) == wanted


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("know", "now"),
        ("right", "rite"),
        ("night", "knight"),
        ("sad", "sat"),
        ("see", "sea"),
        ("sent", "cent"),
    ],
)
def test_words_are_taken_for_such_as_sound_alike(word: str, other: str) -> None:
    """The one that sounds alike is drawn often, the word itself and far ones never."""
    alikes, rng = SoundAlikes(VOCABULARY), _rng()
    drawn = [alikes.draw(word, rng) for _ in range(200)]
    assert drawn.count(other) > 30
    assert word not in drawn
    assert "elephant" not in drawn


def test_words_unlike_all_others_become_any_or_stay() -> None:
    """Nothing begins alike: any word of the vocabulary; without a vocabulary the same word."""
    alikes, rng = SoundAlikes(VOCABULARY), _rng()
    assert {alikes.draw("xylophonist", rng) for _ in range(300)} > {"cat", "table", "elephant"}
    assert SoundAlikes(()).draw("word", rng) == "word"


def test_shares_of_words_are_dropped_and_swapped() -> None:
    """Of 20,000 words a tenth is missing and a fifth of the rest is another."""
    text = " ".join(["sad"] * 20_000)
    found = disturb_words(text, 0.1, 0.2, SoundAlikes(VOCABULARY), _rng()).split()
    assert len(found) / 20_000 == pytest.approx(0.9, abs=0.01)
    assert found.count("sad") / len(found) == pytest.approx(0.8, abs=0.015)


def test_order_capitals_and_punctuation_stay() -> None:
    """What is kept is kept in its place; a word that is replaced keeps what is around it."""
    kept = disturb_words("a b c d e f g h", 0.5, 0.0, SoundAlikes(()), _rng()).split()
    assert kept == sorted(kept)
    assert 0 < len(kept) < 8
    swapped = {
        disturb_words('"Sad," 42 ...', 0.0, 0.999, SoundAlikes(VOCABULARY), _rng(seed))
        for seed in range(50)
    }
    assert swapped <= {f'"{word}," 42 ...' for word in ("Sat", "Set", "See", "Sea", "Cent")}
    assert len(swapped) > 1


@pytest.mark.parametrize("text", ["Hello", "?!", "... word ...", "two words", " ", "–"])
def test_no_text_becomes_empty(text: str) -> None:
    """However much is dropped, something is left, and a word where there was a word."""
    settings = AugmentSettings(word_drop=0.99, word_swap=0.5, plain_text=0.5)
    augmenter = Augmenter(settings, VOCABULARY)
    spoken = any(letter.isalpha() for letter in text)
    for seed in range(100):
        found = augmenter.text(text, _rng(seed))
        assert found
        assert any(letter.isalpha() for letter in found) == spoken
    assert augmenter.text("", _rng()) == ""
