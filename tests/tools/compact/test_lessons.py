"""Whose voices teach: never those of a test."""

from __future__ import annotations

from collections import Counter

from streamser.emotion.choose import bundle_directory
from streamser.emotion.compact.model import read_description
from tests.data import shared_data
from tools.compact.lessons import cremad_lessons, taught, training_lessons


def test_lessons_hold_no_speaker_of_a_test() -> None:
    """CREMA-D's 63 speakers, EmoDB's ten, half of those who speak plainly; RAVDESS never."""
    data = shared_data("cremad_mel").parent
    lessons = training_lessons(data)
    assert Counter(item.corpus for item in lessons.items).keys() == {"cremad", "emodb", "plain"}
    speakers = {item.speaker for item in lessons.items if item.corpus == "cremad"}
    for split in ("dev", "test"):
        assert speakers.isdisjoint(
            i.speaker for i in cremad_lessons(data / "cremad_mel", split).items
        )
    assert len(speakers) == 63


def test_emodb_can_be_left_out_to_be_a_test() -> None:
    """For a variant that was not taught with it."""
    data = shared_data("cremad_mel").parent
    corpora = {item.corpus for item in training_lessons(data, german=False).items}
    assert corpora == {"cremad", "plain"}


def test_what_ships_says_what_taught_it() -> None:
    """So that an evaluation on it can be told from one on voices that are new to it."""
    shipped = bundle_directory("compact")
    assert shipped is not None
    assert read_description(shipped).taught == taught()
    assert "emodb" not in taught(german=False)
    assert len(taught()["cremad"]) == 19
