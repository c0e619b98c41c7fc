from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.measure import percentile, spread

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def naive_percentile(numbers: list[float], share: float) -> float:
    """Walk the broken line through the sorted values until the place is reached."""
    ordered = sorted(numbers)
    if len(ordered) == 1:
        return ordered[0]
    return float(np.interp(share * (len(ordered) - 1), np.arange(len(ordered)), ordered))


@given(values, st.floats(0, 1))
def test_percentile_is_the_linear_interpolation_of_closest_ranks(
    numbers: list[float], share: float
) -> None:
    """A percentile equals a naive reference and numpy's default method."""
    found = percentile(numbers, share)
    assert found == pytest.approx(naive_percentile(numbers, share), abs=1e-6, rel=1e-9)
    assert found == pytest.approx(float(np.percentile(numbers, 100 * share)), abs=1e-6, rel=1e-9)


def test_percentiles_of_a_known_series() -> None:
    """The percentiles of 0, 1, …, 100 are their own places."""
    numbers = [float(n) for n in reversed(range(101))]
    assert [percentile(numbers, share) for share in (0, 0.5, 0.95, 0.99, 1)] == [0, 50, 95, 99, 100]


@pytest.mark.parametrize(("numbers", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_a_percentile_of_nothing_is_refused(numbers: list[float], share: float) -> None:
    """No values, or a share outside [0, 1], is an error and not a number."""
    with pytest.raises(ValueError, match="no percentile"):
        percentile(numbers, share)


@given(values)
def test_a_spread_is_ordered_and_counts(numbers: list[float]) -> None:
    """The percentiles of a spread lie in order between least and most."""
    found = spread(numbers)
    assert found is not None
    assert found.n == len(numbers)
    assert found.least <= found.p50 <= found.p95 <= found.p99 <= found.most


def test_nothing_has_no_spread() -> None:
    """Where nothing was measured there is no spread, rather than one of zeros."""
    assert spread([]) is None
