"""A sink of others gets every event, and harms nobody whatever it does."""

from __future__ import annotations

import threading

import pytest

from streamser.events import AnyEvent, EmotionCompleted, decode_event, encode_event
from streamser.export.sink_thread import SinkThread
from tests.cli.samples import closed, created, felt

BODIES = [encode_event(event) for event in (created(), felt(), felt(), felt(), felt(), closed())]
EVENTS = [decode_event(body) for body in BODIES]


class Taking:
    """Take events, up to a gate that stands open at first."""

    def __init__(self) -> None:
        self.taken: list[AnyEvent] = []
        self.closed = 0
        self.began = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def take(self, event: AnyEvent) -> None:
        self.began.set()
        self.gate.wait(60)
        self.taken.append(event)

    def close(self) -> None:
        self.closed += 1


def test_a_sink_gets_every_event_in_order_and_is_closed_once() -> None:
    """Nothing is told where nothing is wrong."""
    sink, told = Taking(), list[str]()
    thread = SinkThread("diary", sink, told.append, patient=False)
    for body in BODIES:
        thread.put(body)
    thread.close()
    thread.close()
    assert sink.taken == EVENTS
    assert (sink.closed, thread.complete, told) == (1, True, [])


def test_what_one_sink_does_to_an_event_no_other_sees() -> None:
    """Scores are a dictionary; each sink has its own."""

    class Spoiling(Taking):
        def take(self, event: AnyEvent) -> None:
            if isinstance(event, EmotionCompleted):
                event.emotion.scores.clear()
            super().take(event)

    spoiling, other = Spoiling(), Taking()
    threads = [SinkThread("x", sink, print, patient=False) for sink in (spoiling, other)]
    for body in BODIES:
        for thread in threads:
            thread.put(body)
    for thread in threads:
        thread.close()
    heard = [event for event in other.taken if isinstance(event, EmotionCompleted)]
    assert len(heard) == 4
    assert all(len(event.emotion.scores) == 4 for event in heard)


@pytest.mark.parametrize("fault", [ValueError("the disk\nis full"), SystemExit(3)])
@pytest.mark.parametrize("patient", [False, True])
def test_a_sink_that_raises_is_told_once_and_closed(fault: BaseException, patient: bool) -> None:
    """It gets no more events, and who puts them is not troubled."""

    class Failing(Taking):
        def take(self, event: AnyEvent) -> None:
            super().take(event)
            if len(self.taken) == 2:
                raise fault

    sink, told = Failing(), list[str]()
    thread = SinkThread("diary", sink, told.append, patient=patient)
    for body in BODIES:
        thread.put(body)
    thread.close()
    assert (len(sink.taken), sink.closed, thread.complete) == (2, 1, False)
    assert len(told) == 1
    assert told[0].startswith(f"sink diary: {type(fault).__name__}: ")
    assert told[0].endswith("; it gets no more events.")
    assert "is full" not in told[0]


def test_a_sink_that_cannot_be_closed_is_told() -> None:
    """What it holds may be lost."""

    class Stuck(Taking):
        def close(self) -> None:
            raise OSError("quota exceeded")

    told: list[str] = []
    thread = SinkThread("diary", Stuck(), told.append, patient=False)
    thread.close()
    assert told == ["sink diary: OSError: quota exceeded; it gets no more events."]


def test_a_slow_sink_of_a_live_stream_misses_what_there_is_no_room_for() -> None:
    """It is told at the first, and counted at the end; nobody waits."""
    sink, told = Taking(), list[str]()
    sink.gate.clear()
    thread = SinkThread("diary", sink, told.append, patient=False, most=2)
    thread.put(BODIES[0])
    assert sink.began.wait(60)
    for body in BODIES[1:]:
        thread.put(body)
    assert told == ["sink diary: it is too slow: events are left out."]
    sink.gate.set()
    thread.close()
    assert sink.taken == EVENTS[:3]
    assert thread.dropped == 3
    assert not thread.complete
    assert told[1:] == ["sink diary: 3 events were left out, as it was too slow."]


def test_a_slow_sink_of_recordings_is_waited_for() -> None:
    """Nothing is live, so nothing need be lost."""
    sink, told = Taking(), list[str]()
    thread = SinkThread("diary", sink, told.append, patient=True, most=1)
    for body in BODIES * 20:
        thread.put(body)
    thread.close()
    assert len(sink.taken) == len(BODIES) * 20
    assert told == []


@pytest.mark.parametrize("patient", [False, True])
def test_a_sink_that_hangs_is_given_up(patient: bool) -> None:
    """While events come, where it is waited for; at the end in any case."""
    sink, told = Taking(), list[str]()
    sink.gate.clear()
    thread = SinkThread(
        "diary", sink, told.append, patient=patient, most=2 if patient else 100, patience_s=0.02
    )
    thread.put(BODIES[0])
    assert sink.began.wait(60)
    for body in BODIES[1:]:
        thread.put(body)
    thread.close()
    why = "has taken no event for" if patient else "is not done within"
    assert told == [f"sink diary: it {why} 0.02 s; it gets no more events."]
    assert not thread.complete
    sink.gate.set()
