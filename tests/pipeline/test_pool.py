from __future__ import annotations

import queue
import threading
from collections import Counter

import pytest

from streamser.errors import ModelError
from streamser.pipeline.engine import Engine
from streamser.pipeline.pool import WorkerPool
from streamser.pipeline.requests import Observed, Outcome, Request
from streamser.pipeline.worker import BatchReport
from streamser.settings import WorkerSettings
from tests.pipeline.doubles import LoudnessModel, SpellingTranscriber
from tests.pipeline.test_worker import request

_GIVE_UP_S = 30


class Hands:
    """Build engines for a pool, and note which thread has answered for whom."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.answers: queue.SimpleQueue[tuple[str, int, Outcome]] = queue.SimpleQueue()
        self.places: dict[str, set[int]] = {}

    def build(self) -> Engine:
        """Build one."""
        self.engines.append(Engine(SpellingTranscriber(), LoudnessModel()))
        return self.engines[-1]

    def take(self, request: Request, outcome: Outcome) -> None:
        """Take an answer."""
        session = request.clip.session_id
        self.places.setdefault(session, set()).add(threading.get_ident())
        self.answers.put((session, request.id, outcome))

    def got(self, count: int) -> list[tuple[str, int, Outcome]]:
        """Wait for answers."""
        return [self.answers.get(timeout=_GIVE_UP_S) for _ in range(count)]


def test_sessions_are_shared_out_evenly_and_stay_where_they_are() -> None:
    """Twelve of them among three threads: four each, whatever is asked for them and when."""
    hands = Hands()
    pool = WorkerPool(hands.build, WorkerSettings(processes=3, max_wait_ms=0))
    names = [f"s{n}" for n in range(12)]
    try:
        pool.engine()
        for name in names:
            pool.enter(name)
        for number in range(5):
            for name in names:
                pool.submit(request(number, name), hands.take)
        answers = hands.got(60)
    finally:
        pool.close()
    assert all(isinstance(outcome, Observed) for *_, outcome in answers)
    for name in names:
        assert [number for session, number, _ in answers if session == name] == list(range(5))
        assert len(hands.places[name]) == 1
    assert sorted(Counter(min(places) for places in hands.places.values()).values()) == [4, 4, 4]
    assert pool.stats.requests == 60


def test_who_leaves_makes_room_for_others() -> None:
    """The next to enter goes where the fewest are."""
    hands = Hands()
    pool = WorkerPool(hands.build, WorkerSettings(processes=2, max_wait_ms=0))
    try:
        pool.engine()
        for name in ("a", "b", "c", "d"):
            pool.enter(name)
            pool.submit(request(0, name), hands.take)
        hands.got(4)
        beside = [name for name in "bcd" if hands.places[name] == hands.places["a"]]
        for name in ("a", *beside):
            pool.leave(name)
        for name in ("e", "f"):
            pool.enter(name)
            pool.submit(request(0, name), hands.take)
        hands.got(2)
    finally:
        pool.close()
    assert hands.places["e"] == hands.places["f"] == hands.places["a"]


def test_a_crew_that_grows_takes_more_sessions_elsewhere() -> None:
    """And never shrinks; those who are there stay."""
    hands = Hands()
    pool = WorkerPool(hands.build, WorkerSettings(max_wait_ms=0))
    try:
        assert pool.size == 1
        pool.enter("a")
        pool.grow(2)
        pool.grow(1)
        assert pool.size == 2
        pool.engine()
        pool.enter("b")
        for name in ("a", "b"):
            pool.submit(request(0, name), hands.take)
        hands.got(2)
    finally:
        pool.close()
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

    pool = WorkerPool(hands.build, WorkerSettings(processes=4, max_wait_ms=0, max_batch=1), watch)
    try:
        for n in range(8):
            pool.enter(f"s{n}")
        for number in range(20):
            for n in range(8):
                pool.submit(request(number, f"s{n}"), hands.take)
        hands.got(160)
    finally:
        pool.close()
    assert len(reports) == 160
    assert max(most) == 1


def test_models_that_cannot_be_loaded_are_told_of_and_the_crew_has_failed() -> None:
    """As for one thread."""

    def build() -> Engine:
        raise ModelError("no such model.")

    pool = WorkerPool(build, WorkerSettings(processes=2))
    with pytest.raises(ModelError, match="no such model"):
        pool.engine()
    pool.close()
    assert pool.has_failed
    assert not pool.is_ready
