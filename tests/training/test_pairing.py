"""Pairing: a voice and words of the same category, parted by speaker and by text."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.acted import read_cremad
from streamser.training.corpora.reading import one_hot
from streamser.training.corpora.registry import read_goemotions, read_xed
from streamser.training.folds import normalise, pair
from streamser.training.manifest import SPLITS, Item, Split
from tests.data import shared_data


def _voices(each: int = 3) -> list[Item]:
    return [
        Item(
            id=f"v-{split}-{category}-{i}",
            corpus="voices",
            speaker=f"{split}-{i}",
            session="s",
            split=split,
            text="It's eleven o'clock.",
            votes=one_hot(category),
            dimensions=(0.1, 0.2, 0.3),
        )
        for split in SPLITS
        for category in CATEGORIES
        for i in range(each)
    ]


def _word(name: str, text: str, category: str | None, split: Split = "") -> Item:
    return Item(
        id=name, corpus="words", speaker=name, split=split, text=text, votes=one_hot(category)
    )


def _words(each: int = 5) -> list[Item]:
    return [
        _word(f"w-{split}-{category}-{i}", f"{split} {category} {i}", category, split)
        for split in SPLITS
        for category in CATEGORIES
        for i in range(each)
    ]


def test_a_pair_has_the_words_of_one_and_all_else_of_the_other() -> None:
    """Category and split agree; the id names both."""
    words = {item.id: item for item in _words()}
    voices = {item.id: item for item in _voices()}
    for item in pair(list(voices.values()), list(words.values()), seed=0):
        name, _, text = item.id.partition("+")
        voice, word = voices[name], words[text]
        assert item.text == word.text
        assert (voice.category, voice.split) == (word.category, word.split)
        for field in ("corpus", "speaker", "session", "split", "votes", "dimensions"):
            assert getattr(item, field) == getattr(voice, field)


def test_each_voice_gets_as_many_different_texts_as_asked() -> None:
    """Also where the texts have to be used again."""
    pairs = pair(_voices(4), _words(5), seed=1, repeats=3)
    assert len(pairs) == 4 * 12 * 3
    assert len({item.id for item in pairs}) == len(pairs)


def test_texts_are_used_up_before_one_is_used_again() -> None:
    """Four voices of three texts each draw twelve times from five: two or three times each."""
    used = Counter(item.text for item in pair(_voices(4), _words(5), seed=1, repeats=3))
    assert set(used.values()) == {2, 3}


def test_the_pairs_depend_on_the_seed_and_not_on_the_order() -> None:
    """The same seed gives the same pairs from shuffled lists; another seed, others."""
    voices, words = _voices(), _words()
    first = pair(voices, words, seed=0, repeats=2)
    random.Random(3).shuffle(voices)
    random.Random(4).shuffle(words)
    assert repr(pair(voices, words, seed=0, repeats=2)) == repr(first)
    assert repr(pair(voices, words, seed=1, repeats=2)) != repr(first)


def test_a_text_in_two_splits_stays_in_test() -> None:
    """The same words after normalisation are one text."""
    extra = [
        _word("x1", "Don’t you DARE!", "angry", "train"),
        _word("x2", "dont you dare", "angry", "test"),
    ]
    splits = {
        item.split
        for item in pair(_voices(8), [*_words(), *extra], seed=0)
        if normalise(item.text or "") == "dont you dare"
    }
    assert splits == {"test"}


def test_a_text_of_two_categories_is_not_used() -> None:
    """It would say nothing, or the wrong thing."""
    extra = [
        _word("x1", "Thank you.", "happy", "train"),
        _word("x2", "thank you", "neutral", "train"),
        _word("x3", "...", "neutral", "train"),
    ]
    pairs = pair(_voices(8), [*_words(), *extra], seed=0)
    assert not {item.id.partition("+")[2] for item in pairs} & {"x1", "x2", "x3"}


def test_words_without_splits_are_parted_by_the_text() -> None:
    """About 70, 10 and 20 of a hundred; the same text always in the same part."""
    words = [_word(f"w{i}", f"line {i}", "sad") for i in range(600)]
    voices = [
        Item(id=f"v{s}{i}", corpus="v", speaker=f"{s}{i}", split=s, votes=one_hot("sad"))
        for s in SPLITS
        for i in range(600)
    ]
    parts = {s: {p.text for p in pair(voices, words, seed=0) if p.split == s} for s in SPLITS}
    assert sum(len(part) for part in parts.values()) == len(set.union(*parts.values())) == 600
    assert 380 < len(parts["train"]) < 460
    assert 40 < len(parts["dev"]) < 85


def test_what_cannot_be_paired_is_refused() -> None:
    """No split, no category, too few texts."""
    voice = Item(id="v", corpus="c", speaker="s", votes=one_hot("sad"))
    with pytest.raises(ConfigError, match="voice 'v' has no split"):
        pair([voice], _words(), seed=0)
    with pytest.raises(ConfigError, match="no voice has a category"):
        pair([Item(id="v", corpus="c", speaker="s", split="train")], _words(), seed=0)
    with pytest.raises(ConfigError, match="5 texts are angry and in dev, 6 are needed"):
        pair(_voices(), _words(5), seed=0, repeats=6)


def test_real_voices_and_words_share_neither_speaker_nor_text() -> None:
    """CREMA-D with GoEmotions and XED: the promise, on all of it."""
    voices = read_cremad(shared_data("cremad_mel"), votes="intended")
    words = read_goemotions(shared_data("text")) + read_xed(shared_data("text"))
    pairs = pair(voices, words, seed=0, repeats=2)
    assert len(pairs) == 2 * len(voices) == 9788
    for key in (lambda item: item.speaker, lambda item: normalise(item.text or "")):
        parts = [{key(item) for item in pairs if item.split == split} for split in SPLITS]
        assert sum(map(len, parts)) == len(set.union(*parts))
    category = {item.id: item.category for item in words}
    assert all(item.category == category[item.id.partition("+")[2]] for item in pairs)
