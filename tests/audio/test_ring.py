from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.clip import Ring


def count(start: int, end: int) -> np.ndarray:
    """Make samples whose value is their own index."""
    return np.arange(start, end, dtype=np.float32)


@given(st.integers(1, 50), st.lists(st.integers(0, 120), max_size=20))
def test_ring_keeps_the_last_samples_of_any_sequence_of_appends(
    capacity: int, sizes: list[int]
) -> None:
    """Whatever is appended, in whatever pieces, the last ``capacity`` samples can be read."""
    ring = Ring(capacity)
    for size in sizes:
        ring.append(count(ring.end, ring.end + size))
        assert ring.start == max(0, ring.end - capacity)
        assert np.array_equal(ring.read(ring.start, ring.end), count(ring.start, ring.end))
    assert ring.end == sum(sizes)


def test_read_returns_any_part_across_the_seam() -> None:
    """A range that wraps around the buffer's end comes out whole and in order."""
    ring = Ring(10)
    ring.append(count(0, 7))
    ring.append(count(7, 16))
    for start in range(6, 17):
        for end in range(start, 17):
            assert np.array_equal(ring.read(start, end), count(start, end))


@pytest.mark.parametrize(("start", "end"), [(5, 8), (6, 17), (-1, 8), (9, 8), (17, 17)])
def test_read_refuses_samples_that_are_not_held(start: int, end: int) -> None:
    """Samples overwritten, not yet heard or in reverse raise IndexError instead of rubbish."""
    ring = Ring(10)
    ring.append(count(0, 16))
    with pytest.raises(IndexError, match=r"6\.\.16 held"):
        ring.read(start, end)


def test_read_returns_a_copy() -> None:
    """What was read stays as it was when the ring moves on."""
    ring = Ring(4)
    ring.append(count(0, 4))
    before = ring.read(0, 4)
    ring.append(count(4, 8))
    assert np.array_equal(before, count(0, 4))


def test_ring_needs_room() -> None:
    """A ring for no samples is a mistake that shows at once."""
    with pytest.raises(ValueError, match="at least one"):
        Ring(0)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 80), st.integers(0, 40))
def test_a_ring_of_another_size_holds_the_newest_of_the_same(
    before: int, after: int, first: int, then: int
) -> None:
    """What the old one had lost the new one does not claim to hold."""
    ring = Ring(before)
    ring.append(count(0, first))
    other = ring.resized(after)
    assert (other.capacity, other.end) == (after, first)
    assert other.start == max(ring.start, first - after)
    other.append(count(first, first + then))
    assert np.array_equal(other.read(other.start, other.end), count(other.start, other.end))
    assert other.start >= ring.start
