"""EmoBank: sentences with three ratings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.registry import read_emobank
from tests.data import shared_data
from tests.training.corpora.trees import lay

TABLE = '''id,split,V,A,D,text
110CYL068_1036_1079,train,3.0,3.0,3.2,"Remember what she said in my last letter? """
110CYL068_1079_1110,test,2.8,3.4,2.8,If I wasn't working here.
easy_money_13624_13628,dev,2.78,2.89,2.78,
'''


def test_ratings_of_1_to_5_become_0_to_1(tmp_path: Path) -> None:
    """A row without text is left out."""
    first, second = read_emobank(lay(tmp_path, {"corpus/emobank.csv": TABLE}))
    assert first.dimensions == pytest.approx((0.5, 0.5, 0.55))
    assert second.dimensions == pytest.approx((0.45, 0.6, 0.45))
    assert (second.split, second.text) == ("test", "If I wasn't working here.")
    assert first.category is None
    assert first.speaker != second.speaker


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    """A file, a line."""
    with pytest.raises(ConfigError, match=r"no copy of EmoBank.*JULIELab"):
        read_emobank(tmp_path)
    lay(tmp_path, {"emobank.csv": TABLE.replace("2.8,3.4", "2.8,5.4")})
    with pytest.raises(
        ConfigError, match=r"emobank\.csv line 3: arousal 5\.4 is off the scale 1:5"
    ):
        read_emobank(tmp_path)


def test_the_real_sentences_are_10062_one_of_them_empty() -> None:
    """8,062, 1,000 and 1,000."""
    items = read_emobank(shared_data("text"))
    assert Counter(item.split for item in items) == {"train": 8062, "dev": 999, "test": 1000}
    assert all(0 <= value <= 1 for item in items for value in item.dimensions)
