"""GoEmotions: 27 emotions to four, from either form of its tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, GOEMOTIONS
from streamser.training.corpora.registry import GOEMOTIONS_EMOTIONS, read_goemotions
from tests.data import shared_data
from tests.training.corpora.trees import lay

TRAIN = (
    "My favourite food is anything I didn't have to cook myself.\t27\teebbqej\n"
    '"Great," he said.\t17,18\tea\n'
    "Hm.\t27,4\teb\n"
    "So sad and so angry.\t2,25\tec\n"
    "I'm scared.\t14\ted\n"
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lay the official files, which have no header and quote nothing."""
    return lay(
        tmp_path,
        {
            "data/train.tsv": TRAIN,
            "data/dev.tsv": "WHY\t2,3\tee\n",
            "data/test.tsv": "I miss him.\t25\tef\n",
        },
    )


def test_a_comment_has_a_category_if_all_its_labels_agree(corpus: Path) -> None:
    """Joy and love are happy; neutral with approval, or sad with angry, is nothing."""
    found = {item.text: (item.split, item.category) for item in read_goemotions(corpus)}
    assert found == {
        "My favourite food is anything I didn't have to cook myself.": ("train", "neutral"),
        '"Great," he said.': ("train", "happy"),
        "WHY": ("dev", "angry"),
        "I miss him.": ("test", "sad"),
    }
    assert Counter(item.category for item in read_goemotions(corpus, categories="all"))[None] == 3


def test_the_mapping_knows_only_the_corpuss_names() -> None:
    """28 labels, neutral last, and nothing but the four on the other side."""
    assert len(GOEMOTIONS_EMOTIONS) == 28
    assert GOEMOTIONS_EMOTIONS.index("neutral") == 27
    assert set(GOEMOTIONS) <= set(GOEMOTIONS_EMOTIONS)
    assert set(GOEMOTIONS.values()) == set(CATEGORIES)


def test_what_is_missing_or_wrong_is_named(corpus: Path, tmp_path: Path) -> None:
    """A file, a line, a label."""
    (corpus / "data/train.tsv").write_text(TRAIN + "no tabs\n")
    with pytest.raises(ConfigError, match=r"train\.tsv line 6: not text, label numbers 0 to 27"):
        read_goemotions(corpus)
    (corpus / "data/train.tsv").write_text("x\t28\tid\n")
    with pytest.raises(ConfigError, match=r"train\.tsv line 1"):
        read_goemotions(corpus)
    (corpus / "data/train.tsv").unlink()
    with pytest.raises(ConfigError, match=r"no copy of GoEmotions: it has no train\.tsv"):
        read_goemotions(corpus)
    lay(corpus, {"goemotions_train.csv": "text,labels,id\nhello,happiness,x\n"})
    with pytest.raises(ConfigError, match="line 2: unknown label in 'happiness'"):
        read_goemotions(corpus)


def test_the_real_comments_are_54263() -> None:
    """43,410, 5,426 and 5,427; two in three are of one category."""
    items = read_goemotions(shared_data("text"), categories="all")
    assert Counter(item.split for item in items) == {"train": 43410, "dev": 5426, "test": 5427}
    assert Counter(item.category for item in items) == {
        "neutral": 16021,
        "happy": 14206,
        "angry": 3376,
        "sad": 2603,
        None: 18057,
    }
