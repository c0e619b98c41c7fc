"""Percentiles that are numpy's, only sooner."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.compact.summary import percentiles


@given(
    st.integers(1, 300),
    st.sampled_from([(), (1,), (64,)]),
    st.lists(st.sampled_from([0.0, 5.0, 10.0, 15.0, 25.0, 50.0, 60.0, 85.0, 90.0, 98.0, 100.0])
             | st.floats(0, 100), min_size=1, max_size=5),
    st.integers(0, 2**31),
)  # fmt: skip
def test_every_percentile_is_numpys_to_the_last_bit(
    length: int, rest: tuple[int, ...], wanted: list[float], seed: int
) -> None:
    """So that what a model has learnt from stays what it hears."""
    values = np.random.default_rng(seed).normal(size=(length, *rest)) * 40
    for percent, found in zip(wanted, percentiles(values, wanted), strict=True):
        assert np.array_equal(found, np.percentile(values, percent, axis=0))
