from __future__ import annotations

from typing import Any

from streamser.events import Overload
from streamser.pipeline.emitter import DropCounter


def read(report: dict[str, Any] | None) -> Overload:
    """Return the event that a report is told as."""
    assert report is not None
    return Overload(event_id="e", session_id="s", seq=1, **report)


def test_the_first_loss_is_told_at_once_and_the_next_after_a_second() -> None:
    """With all that was lost in between."""
    losses = DropCounter("partials")
    assert read(losses.drop(1, "full", 100)).dropped == 1
    assert losses.drop(1, "full", 8_000) is None
    assert losses.drop(2, "full", 16_000) is None
    event = read(losses.drop(1, "full", 16_100))
    assert (event.dropped, event.total, event.since_ms) == (4, 5, 500)


def test_sound_is_told_in_milliseconds_of_the_sum_not_as_a_sum_of_rounded_ones() -> None:
    """A thousand losses of half a millisecond are half a second."""
    losses = DropCounter("audio")
    for n in range(1000):
        losses.drop(8, "dropped", n)
    assert losses.total_ms == 500
    assert read(losses.rest(1000)).total == 500


def test_what_was_not_told_yet_can_be_asked_for_once() -> None:
    """At the end of a session."""
    losses = DropCounter("audio")
    assert losses.rest(0) is None
    losses.drop(16, "overflow", 0)
    losses.drop(16, "overflow", 1)
    assert read(losses.rest(2)).dropped == 1
    assert losses.rest(3) is None


def test_a_loss_of_unknown_length_is_told_too() -> None:
    """A driver does not say how much it lost."""
    event = read(DropCounter("audio").drop(0, "overflow", 0))
    assert (event.dropped, event.reason) == (0, "overflow")
