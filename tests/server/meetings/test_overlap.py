"""Overlap: how long two or more spoke at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.report.measures import Overlap

names = st.sampled_from(["Anna", "Ben", "Carl"])
stretches = st.lists(st.tuples(names, st.integers(-20, 200), st.integers(0, 60)))


def measure(*told: tuple[str, int, int]) -> int:
    """Return the overlap of stretches, each from a start for so many ms."""
    overlap = Overlap()
    for name, start, length in told:
        overlap.add(name, start, start + length)
    return overlap.total_ms


def counted(told: list[tuple[str, int, int]]) -> int:
    """Count, ms by ms, when two or more spoke."""
    said = {(name, at) for name, start, length in told for at in range(start, start + length)}
    times = [at for _, at in said]
    return len({at for at in times if times.count(at) > 1})


@given(stretches)
def test_overlap_is_the_time_in_which_two_or_more_speak(told: list[tuple[str, int, int]]) -> None:
    """Three at once count once, and what is told of one speaker twice counts once."""
    assert measure(*told) == counted(told)


@given(stretches, st.randoms())
def test_the_order_in_which_stretches_are_told_does_not_matter(
    told: list[tuple[str, int, int]], chance: object
) -> None:
    """Whose pause is heard first changes nothing."""
    other = sorted(told, key=lambda _: chance.random())  # type: ignore[attr-defined]
    assert measure(*other) == measure(*told)


@pytest.mark.parametrize(
    ("second", "expected"), [((500, 1000), 500), ((1000, 1000), 0), ((200, 300), 300)]
)
def test_two_speakers(second: tuple[int, int], expected: int) -> None:
    """Anna speaks for the first second; to follow her at once is no overlap."""
    assert measure(("Anna", 0, 1000), ("Ben", *second)) == expected


def test_hours_of_talk_take_no_more_memory_than_minutes() -> None:
    """What lies far back is settled: it stays counted, and counts no more."""
    overlap = Overlap()
    for start in range(0, 4 * 3_600_000, 700):
        overlap.add("Anna", start, start + 500)
        overlap.add("Ben", start + 400, start + 600)
    assert overlap.total_ms == 100 * len(range(0, 4 * 3_600_000, 700))
    assert len(overlap._pieces) < 3_000
    before = overlap.total_ms
    for name in ("Carl", "Dora"):
        overlap.add(name, 0, 60_000)
    assert overlap.total_ms == before


@given(st.lists(st.tuples(names, st.integers(0, 2_000_000), st.integers(0, 400_000))))
def test_late_stretches_never_count_too_much(told: list[tuple[str, int, int]]) -> None:
    """Whatever was forgotten, overlap is at most half of all that was said."""
    assert 0 <= measure(*told) <= sum(length for *_, length in told) // 2


def test_time_that_is_settled_does_not_count_twice() -> None:
    """What is told late of a time half forgotten counts for the other half only."""
    two = [("Anna", 0, 1_000), ("Ben", 0, 1_000), ("Anna", 700_000, 1_000)]
    assert measure(*two, ("Carl", 0, 200_000), ("Dora", 0, 200_000)) == 200_000
