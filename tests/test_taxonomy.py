from __future__ import annotations

import pytest

from streamser.taxonomy import CATEGORIES, canonical_category


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("neu", "neutral"),
        ("Calm", "neutral"),
        ("hap", "happy"),
        ("JOY", "happy"),
        ("exc", "happy"),
        (" sadness ", "sad"),
        ("ang", "angry"),
    ],
)
def test_foreign_labels_have_one_meaning(label: str, category: str) -> None:
    """Whatever case and spaces they come in."""
    assert canonical_category(label) == category
    assert category in CATEGORIES


def test_a_label_that_is_none_of_ours_is_refused() -> None:
    """Never mapped to something near."""
    with pytest.raises(KeyError):
        canonical_category("surprise")
