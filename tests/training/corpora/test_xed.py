"""XED: label numbers and names, and the neutral lines beside them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.registry import read_xed
from tests.data import shared_data
from tests.training.corpora.trees import lay

LINES = (
    "Ah , for fuck's sake , mate .\t1\n"
    "! \t1, 4, 7\n"
    "All right !\t1, 2, 5\n"
    "Oh , joy .\t5\n"
    '"Gone .\t6\n'
)
NEUTRAL = "9\tYeah I was just telling him.\n\t\t\t\t\n9\tLast card.\n"


def test_numbers_are_labels_and_only_single_ones_are_categories(tmp_path: Path) -> None:
    """The neutral lines are in a file of their own, some of them empty."""
    lay(
        tmp_path,
        {"AnnotatedData/en-annotated.tsv": LINES, "AnnotatedData/neu_en.txt": NEUTRAL},
    )
    found = {item.text: item.category for item in read_xed(tmp_path)}
    assert found == {
        "Ah , for fuck's sake , mate .": "angry",
        "Oh , joy .": "happy",
        '"Gone .': "sad",
        "Yeah I was just telling him.": "neutral",
        "Last card.": "neutral",
    }
    assert {item.split for item in read_xed(tmp_path)} == {""}
    assert len(read_xed(tmp_path, categories="all")) == 7


def test_without_the_neutral_lines_there_is_no_neutral(tmp_path: Path) -> None:
    """They may have been left out of a copy."""
    lay(tmp_path, {"en-annotated.tsv": LINES})
    assert Counter(item.category for item in read_xed(tmp_path))["neutral"] == 0


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    """A file, a line."""
    with pytest.raises(ConfigError, match=r"no copy of XED.*Helsinki-NLP"):
        read_xed(tmp_path)
    lay(tmp_path, {"en-annotated.tsv": LINES + "no label\n"})
    with pytest.raises(ConfigError, match=r"en-annotated\.tsv line 6: not text and label numbers"):
        read_xed(tmp_path)


def test_the_real_lines_are_27187() -> None:
    """Neutral ones and those of one emotion; each has an id of its own."""
    items = read_xed(shared_data("text"), categories="all")
    assert len(items) == len({item.id for item in items}) == 27187
    assert Counter(item.category for item in items) == {
        "neutral": 9662,
        "angry": 2390,
        "happy": 1721,
        "sad": 1527,
        None: 11887,
    }
