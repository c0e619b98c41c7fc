"""What words count of which a recogniser is so sure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.calibration import weight_of_words


def test_a_recogniser_that_does_not_say_is_believed() -> None:
    """As it was before any said."""
    assert weight_of_words(None) == 1.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_surer_words_never_count_less(one: float, other: float) -> None:
    """And always between nothing and all."""
    low, high = sorted((one, other))
    assert 0.0 <= weight_of_words(low) <= weight_of_words(high) <= 1.0


@pytest.mark.parametrize(
    ("certainty", "weight"), [(0.0, 0.0), (0.35, 0.0), (0.55, 0.5), (0.75, 1.0)]
)
def test_the_weight_rises_between_worthless_and_sure(certainty: float, weight: float) -> None:
    """Evenly."""
    assert weight_of_words(certainty) == pytest.approx(weight)
