from __future__ import annotations

import queue
import threading
from collections import Counter

import pytest

from streamser.errors import ModelError
from streamser.runtime.crew import Crew
from streamser.runtime.engine import Engine
from streamser.runtime.jobs import Job, Observed, Outcome
from streamser.runtime.worker import BatchReport
from streamser.settings import WorkerSettings
from tests.runtime.doubles import LoudnessModel, SpellingTranscriber
from tests.runtime.test_worker import job

_GIVE_UP_S = 30


class Hands:
    """Build engines for a crew, and note which thread has answered for whom."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.answers: queue.SimpleQueue[tuple[str, int, Outcome]] = queue.SimpleQueue()
        self.places: dict[str, set[int]] = {}

    def build(self) -> Engine:
        """Build one."""
        self.engines.append(Engine(SpellingTranscriber(), LoudnessModel()))
        return self.engines[-1]

    def take(self, job: Job, outcome: Outcome) -> None:
        """Take an answer."""
        session = job.clip.session_id
        self.places.setdefault(session, set()).add(threading.get_ident())
        self.answers.put((session, job.id, outcome))

    def got(self, count: int) -> list[tuple[str, int, Outcome]]:
        """Wait for answers."""
        return [self.answers.get(timeout=_GIVE_UP_S) for _ in range(count)]


def test_sessions_are_shared_out_evenly_and_stay_where_they_are() -> None:
    """Twelve of them among three threads: four each, whatever is asked for them and when."""
    hands = Hands()
    crew = Crew(hands.build, WorkerSettings(processes=3, max_wait_ms=0))
    names = [f"s{n}" for n in range(12)]
    try:
        crew.engine()
        for name in names:
            crew.enter(name)
        for number in range(5):
            for name in names:
                crew.submit(job(number, name), hands.take)
        answers = hands.got(60)
    finally:
        crew.close()
    assert all(isinstance(outcome, Observed) for *_, outcome in answers)
    for name in names:
        assert [number for session, number, _ in answers if session == name] == list(range(5))
        assert len(hands.places[name]) == 1
    assert sorted(Counter(min(places) for places in hands.places.values()).values()) == [4, 4, 4]
    assert crew.stats.jobs == 60


def test_who_leaves_makes_room_for_others() -> None:
    """The next to enter goes where the fewest are."""
    hands = Hands()
    crew = Crew(hands.build, WorkerSettings(processes=2, max_wait_ms=0))
    try:
        crew.engine()
        for name in ("a", "b", "c", "d"):
            crew.enter(name)
            crew.submit(job(0, name), hands.take)
        hands.got(4)
        beside = [name for name in "bcd" if hands.places[name] == hands.places["a"]]
        for name in ("a", *beside):
            crew.leave(name)
        for name in ("e", "f"):
            crew.enter(name)
            crew.submit(job(0, name), hands.take)
        hands.got(2)
    finally:
        crew.close()
    assert hands.places["e"] == hands.places["f"] == hands.places["a"]


def test_a_crew_that_grows_takes_more_sessions_elsewhere() -> None:
    """And never shrinks; those who are there stay."""
    hands = Hands()
    crew = Crew(hands.build, WorkerSettings(max_wait_ms=0))
    try:
        assert crew.size == 1
        crew.enter("a")
        crew.grow(2)
        crew.grow(1)
        assert crew.size == 2
        crew.engine()
        crew.enter("b")
        for name in ("a", "b"):
            crew.submit(job(0, name), hands.take)
        hands.got(2)
    finally:
        crew.close()
    assert hands.places["a"] != hands.places["b"]


def test_batches_of_all_are_reported_one_at_a_time() -> None:
    """Whoever counts them need not lock."""
    hands = Hands()
    inside: list[int] = []
    most: list[int] = []
    reports: list[BatchReport] = []

    def watch(report: BatchReport) -> None:
        inside.append(1)
        most.append(len(inside))
        reports.append(report)
        inside.pop()

    crew = Crew(hands.build, WorkerSettings(processes=4, max_wait_ms=0, max_batch=1), watch)
    try:
        for n in range(8):
            crew.enter(f"s{n}")
        for number in range(20):
            for n in range(8):
                crew.submit(job(number, f"s{n}"), hands.take)
        hands.got(160)
    finally:
        crew.close()
    assert len(reports) == 160
    assert max(most) == 1


def test_models_that_cannot_be_loaded_are_told_of_and_the_crew_has_failed() -> None:
    """As for one thread."""

    def build() -> Engine:
        raise ModelError("no such model.")

    crew = Crew(build, WorkerSettings(processes=2))
    with pytest.raises(ModelError, match="no such model"):
        crew.engine()
    crew.close()
    assert crew.has_failed
    assert not crew.is_ready
