"""A session that is lost at any moment goes on in another, and nobody notices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from msgspec import msgpack
from msgspec.structs import replace

from streamser import events
from streamser.audio.clip import Samples
from streamser.hosting.records import (
    Clear,
    Commit,
    EndReplay,
    Flush,
    Lapse,
    Mark,
    Open,
    Push,
    Reconfigure,
    SessionInput,
    Told,
)
from streamser.hosting.remote import Journal
from streamser.pipeline.requests import Outcome
from streamser.pipeline.restart import ResumableSession
from streamser.pipeline.session import Output
from streamser.pipeline.session_config import SessionConfig
from streamser.pipeline.speaker_state import ForgetVoices, RenameSpeaker
from tests.pipeline.doubles import (
    APART,
    CountingListener,
    LevelVad,
    answer,
    events_of,
    make_config,
    requests_of,
    speech,
)

SOUND = speech(
    (0.4, 0), (1.2, 0.3), (0.9, 0), (0.5, 0.1), (0.8, 0), (5.2, 0.2), (0.7, 0), (1.0, 0.3), (6.5, 0)
)
TALK = speech(
    (0.4, 0), (1.6, 0.5), (0.9, 0), (1.8, 0.2), (0.8, 0), (1.2, 0.5), (0.7, 0), (2.2, 0.2), (0.8, 0)
)
TALK = np.concatenate([TALK, TALK, TALK])
TOGETHER = speech(
    (0.4, 0),
    (1.6, 0.5),
    (0.9, 0),
    (2.2, 0.5),
    (2.2, 0.2),
    (0.8, 0),
    (2.4, 0.2),
    (2.2, 0.5),
    (0.8, 0),
)
TOGETHER = np.concatenate([TOGETHER, TOGETHER])
IN_PASSING = (events.TranscriptPartial, events.TranscriptionDelta, events.EmotionDelta)


class Host:
    """Drive one session with doubles; what is asked is answered when the dice say so.

    A ``busy`` one tells of much at once, as a worker does to which much has come at once.
    """

    def __init__(self, begins: Open, dice: random.Random, *, busy: bool = False) -> None:
        self._dice = dice
        self._busy = busy
        self._untold: list[Output] = []
        self._told_to = 0
        self.session = ResumableSession(begins.config, LevelVad(), CountingListener)
        self._waiting: list[tuple[int, Outcome]] = []
        self._applied = 0
        if begins.past is None:
            self.first = self._take(self.session.begin())
        else:
            self._applied = begins.past.point.boundary.inputs
            self.session.resume(begins.past)
            self.first = self._take([])

    def apply(self, item: SessionInput) -> Told:
        """Give it something, and answer some of what it has asked for."""
        if not isinstance(item, Push):
            self.session.inputs += 1
        output = self._step(item)
        self._applied += 1
        self.session.inputs = self._applied
        while self._waiting and self._dice.random() < 0.4:
            output += self.session.resolve(*self._waiting.pop(0))
        return self._take(output)

    def settle(self) -> Told:
        """Answer all there is to answer."""
        output: list[Output] = []
        while self._waiting:
            more = self.session.resolve(*self._waiting.pop(0))
            self._ask(more)
            output += more
        return self._take(output, asked=True)

    def _step(self, item: SessionInput) -> list[Output]:
        session = self.session
        match item:
            case Push(samples):
                return session.push(np.frombuffer(samples, np.float32))
            case Commit():
                return session.commit(lenient=True)
            case Clear():
                return session.clear()
            case Mark(name):
                return session.mark(name)
            case Reconfigure(config):
                return session.configure(config)
            case RenameSpeaker() | ForgetVoices():
                return session.name_speakers(item)
            case Lapse(samples, all_heard):
                return session.lapse(samples, all_heard=all_heard)
            case EndReplay():
                return session.end_replay()
            case Flush():
                return session.flush()
        raise AssertionError(item)

    def _take(self, output: list[Output], *, asked: bool = False) -> Told:
        if not asked:
            self._ask(output)
        self._untold += output
        if self._busy and not asked and not self.session.closed and self._dice.random() < 0.9:
            return Told(session_id="s", events=[], position=self._told_to, closed=False)
        output, self._untold = self._untold, []
        self._told_to = self.session.position
        told = Told(
            session_id="s",
            events=cast("list[events.SessionEvent]", events_of(output)),
            position=self.session.position,
            point=self.session.restart_point(),
            closed=self.session.closed,
        )
        # As it crosses between processes.
        return msgpack.decode(msgpack.encode(told), type=Told)

    def _ask(self, output: Sequence[Output]) -> None:
        self._waiting += [(request.id, answer(request)) for request in requests_of(output)]


def play(
    config: SessionConfig,
    items: Sequence[SessionInput],
    seed: int,
    losses: int,
    *,
    busy: bool = False,
) -> list[events.SessionEvent]:
    """Play a session that is lost now and then; return all its events."""
    dice = random.Random(seed)
    journal = Journal(config, None)
    told: list[events.SessionEvent] = []

    def note(new: Told) -> None:
        journal.note(new)
        told.extend(new.events)

    def begin() -> Host:
        begins, again = journal.replay()
        # As it crosses between processes.
        host = Host(msgpack.decode(msgpack.encode(begins), type=Open), dice, busy=busy)
        note(host.first)
        for item in again:
            note(host.apply(item))
        return host

    host = begin()
    lost_at = {dice.randrange(len(items)) for _ in range(losses)}
    for place, item in enumerate(items):
        journal.give(item)
        if place in lost_at:
            # Sometimes before it was heard, sometimes after it, and what it said is lost.
            if dice.random() < 0.5:
                host.apply(item)
            host = begin()
        else:
            note(host.apply(item))
    if losses and dice.random() < 0.5:
        host = begin()
    while not host.session.closed:
        note(host.settle())
    return told


def pieces(seed: int, sound: Samples = SOUND) -> list[SessionInput]:
    """Cut the sound anywhere."""
    dice = random.Random(seed)
    items: list[SessionInput] = []
    at = 0
    while at < len(sound):
        size = dice.choice([160, 320, 1600, 4000, 8000])
        items.append(Push(sound[at : at + size].tobytes(), 0.0, 0))
        at += size
    return items


def unnumbered(told: Sequence[events.SessionEvent]) -> list[events.SessionEvent]:
    """Leave out what tells of the timing alone, and numbers with it."""
    stay = (event for event in told if not isinstance(event, (*IN_PASSING, events.Overload)))
    return [
        replace(event, seq=0, event_id="", **({"partials_dropped": 0} if closed(event) else {}))
        for event in stay
    ]


def closed(event: events.SessionEvent) -> bool:
    """Tell the last event."""
    return isinstance(event, events.SessionClosed)


def by_kind(told: Sequence[events.SessionEvent]) -> dict[str, list[events.SessionEvent]]:
    """Sort events by kind: a live session tells of sound and of models side by side."""
    kinds: dict[str, list[events.SessionEvent]] = {}
    for event in unnumbered(told):
        kinds.setdefault(event.type, []).append(event)
    return kinds


@pytest.mark.parametrize("seed", range(40))
def test_a_live_session_tells_the_same_however_often_it_is_lost(seed: int) -> None:
    """Each utterance once, with the words, emotion, mood and speaker's history it would have."""
    config = make_config(max_length_ms=2000)
    items = [*pieces(seed), Flush()]
    calm = play(config, items, seed, losses=0)
    disturbed = play(config, items, seed, losses=1 + seed % 4)
    assert by_kind(disturbed) == by_kind(calm)
    assert [event.seq for event in disturbed] == list(range(1, len(disturbed) + 1))
    finals = [event for event in disturbed if isinstance(event, events.EmotionCompleted)]
    assert len(finals) >= 6


