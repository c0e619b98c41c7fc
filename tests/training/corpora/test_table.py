"""Any other table: the user says which column is what."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.registry import read_table
from tests.data import shared_data
from tests.training.corpora.trees import lay

TABLE = """file\tactor\temotion\tv\tsentence\tset
a.wav\t1\tHappiness\t4\tYes.\ttrain
b.wav\t2\tboredom\t2\tNo.\tval
"""


def test_columns_are_mapped_and_label_names_known(tmp_path: Path) -> None:
    """The manifest's fields from columns of other names; an unknown emotion is no label."""
    lay(tmp_path, {"mine.tsv": TABLE})
    items = read_table(
        tmp_path / "mine.tsv",
        columns={
            "audio": "file",
            "speaker": "actor",
            "category": "emotion",
            "valence": "v",
            "text": "sentence",
            "split": "set",
        },
        scale="1:5",
    )
    assert [(i.id, i.corpus, i.speaker, i.split, i.category, i.text) for i in items] == [
        ("mine-000001", "mine", "1", "train", "happy", "Yes."),
        ("mine-000002", "mine", "2", "dev", None, "No."),
    ]
    assert items[0].audio == tmp_path / "a.wav"
    assert [item.dimensions[0] for item in items] == [0.75, 0.25]


def test_columns_with_the_manifests_names_need_no_map(tmp_path: Path) -> None:
    """Votes by category too."""
    lay(tmp_path, {"t.csv": "text;neutral;angry\nWell.;1;3\n"})
    (item,) = read_table(tmp_path / "t.csv", corpus="lab", delimiter=";")
    assert (item.corpus, item.votes) == ("lab", (0.25, 0.0, 0.0, 0.75))


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    """A column there is none of, on either side; a row; a scale; a file."""
    path = lay(tmp_path, {"t.csv": "sentence,v\nWell.,9\n"}) / "t.csv"
    with pytest.raises(ConfigError, match="there is no column 'words' to map to"):
        read_table(path, columns={"words": "sentence"})
    with pytest.raises(ConfigError, match="lacks the column 'line'"):
        read_table(path, columns={"text": "line"})
    with pytest.raises(ConfigError, match=r"t\.csv line 2: valence 9 is off the scale 1:5"):
        read_table(path, columns={"text": "sentence", "valence": "v"}, scale="1:5")
    with pytest.raises(ConfigError, match="scale 'five'"):
        read_table(path, columns={"text": "sentence"}, scale="five")
    with pytest.raises(ConfigError, match="line 2: neither sound"):
        read_table(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_table(tmp_path / "none.csv")


def test_a_real_table_of_another_layout_is_read() -> None:
    """EmoDB's labels as a stranger would bring them."""
    path = shared_data("emodb") / "labels.csv"
    items = read_table(path, columns={"audio": "path", "category": "emotion"})
    assert len(items) == 535
    assert sum(item.category is not None for item in items) == 339
    assert all(item.audio and item.audio.is_file() for item in items)
