"""Moments that are numpy's, only sooner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.compact.summary import deviation, lengths, mean_of, means, slope


@given(st.integers(1, 700), st.floats(-100, 100), st.floats(0.1, 50), st.integers(0, 2**31))
def test_moments_are_those_of_numpy(length: int, centre: float, spread: float, seed: int) -> None:
    """Within the last bits."""
    random = np.random.default_rng(seed)
    values = random.normal(centre, spread, length)
    rows = random.normal(centre, spread, (length, 5))
    assert mean_of(values) == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
    assert deviation(values) == pytest.approx(values.std(), rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(means(rows), rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(lengths(rows), np.sqrt((rows**2).mean(axis=0)), rtol=1e-9)


def test_a_slope_is_that_of_the_line_that_fits_best() -> None:
    """And level, where all points lie above each other."""
    x = np.array([0.0, 1.0, 2.0, 5.0])
    y = np.array([1.0, 2.5, 2.0, 7.0])
    assert slope(x, y) == pytest.approx(float(np.polyfit(x, y, 1)[0]))
    assert slope(np.ones(4), y) == 0.0
