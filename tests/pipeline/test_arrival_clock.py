from __future__ import annotations

import pytest

from streamser.pipeline.stream import ArrivalClock


def test_the_lag_is_counted_from_the_arrival_of_the_piece_that_holds_the_sample() -> None:
    """A sample arrives with the piece that brings it, not before."""
    clock = ArrivalClock()
    clock.arrived(320, 1.00)
    clock.arrived(640, 1.02)
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
        clock.arrived(n * 320, n * 0.02)
    now = blocks * 0.02
    assert len(clock._ends) < 16_000
    assert clock.lag_ms((blocks - 2_900) * 320, now) == 58_000.0
    assert clock.lag_ms((blocks - 100_000) * 320, now) == pytest.approx(2_000_000, abs=1_000)
    assert clock.lag_ms(320, now) is None


@pytest.mark.parametrize("frame_ms", [1, 5, 10])
def test_noting_costs_the_same_however_small_frames_are(
    frame_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is gone through once in ten seconds of sound, not at every frame."""
    tidied: list[int] = []
    tidy = ArrivalClock._tidy

    def count(clock: ArrivalClock, now: int) -> None:
        tidied.append(now)
        tidy(clock, now)

    monkeypatch.setattr(ArrivalClock, "_tidy", count)
    clock = ArrivalClock()
    seconds = 120
    for n in range(1, seconds * 1000 // frame_ms + 1):
        clock.arrived(n * frame_ms * 16, n * frame_ms / 1000)
    assert len(tidied) == seconds / 10
    assert len(clock._ends) < 18_000
    assert clock.lag_ms((seconds - 50) * 16_000, seconds) == pytest.approx(50_000, abs=5)
    assert clock.lag_ms(16_000, seconds) == pytest.approx(119_000, abs=1_000)


def test_sound_that_is_noted_twice_arrived_the_first_time() -> None:
    """A piece that holds nothing new does not make what was there any younger."""
    clock = ArrivalClock()
    clock.arrived(320, 1.0)
    clock.arrived(320, 2.0)
    assert clock.lag_ms(320, 2.0) == 1000.0
