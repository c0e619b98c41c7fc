from __future__ import annotations

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


def test_memory_is_bounded_and_keeps_the_promised_while() -> None:
    """After hours, the last two minutes are still known."""
    clock = ArrivalClock(memory_s=120)
    for n in range(1, 500_001):
        clock.note(n * 320, n * 0.02)
    assert len(clock._ends) < 20_000
    position = (500_000 - 5_500) * 320
    assert clock.lag_ms(position, 500_000 * 0.02) == 110_000.0
