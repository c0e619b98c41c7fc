from __future__ import annotations

from streamser.events import Overload
from streamser.pipeline.emitter import Draft, DropCounter


def read(content: Draft | None) -> Overload:
    """Give a draft its number and return the event."""
    assert content is not None
    event = content(event_id="e", session_id="s", seq=1)
    assert isinstance(event, Overload)
    return event


def test_the_first_loss_is_told_at_once_and_the_next_after_a_second() -> None:
    """With all that was lost in between."""
    losses = DropCounter("partials")
    assert read(losses.note(1, "full", 100)).dropped == 1
    assert losses.note(1, "full", 8_000) is None
    assert losses.note(2, "full", 16_000) is None
    event = read(losses.note(1, "full", 16_100))
    assert (event.dropped, event.total, event.since_ms) == (4, 5, 500)


def test_sound_is_told_in_milliseconds_of_the_sum_not_as_a_sum_of_rounded_ones() -> None:
    """A thousand losses of half a millisecond are half a second."""
    losses = DropCounter("audio")
    for n in range(1000):
        losses.note(8, "dropped", n)
    assert losses.total_ms == 500
    assert read(losses.tell(1000)).total == 500


def test_what_was_not_told_yet_can_be_asked_for_once() -> None:
    """At the end of a session."""
    losses = DropCounter("audio")
    assert losses.tell(0) is None
    losses.note(16, "overflow", 0)
    losses.note(16, "overflow", 1)
    assert read(losses.tell(2)).dropped == 1
    assert losses.tell(3) is None


def test_a_loss_of_unknown_length_is_told_too() -> None:
    """A driver does not say how much it lost."""
    event = read(DropCounter("audio").note(0, "overflow", 0))
    assert (event.dropped, event.reason) == (0, "overflow")