@pytest.mark.parametrize("seed", range(20))
def test_a_session_of_a_busy_worker_tells_the_same_however_often_it_is_lost(seed: int) -> None:
    """Also before its first events have said from where another can go on."""
    config = make_config(max_length_ms=2000)
    items = [*pieces(seed), Flush()]
    calm = play(config, items, seed, losses=0)
    disturbed = play(config, items, seed, losses=1 + seed % 4, busy=True)
    assert by_kind(disturbed) == by_kind(calm)
    assert [event.seq for event in disturbed] == list(range(1, len(disturbed) + 1))


@pytest.mark.parametrize("seed", range(25))
def test_an_ordered_session_tells_the_very_same_sequence(seed: int) -> None:
    """Partials included, to the last number."""
    config = make_config(ordered=True, max_length_ms=2000)
    items = [*pieces(seed), Flush()]
    calm = play(config, items, seed, losses=0)
    assert play(config, items, seed, losses=1 + seed % 4) == calm


@pytest.mark.parametrize("seed", range(10))
def test_a_session_that_becomes_ordered_is_so_where_it_goes_on(seed: int) -> None:
    """A client says so in its first message, after the session has begun."""
    config = make_config(max_length_ms=2000)
    items = [Reconfigure(replace(config, ordered=True), False), *pieces(seed), Flush()]
    calm = play(config, items, seed, losses=0)
    assert play(config, items, seed, losses=1 + seed % 4) == calm


