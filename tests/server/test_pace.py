"""How fast sound is taken in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.server.limits import BurstBudget, ConnectRate, MessagePace
from streamser.server.stream import AudioPace


def test_sound_in_real_time_never_waits() -> None:
    """Hours of it."""
    pace = AudioPace(speed=1.0)
    assert all(pace.due(0.1, came=0.1 * n) == 0.1 * n for n in range(100_000))


def test_a_burst_passes_and_more_waits() -> None:
    """Thirty seconds at once, then as fast as the speed allows."""
    pace = AudioPace(speed=4.0)
    assert pace.due(30.0, came=5.0) == 5.0
    assert pace.due(2.0, came=5.0) == pytest.approx(5.5)


def test_sound_that_is_read_late_is_paced_by_when_it_came() -> None:
    """A minute in real time, and one that poured in at once: when they are looked at is all one."""
    steady, poured = AudioPace(speed=4.0), AudioPace(speed=4.0)
    assert [steady.due(1.0, came=n) for n in range(60)] == list(range(60))
    dues = [poured.due(1.0, came=0.0) for _ in range(60)]
    assert dues[:30] == [0.0] * 30
    assert dues[-1] == pytest.approx(7.5)


@given(st.floats(1, 16), st.lists(st.floats(0.001, 5), min_size=1, max_size=200))
def test_nobody_is_faster_than_allowed(speed: float, pieces: list[float]) -> None:
    """A client that sends as fast as it is let has sent at most burst + speed x time."""
    pace, now, sent = AudioPace(speed), 0.0, 0.0
    for piece in pieces:
        now = pace.due(piece, now)
        sent += piece
        assert sent <= 30.0 + speed * now + piece + 1e-6


def test_messages_with_sound_never_wait() -> None:
    """They are paced by their sound: also frames of 2.5 ms, an hour of them at once."""
    pace = MessagePace(rate=1.0, burst=1)
    assert all(pace.wait_s(0.0025, now=0.0) == 0.0 for _ in range(100_000))


def test_messages_without_sound_wait_after_a_burst() -> None:
    """As do frames of one sample, which cost the server as much."""
    for sound_s in (0.0, 1 / 16_000):
        pace = MessagePace(rate=20.0, burst=100)
        waits = [pace.wait_s(sound_s, now=0.0) or 0.0 for _ in range(200)]
        assert not any(waits[:100])
        assert waits[-1] == pytest.approx(5.0, rel=0.1)


def test_waiting_a_little_too_long_is_no_pause() -> None:
    """A loop wakes up late: who floods is sent away all the same."""
    pace, now = MessagePace(rate=20.0, burst=100), 0.0
    while (wait := pace.wait_s(0.0, now)) is not None:
        now += wait + 0.002 * (wait > 0)
        assert now < 11.0


def test_who_does_not_stop_is_sent_away() -> None:
    """Once it has had messages waiting for ten seconds; a pause forgives everything."""
    pace, now, passed = MessagePace(rate=20.0, burst=100), 0.0, 0
    while (wait := pace.wait_s(0.0, now)) is not None:
        now += wait
        passed += 1
    assert now == pytest.approx(10.0, abs=0.2)
    assert passed <= 100 + 20 * now + 1
    assert pace.wait_s(0.0, now + 10.0) == 0.0


def test_who_opens_stream_after_stream_gains_no_messages() -> None:
    """Each begins with what is left to its owner, who gets one burst more each second."""
    bursts = BurstBudget(burst=400, streams=4)
    assert [bursts.grant("ann", now=0.0) for _ in range(6)] == [400, 400, 400, 400, 0, 0]
    assert bursts.grant("ben", now=0.0) == 400
    assert bursts.grant("ann", now=0.25) == 100
    assert [bursts.grant("ann", now=100.0) for _ in range(5)] == [400, 400, 400, 400, 0]


def test_a_stream_that_begins_with_nothing_waits_at_once() -> None:
    """Its pace is that of all others; there is only no burst."""
    pace = MessagePace(rate=20.0, burst=400, at_once=0.0)
    assert pace.wait_s(0.0, now=0.0) == pytest.approx(1 / 20)
    assert pace.wait_s(0.1, now=0.0) == 0.0


def test_who_connects_again_and_again_is_let_in_so_often() -> None:
    """Who is refused has not come: it is let in as soon as one that behaves."""
    rate = ConnectRate(most=100, rate=20.0)
    assert [rate.admit("ann", now=0.0) for _ in range(300)] == [True] * 100 + [False] * 200
    assert rate.admit("ben", now=0.0)
    assert [rate.admit("ann", now=0.5) for _ in range(300)].count(True) == 10
    assert [rate.admit("ann", now=60.0) for _ in range(300)].count(True) == 100
