"""RAVDESS: everything is in the name of a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.acted import read_ravdess
from tests.data import shared_data
from tests.training.corpora.trees import sounds


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lay speech, a song, a video and all eight emotions of one actor."""
    names = [f"Actor_12/03-01-0{emotion}-01-02-01-12.wav" for emotion in range(1, 9)]
    return sounds(
        tmp_path,
        *names,
        "Actor_12/03-02-03-01-02-01-12.wav",
        "Actor_12/01-01-03-01-02-01-12.wav",
        "Actor_12/notes.wav",
    )


def test_speech_is_read_from_the_name(corpus: Path) -> None:
    """Songs, videos and other files are left out; calm is neutral."""
    items = read_ravdess(corpus)
    assert [item.category for item in items] == ["neutral", "neutral", "happy", "sad", "angry"]
    assert {(item.speaker, item.split, item.text) for item in items} == {
        ("12", "test", "Dogs are sitting by the door.")
    }


def test_calm_can_be_none_of_the_four(corpus: Path) -> None:
    """Then it is left out, or kept without a category."""
    assert [item.category for item in read_ravdess(corpus, calm="drop")] == [
        "neutral",
        "happy",
        "sad",
        "angry",
    ]
    kept = read_ravdess(corpus, calm="drop", categories="all")
    assert Counter(item.category for item in kept)[None] == 4
    assert len(kept) == 8


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    """An empty folder and a code there is none of."""
    with pytest.raises(ConfigError, match=r"no copy of RAVDESS.*zenodo"):
        read_ravdess(tmp_path)
    sounds(tmp_path, "03-01-09-01-02-01-12.wav")
    with pytest.raises(ConfigError, match=r"03-01-09-01-02-01-12\.wav is not named as RAVDESS"):
        read_ravdess(tmp_path)


def test_the_real_recordings_are_704_of_12_actors() -> None:
    """Half of the corpus."""
    items = read_ravdess(shared_data("ravdess_eval"), categories="all")
    assert len(items) == 704
    assert len({item.speaker for item in items}) == 12
    assert Counter(item.category for item in items) == {
        "neutral": 48 + 88,
        "happy": 96,
        "sad": 96,
        "angry": 96,
        None: 96 + 96 + 88,
    }
