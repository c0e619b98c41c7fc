from __future__ import annotations

from functools import partial

from streamser.events import Event, Marker
from streamser.pipeline.emitter import Draft, EventEmitter, draft


def marker(name: str) -> Draft:
    """Draft an event that is easy to tell from others."""
    return draft(Marker, id=name, audio_ms=0)


def names(events: list[Event]) -> list[str]:
    """Name the events that left."""
    return [event.id for event in events if isinstance(event, Marker)]


def test_events_are_numbered_as_they_leave() -> None:
    """From 1, without gaps, each with a name of its own."""
    outbox = EventEmitter("s", ordered=False)
    for name in "abc":
        outbox.say(marker(name))
    events = outbox.collect()
    assert [event.seq for event in events] == [1, 2, 3]
    assert [event.event_id for event in events] == ["event_s_1", "event_s_2", "event_s_3"]
    assert outbox.collect() == []


def test_reserved_places_are_told_in_their_order() -> None:
    """One that is ready waits for those before it."""
    outbox = EventEmitter("s", ordered=False)
    first = outbox.reserve(partial(outbox.emit, marker("first")))
    second = outbox.reserve(partial(outbox.emit, marker("second")))
    second.ready = True
    outbox.settle()
    assert outbox.collect() == []
    first.ready = True
    outbox.settle()
    assert names(outbox.collect()) == ["first", "second"]


def test_what_is_said_passes_reserved_places_by() -> None:
    """A live client hears of speech that begins while an earlier final is still computed."""
    outbox = EventEmitter("s", ordered=False)
    outbox.reserve(partial(outbox.emit, marker("late")))
    outbox.say(marker("now"))
    assert names(outbox.collect()) == ["now"]


def test_in_an_ordered_outbox_nothing_passes_anything() -> None:
    """The sequence is that of saying and reserving, whenever places become ready."""
    outbox = EventEmitter("s", ordered=True)
    outbox.say(marker("before"))
    place = outbox.reserve(partial(outbox.emit, marker("place")))
    outbox.say(marker("after"))
    assert names(outbox.collect()) == ["before"]
    place.ready = True
    outbox.settle()
    assert names(outbox.collect()) == ["place", "after"]
