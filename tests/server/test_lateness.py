"""When finals are too late to let newcomers in, and when no more."""

from __future__ import annotations

from streamser.server.limits import Admission, Lateness
from streamser.settings import ServerSettings


def test_one_final_that_takes_its_time_is_no_load() -> None:
    """Three are needed; of them the quarter that is slowest says nothing."""
    lateness = Lateness(5.0)
    assert lateness.add(30.0, 0.0)
    assert not lateness.is_late(0.0, 0.0)
    for lag in (0.2, 0.3, 0.2, 0.4):
        assert not lateness.add(lag, 1.0)
    assert not lateness.is_late(0.0, 1.0)
    assert lateness.seconds(0.0, 1.0) == 0.4


def test_what_waits_counts_before_it_is_told() -> None:
    """A queue that stands still tells of no lags at all."""
    lateness = Lateness(5.0)
    assert not lateness.is_late(4.9, 0.0)
    assert lateness.is_late(5.0, 1.0)


def test_it_is_over_only_once_it_is_clearly_better() -> None:
    """At half of the limit, so that the door does not flutter."""
    lateness = Lateness(5.0)
    assert lateness.is_late(6.0, 0.0)
    assert lateness.is_late(3.0, 1.0)
    assert not lateness.is_late(2.4, 2.0)
    assert not lateness.is_late(3.0, 3.0)


def test_it_recovers_by_itself() -> None:
    """Lags are forgotten after a quarter of a minute, also where nothing more is told."""
    lateness = Lateness(5.0)
    for _ in range(3):
        lateness.add(12.0, 0.0)
    assert lateness.is_late(0.0, 14.9)
    assert not lateness.is_late(0.0, 15.1)


def test_a_server_may_be_told_not_to_mind() -> None:
    """With 0 it takes everybody, whatever waits."""
    lateness = Lateness(0.0)
    assert not lateness.add(1000.0, 0.0)
    assert not lateness.is_late(1000.0, 0.0)


def test_a_late_server_refuses_a_fifth_stream_before_the_four_suffer() -> None:
    """Four streams whose finals come over ten seconds late: the next is to come later."""
    clock = [0.0]
    admission = Admission(ServerSettings(), lambda: clock[0])
    admission.ready = True
    for owner in "abcd":
        assert admission.refuse_stream(owner) is None
        admission.enter_stream(owner)
    for lag in (11.0, 4.0, 12.0, 10.0):
        admission.record_lag(lag)
    refusal = admission.refuse_stream("e")
    assert refusal is not None
    assert (refusal.code, refusal.status, refusal.retry_s) == ("overloaded", 503, 5)
    assert "finals are 11.0 s late" in refusal.message
    clock[0] = 16.0
    assert admission.refuse_stream("e") is None
