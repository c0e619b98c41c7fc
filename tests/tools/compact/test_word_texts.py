"""Reading what teaches words: soft votes, finer labels, and splits that share no text."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from tools.compact.word_texts import FINE, fine_span, read_words, text_split

_COMMENTS = {
    "train": [
        ("So happy!", "joy"),
        ("Sad and mad", "sadness anger"),
        ("Odd, but fun", "confusion joy"),
        ("Who knows", "curiosity"),
        ("Held out, you see", "neutral"),
        *((f"So {name} number {i}", name) for name in ("anger", "sadness") for i in range(3)),
        *((f"So neutral number {i}", "neutral") for i in range(3)),
    ],
    "dev": [("A dev text", "neutral"), ("two labels", "joy anger")],
    "test": [("held out you see", "neutral")],
}
_LINES = [(f"Line number {number} here", "anger") for number in range(60)]


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def small_corpora(root: Path) -> Path:
    """Write the three corpora with a few texts each, in the form they are read in."""
    for split, comments in _COMMENTS.items():
        rows = [(*comment, f"{split}{place}") for place, comment in enumerate(comments)]
        _write(root / f"goemotions_{split}.csv", ("text", "labels", "id"), rows)
    _write(root / "xed_en.csv", ("text", "labels"), [*_LINES, ("A TRUST line", "trust")])
    rated = [
        (
            f"{split}{i}",
            split,
            f"3.{i}",
            f"3.{2 * i}",
            f"2.{9 - i}",
            f"A {split} sentence, number {i}",
        )
        for split in ("train", "dev", "test")
        for i in range(3)
    ]
    _write(root / "emobank.csv", ("id", "split", "V", "A", "D", "text"), rated)
    return root


def test_several_labels_teach_by_shares(tmp_path: Path) -> None:
    """Votes are shares within the four, the weight is how much of a text is of the four."""
    texts = {text.text: text for text in read_words(small_corpora(tmp_path)).train}
    assert texts["So happy!"].votes == (0.0, 1.0, 0.0, 0.0)
    assert texts["Sad and mad"].votes == (0.0, 0.0, 0.5, 0.5)
    assert (texts["Odd, but fun"].votes, texts["Odd, but fun"].weight) == ((0, 1, 0, 0), 0.5)
    assert texts["Who knows"].weight == 0
    assert [FINE[place] for place in texts["Sad and mad"].fine] == [
        "goemotions-sadness",
        "goemotions-anger",
    ]
    assert "A TRUST line" not in texts


def test_what_is_held_out_is_not_learnt_from(tmp_path: Path) -> None:
    """No text of dev or test is among the training texts, whatever its signs and corpus."""
    corpora = read_words(small_corpora(tmp_path))
    assert "Held out, you see" not in {text.text for text in corpora.train}
    assert [item.text for item in corpora.dev.goemotions] == ["A dev text"]
    held = {item.text for part in (corpora.dev, corpora.test) for item in part.xed}
    learnt = {text.text for text in corpora.train if text.corpus == "xed"}
    assert held
    assert held.isdisjoint(learnt)
    assert len(held) + len(learnt) == len(_LINES)


def test_sentences_have_dimensions_only(tmp_path: Path) -> None:
    """EmoBank teaches no category, and its training split alone is learnt from."""
    corpora = read_words(small_corpora(tmp_path))
    own = [text for text in corpora.train if text.corpus == "emobank"]
    assert len(own) == len(corpora.dev.emobank) == len(corpora.test.emobank) == 3
    assert all(text.weight == 0 and not text.fine for text in own)
    assert own[0].dimensions is not None
    # 3.0 on 1 to 5 is the middle, a little above the mean of valence.
    assert own[0].dimensions[0] == pytest.approx(0.5124, abs=1e-3)


def test_a_text_stays_in_its_split() -> None:
    """The split does not depend on capitals and signs, and shares are about 80, 10, 10 %."""
    assert text_split("Leave me alone!") == text_split("leave me alone")
    found = [text_split(str(number)) for number in range(2000)]
    assert found.count("train") / 2000 == pytest.approx(0.8, abs=0.03)
    assert found.count("test") / 2000 == pytest.approx(0.1, abs=0.03)


def test_labels_of_a_corpus_stand_together() -> None:
    """A span holds all labels of its corpus and no other; EmoBank has none."""
    assert all(name.startswith("xed-") for name in FINE[fine_span("xed")])
    assert len(FINE[fine_span("goemotions")]) == 28
    assert FINE[fine_span("emobank")] == ()


def test_unknown_labels_are_refused(tmp_path: Path) -> None:
    """The error names the file and the line."""
    root = small_corpora(tmp_path)
    _write(root / "xed_en.csv", ("text", "labels"), [("Something", "envy")])
    with pytest.raises(ConfigError, match="envy"):
        read_words(root)
