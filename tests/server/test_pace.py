"""How fast sound is taken in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.server.pace import Pace


def test_sound_in_real_time_never_waits() -> None:
    """Hours of it."""
    pace = Pace(speed=1.0)
    assert all(pace.wait_s(0.1, now=0.1 * n) == 0.0 for n in range(100_000))


def test_a_burst_passes_and_more_waits() -> None:
    """Thirty seconds at once, then as fast as the speed allows."""
    pace = Pace(speed=4.0)
    assert pace.wait_s(30.0, now=0.0) == 0.0
    assert pace.wait_s(2.0, now=0.0) == pytest.approx(0.5)


@given(st.floats(1, 16), st.lists(st.floats(0.001, 5), min_size=1, max_size=200))
def test_nobody_is_faster_than_allowed(speed: float, pieces: list[float]) -> None:
    """A client that sends as fast as it is let has sent at most burst + speed x time."""
    pace, now, sent = Pace(speed), 0.0, 0.0
    for piece in pieces:
        now += pace.wait_s(piece, now)
        sent += piece
        assert sent <= 30.0 + speed * now + piece + 1e-6
