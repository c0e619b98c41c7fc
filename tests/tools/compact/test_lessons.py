"""Whose voices teach: never those of a test."""

from __future__ import annotations

from collections import Counter

from tests.data import shared_data
from tools.compact.lessons import cremad_lessons, training_lessons


def test_lessons_hold_no_speaker_of_a_test() -> None:
    """CREMA-D's 63 speakers, EmoDB's ten, half of those who speak plainly; RAVDESS never."""
    data = shared_data("cremad_mel").parent
    lessons = training_lessons(data)
    assert Counter(item.corpus for item in lessons.items).keys() == {"cremad", "emodb", "plain"}
    taught = {item.speaker for item in lessons.items if item.corpus == "cremad"}
    for split in ("dev", "test"):
        assert taught.isdisjoint(
            i.speaker for i in cremad_lessons(data / "cremad_mel", split).items
        )
    assert len(taught) == 63


def test_emodb_can_be_left_out_to_be_a_test() -> None:
    """For a variant that was not taught with it."""
    data = shared_data("cremad_mel").parent
    corpora = {item.corpus for item in training_lessons(data, german=False).items}
    assert corpora == {"cremad", "plain"}
