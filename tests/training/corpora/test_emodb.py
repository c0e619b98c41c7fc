"""EmoDB: everything is in the name of a file, in German."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.acted import read_emodb
from tests.data import shared_data
from tests.training.corpora.trees import sounds


def test_initials_are_german(tmp_path: Path) -> None:
    """Freude is joy, Wut anger, Trauer sadness; Angst is fear and none of the four."""
    names = ("03a01Fa", "03a01Nc", "11b09Wa", "16a07Td", "08a05Ab", "09b10Lb", "10a04Ed")
    sounds(tmp_path, *(f"wav/{name}.wav" for name in names))
    found = {
        item.id: (item.speaker, item.category) for item in read_emodb(tmp_path, categories="all")
    }
    assert found == {
        "emodb-03a01Fa": ("03", "happy"),
        "emodb-03a01Nc": ("03", "neutral"),
        "emodb-11b09Wa": ("11", "angry"),
        "emodb-16a07Td": ("16", "sad"),
        "emodb-08a05Ab": ("08", None),
        "emodb-09b10Lb": ("09", None),
        "emodb-10a04Ed": ("10", None),
    }
    assert len(read_emodb(tmp_path)) == 4
    assert read_emodb(tmp_path)[0].text == "Der Lappen liegt auf dem Eisschrank."


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    """No folder, no recordings, another name."""
    with pytest.raises(ConfigError, match=r"it has no wav or audio.*bilderbar"):
        read_emodb(tmp_path)
    (tmp_path / "wav").mkdir()
    with pytest.raises(ConfigError, match="holds no recordings"):
        read_emodb(tmp_path)
    sounds(tmp_path, "wav/03a09Fa.wav")
    with pytest.raises(ConfigError, match=r"03a09Fa\.wav is not named as EmoDB is"):
        read_emodb(tmp_path)


def test_the_real_recordings_are_535_of_10_speakers() -> None:
    """Labels and sentences are those of the table beside them."""
    root = shared_data("emodb")
    items = read_emodb(root, categories="all")
    assert len(items) == 535
    assert len({item.speaker for item in items}) == 10
    assert Counter(item.category for item in items) == {
        "angry": 127,
        "neutral": 79,
        "happy": 71,
        "sad": 62,
        None: 196,
    }
    with (root / "labels.csv").open(encoding="utf-8") as file:
        texts = {row["path"]: row["text"] for row in csv.DictReader(file)}
    assert {f"audio/{item.audio.name}": item.text for item in items if item.audio} == texts
