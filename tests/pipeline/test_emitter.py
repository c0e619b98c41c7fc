from __future__ import annotations

from streamser.emotion.model import Prediction
from streamser.emotion.tempo import Tempo
from streamser.events import Event, Marker
from streamser.pipeline.emitter import UNREADABLE, EventBuilder, EventEmitter
from streamser.pipeline.utterance import Analysed
from streamser.taxonomy import CATEGORIES, Dimensions


def marker(name: str) -> Marker:
    """Make an event that is easy to tell from others, without a number yet."""
    return Marker(event_id="", session_id="s", seq=0, id=name, audio_ms=0)


def names(events: list[Event]) -> list[str]:
    """Name the events that left."""
    return [event.id for event in events if isinstance(event, Marker)]


def test_events_are_numbered_as_they_leave() -> None:
    """From 1, without gaps, each with a name of its own."""
    emitter = EventEmitter("s", ordered=False)
    for name in "abc":
        emitter.post(marker(name))
    events = emitter.collect()
    assert [event.seq for event in events] == [1, 2, 3]
    assert [event.event_id for event in events] == ["event_s_1", "event_s_2", "event_s_3"]
    assert emitter.collect() == []


def test_reserved_places_are_told_in_their_order() -> None:
    """One that is ready waits for those before it."""
    emitter = EventEmitter("s", ordered=False)
    first = emitter.reserve(marker("first"))
    second = emitter.reserve(marker("second"))
    second.ready = True
    assert list(emitter.due()) == []
    assert emitter.collect() == []
    first.ready = True
    assert list(emitter.due()) == []
    assert names(emitter.collect()) == ["first", "second"]


def test_what_is_posted_passes_reserved_places_by() -> None:
    """A live client hears of speech that begins while an earlier final is still computed."""
    emitter = EventEmitter("s", ordered=False)
    emitter.reserve(marker("late"))
    emitter.post(marker("now"))
    assert names(emitter.collect()) == ["now"]


def test_in_an_ordered_emitter_nothing_passes_anything() -> None:
    """The sequence is that of saying and reserving, whenever places become ready."""
    emitter = EventEmitter("s", ordered=True)
    emitter.post(marker("before"))
    place = emitter.reserve(marker("place"))
    emitter.post(marker("after"))
    assert names(emitter.collect()) == ["before"]
    place.ready = True
    assert list(emitter.due()) == []
    assert names(emitter.collect()) == ["place", "after"]


def test_how_fast_it_was_spoken_stands_beside_what_the_model_measured() -> None:
    """In finals, whatever the model; not of sound in which nobody can be heard."""
    scores = dict.fromkeys(CATEGORIES, 0.25)
    read = Prediction(
        "unsure", 0.25, scores, Dimensions(), 1.0, ("audio",), {"f0_median_hz": 120.0}
    )
    found = Analysed(None, 0.0, tempo=Tempo(4.25, 0.12345, 0.3))
    builder = EventBuilder("rules", "Ann")
    told = builder.emotion(read, 0, 16_000, None, found).evidence
    tempo = {"speech_rate": 4.25, "pause_share": 0.1235, "longest_pause_s": 0.3}
    assert told == {"f0_median_hz": 120.0, **tempo}
    assert builder.emotion(read, 0, 16_000).evidence == read.evidence == {"f0_median_hz": 120.0}
    assert builder.emotion(UNREADABLE, 0, 16_000, None, found).evidence == {}
