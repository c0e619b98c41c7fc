"""The search for the largest number that is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.bench.beside.climb import climb


@given(limit=st.integers(0, 300), first=st.integers(1, 300), most=st.integers(1, 300))
def test_finds_the_largest_exactly_if_it_shall(limit: int, first: int, most: int) -> None:
    """With no slack, whatever it begins with, up to what may be tried."""
    found = climb(lambda number: number <= limit, first=first, most=most, fineness=0.0)
    assert found == (min(limit, most) or None)


@given(limit=st.integers(8, 250))
def test_ends_near_the_largest_in_few_tries(limit: int) -> None:
    """Within the slack below what was held, and never trying a number twice."""
    tried: list[int] = []

    def held(number: int) -> bool:
        tried.append(number)
        return number <= limit

    found = climb(held, first=8, most=256, fineness=0.15)
    assert found is not None
    assert found <= limit <= found * 1.15 + 1
    assert len(tried) == len(set(tried)) <= 9


def test_tries_no_more_than_it_may() -> None:
    """The first is cut to the most."""
    tried: list[int] = []

    def held(number: int) -> bool:
        tried.append(number)
        return True

    assert climb(held, first=8, most=3, fineness=0.1) == 3
    assert tried == [3]


@pytest.mark.parametrize("first", [1, 8])
def test_where_nothing_is_held_there_is_no_largest(first: int) -> None:
    """Not even one."""
    assert climb(lambda number: False, first=first, most=64, fineness=0.1) is None
