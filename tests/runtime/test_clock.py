from __future__ import annotations

import pytest

from streamser.runtime.clock import ArrivalClock


def test_the_lag_is_counted_from_the_arrival_of_the_piece_that_holds_the_sample() -> None:
    """A sample arrives with the piece that brings it, not before."""
    clock = ArrivalClock()
    clock.note(320, 1.00)
    clock.note(640, 1.02)
    assert clock.lag_ms(320, 1.05) == 50.0
    assert clock.lag_ms(321, 1.05) == 30.0
    assert clock.lag_ms(10_000, 1.05) == 30.0


def test_there_is_no_lag_before_any_sound() -> None:
    """Nothing has arrived that an event could lag behind."""
    assert ArrivalClock().lag_ms(0, 5.0) is None


def test_a_backlog_of_an_hour_is_told_as_one_and_memory_is_bounded() -> None:
    """To the block for the last minute, to the second for the last hour, then not at all."""
    clock = ArrivalClock()
    blocks = 500_000
    for n in range(1, blocks + 1):
        clock.note(n * 320, n * 0.02)
    now = blocks * 0.02
    assert len(clock._ends) < 16_000
    assert clock.lag_ms((blocks - 2_900) * 320, now) == 58_000.0
    assert clock.lag_ms((blocks - 100_000) * 320, now) == pytest.approx(2_000_000, abs=1_000)
    assert clock.lag_ms(320, now) is None
