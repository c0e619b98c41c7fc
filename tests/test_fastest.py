from __future__ import annotations

from collections.abc import Callable

import pytest

from streamser.machine import TimedWay, fastest, least_times, told


class Clock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Callable[[], None]:
        """Return work that takes so long, the last for ever."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_the_least_time_counts() -> None:
    """What disturbs one run does not decide."""
    clock = Clock()
    ways = {"a": clock.work(3.0, 1.0, 2.0), "b": clock.work(1.5)}
    assert least_times(ways, clock=clock, budget_s=100, rounds=3) == {"a": 1.0, "b": 1.5}
    assert clock.now == 6.0 + 4.5


def test_the_budget_bounds_all_rounds_but_the_first() -> None:
    """A slow machine measures each way once; no round begins that would end too late."""
    clock = Clock()
    ways = {"a": clock.work(5.0), "b": clock.work(4.0)}
    assert least_times(ways, clock=clock, budget_s=1.0, rounds=9) == {"a": 5.0, "b": 4.0}
    assert clock.now == 9.0
    least_times(ways, clock=clock, budget_s=20.0, rounds=9)
    assert clock.now == 9.0 + 18.0


def test_the_favourite_stays_unless_another_is_clearly_faster() -> None:
    """A few percent are chance; what was left out is never taken."""
    assert fastest([TimedWay("a", 1.0), TimedWay("b", 0.95), TimedWay("c", 0.92)]) == "a"
    assert fastest([TimedWay("a", 1.0), TimedWay("b", 0.89), TimedWay("c", 0.7)]) == "c"
    assert fastest([TimedWay("a", why="not here"), TimedWay("b", 2.0)]) == "b"
    with pytest.raises(ValueError, match="no way"):
        fastest([TimedWay("a", why="not here")])


def test_what_was_measured_is_told_in_one_line() -> None:
    """Times in ms, and the reason of what was left out."""
    line = told([TimedWay("float32", 0.2124), TimedWay("int8", why="not here")])
    assert line == "float32 212 ms, int8 left out (not here)"