@pytest.mark.parametrize("seed", range(30))
def test_what_a_client_asked_for_meanwhile_is_not_asked_twice(seed: int) -> None:
    """Commits, markers, a changed set-up and silence are where they were in the sound."""
    config = make_config(max_length_ms=4000)
    dice = random.Random(1000 + seed)
    items: list[SessionInput] = [*pieces(seed)]
    extra: list[SessionInput] = [
        Commit(None, lenient=True),
        Mark("a"),
        Mark("b"),
        Clear(),
        Reconfigure(replace(config, partial_every=0), False),
        Lapse(config.no_sound, all_heard=True),
    ]
    for item in extra:
        items.insert(dice.randrange(1, len(items)), item)
    items.append(Flush())
    calm = play(config, items, seed, losses=0)
    disturbed = play(config, items, seed, losses=1 + seed % 4)
    assert by_kind(disturbed) == by_kind(calm)


@pytest.mark.parametrize("seed", range(10))
def test_a_session_of_commits_goes_on_too(seed: int) -> None:
    """Where nobody listens for pauses."""
    config = replace(make_config(max_length_ms=3000), manual=True)
    items: list[SessionInput] = []
    for place, item in enumerate(pieces(seed)):
        items.append(item)
        if place % 9 == 8:
            items.append(Commit(None, lenient=True))
    items.append(Flush())
    calm = play(config, items, seed, losses=0)
    assert by_kind(play(config, items, seed, losses=3)) == by_kind(calm)


@pytest.mark.parametrize("seed", range(20))
def test_who_speaks_at_a_microphone_is_known_elsewhere_too(seed: int) -> None:
    """Labels, corrections of them, and what is usual for each voice."""
    config = make_config(max_length_ms=2000, apart=APART, ordered=seed % 2 == 1)
    items = [*pieces(seed, TALK), Flush()]
    calm = play(config, items, seed, losses=0)
    assert by_kind(play(config, items, seed, losses=1 + seed % 4)) == by_kind(calm)
    finals = [event.emotion for event in calm if isinstance(event, events.EmotionCompleted)]
    assert {body.speaker for body in finals} == {"speaker 1", "speaker 2"}


@pytest.mark.parametrize("seed", range(20))
def test_several_in_one_utterance_are_read_the_same_elsewhere(seed: int) -> None:
    """Each part, and what is usual for its speaker; also where it was lost while they were read."""
    config = make_config(apart=APART, ordered=seed % 2 == 1)
    items = [*pieces(seed, TOGETHER), Flush()]
    calm = play(config, items, seed, losses=0)
    assert by_kind(play(config, items, seed, losses=1 + seed % 4)) == by_kind(calm)
    finals = [event.parts for event in calm if isinstance(event, events.EmotionCompleted)]
    read = [part for parts in finals for part in parts if part.emotion is not None]
    assert len(read) >= 6


@pytest.mark.parametrize("seed", range(10))
def test_a_speaker_who_was_named_keeps_the_name(seed: int) -> None:
    """However often the session is lost; nobody is refused for what was done before."""
    config = make_config(max_length_ms=2000, apart=APART)
    items = pieces(seed, TALK)
    items.insert(2 * len(items) // 3, RenameSpeaker("speaker 1", "Ann"))
    items.append(Flush())
    disturbed = play(config, items, seed, losses=4)
    finals = [event.emotion for event in disturbed if isinstance(event, events.EmotionCompleted)]
    labels = [body.speaker for body in finals]
    assert set(labels) == {"speaker 1", "speaker 2", "Ann"}
    assert "speaker 1" not in labels[labels.index("Ann") :]


def test_voices_that_are_forgotten_are_forgotten_where_they_are_kept_too() -> None:
    """At once: a session that is lost then goes on without them."""
    config = make_config(max_length_ms=2000, apart=APART)
    journal = Journal(config, None)
    host = Host(journal.replay()[0], random.Random(1))
    journal.note(host.first)
    for item in pieces(1, TALK):
        journal.give(item)
        journal.note(host.apply(item))
        journal.note(host.settle())
    assert journal.point is not None
    assert journal.point.speakers.voices is not None
    assert len(journal.point.speakers.voices.voices) == 2
    late = journal.point
    journal.give(ForgetVoices())
    # What was on its way by then comes after it.
    for told in (None, Told(session_id="s", position=host.session.position, point=late)):
        if told is not None:
            journal.note(told)
        assert journal.point.speakers.own == {}
        assert journal.point.speakers.voices is not None
        assert journal.point.speakers.voices.voices == {}
        assert journal.point.speakers.voices.recent == ()


def test_no_more_sound_is_kept_than_another_needs() -> None:
    """In speech, what came since the last utterance told of; in silence, some seconds."""
    config = make_config(max_length_ms=2000)
    dice = random.Random(1)
    journal = Journal(config, None)
    host = Host(journal.replay()[0], dice)
    journal.note(host.first)
    kept = []
    for item in [*pieces(0), *pieces(1, np.zeros(60 * 16_000, np.float32))]:
        journal.give(item)
        journal.note(host.apply(item))
        journal.note(host.settle())
        kept.append(journal.kept_bytes / 4 / 16_000)
    assert max(kept) < 7.0
    assert kept[-1] < 6.0
