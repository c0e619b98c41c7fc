"""How late a loop is, and since when bytes have waited that are read late."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from streamser.logs import FIELDS
from streamser.server.limits import PERIOD_S, Arrivals, LoopWatch
from tests.server.serving import demo, dial, encode, patience, serving


def turning(until: float) -> LoopWatch:
    """Return the watch of a loop that has turned in time up to a moment."""
    watch = LoopWatch()
    for n in range(round(until / PERIOD_S) + 1):
        watch.tick(n * PERIOD_S)
    return watch


def test_what_is_read_in_time_came_when_it_was_read() -> None:
    """Nothing is taken off where the loop turns."""
    arrivals = Arrivals(turning(1.0))
    assert arrivals.arrived(1.01) == 1.01
    assert arrivals.arrived(1.04) == 1.04


def test_what_is_read_after_a_standstill_counts_from_its_beginning() -> None:
    """It may have come then; and what comes once the loop turns again does not."""
    watch = turning(1.0)
    arrivals = Arrivals(watch)
    assert arrivals.arrived(15.0) == pytest.approx(1.0 + PERIOD_S)
    assert watch.tick(15.0) == pytest.approx(14.0 - PERIOD_S)
    assert arrivals.arrived(15.01) == 15.01


def test_what_is_read_after_a_pause_counts_from_its_beginning() -> None:
    """The loop turns all the while, but nobody looks into this socket."""
    arrivals = Arrivals(turning(9.0))
    arrivals.pause(2.0)
    arrivals.pause(3.0)
    assert arrivals.resume(9.0)
    assert arrivals.arrived(9.0) == 2.0
    assert arrivals.arrived(9.01) == 9.01


def test_a_pause_in_which_nothing_came_tells_nothing_of_what_comes_later() -> None:
    """Once the socket has been asked, and had nothing; of a moment it needs not be asked."""
    arrivals = Arrivals(turning(9.0))
    arrivals.pause(2.0)
    assert arrivals.resume(9.0)
    arrivals.settle()
    assert arrivals.arrived(9.02) == 9.02
    arrivals.pause(9.03)
    assert not arrivals.resume(9.031)
    assert arrivals.arrived(9.04) == 9.04


def test_what_comes_later_never_came_earlier() -> None:
    """Also where it is only known that it may have."""
    arrivals = Arrivals(turning(9.0))
    assert arrivals.arrived(9.0) == 9.0
    arrivals.pause(8.0)
    assert arrivals.arrived(9.01) == 9.0


def test_the_worst_is_told_for_a_while_and_what_still_lasts_at_once() -> None:
    """Fifteen seconds: a scrape sees it; then it is forgotten."""
    watch = LoopWatch()
    assert watch.late_s(0.0) == 0.0
    watch.tick(0.0)
    assert watch.late_s(3.0 + PERIOD_S) == pytest.approx(3.0)
    watch.tick(3.0 + PERIOD_S)
    watch.tick(4.0)
    assert watch.late_s(4.0) == pytest.approx(3.0)
    for n in range(4, 20):
        watch.tick(float(n))
    assert watch.late_s(19.0) == pytest.approx(1.0 - PERIOD_S)
    watch.stop()
    assert watch.late_s(100.0) == 0.0


def test_a_loop_that_stands_still_is_in_the_lags_the_metrics_and_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Sound that waits in the socket meanwhile has come, whoever could not look."""
    caplog.set_level(logging.WARNING, "streamser")

    async def scene() -> tuple[float, float, float]:
        async with serving() as server, dial(server, query="rate=16000") as wire:
            await wire.next()
            # Some turns, so that the loop is known to turn.
            await wire.settle()
            began = time.monotonic()
            await wire.raw(encode(demo(1.0)))
            time.sleep(0.6)
            stood = time.monotonic() - began
            (*_, started) = await wire.until("input_audio_buffer.speech_started")
            await wire.finish()
            late = server.metrics.registry.get_sample_value("streamser_loop_late_seconds")
            assert late is not None
            return stood, started["lag_ms"] / 1000, late

    stood, lag, late = asyncio.run(patience(scene()))
    assert lag >= stood - PERIOD_S - 0.001
    assert late >= stood - PERIOD_S - 0.001
    lines = [getattr(record, FIELDS, {}) for record in caplog.records]
    told = [line["seconds"] for line in lines if line.get("event") == "loop_late"]
    assert max(told) >= round(stood - PERIOD_S - 0.001, 3)
