from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from streamser.audio.clip import Clip
from streamser.emotion.model import Segment
from streamser.errors import ModelError
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import EmotionRequest, Fault, Observed, Outcome, Request, Skipped
from streamser.pipeline.worker import BatchReport, InferenceWorker
from streamser.settings import WorkerSettings
from tests.faults.doubles import HandTime
from tests.pipeline.doubles import ForgetfulTranscriber, LoudnessModel, SpellingTranscriber, speech

Answers = queue.SimpleQueue[tuple[str, int, Outcome]]


class GatedModel(LoudnessModel):
    """Wait at a gate before each batch, so that a test decides what is waiting meanwhile."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def extract(self, batch: Sequence[Segment]) -> list[float]:
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(batch))
        self.entered.release()
        assert self.gate.acquire(timeout=60)
        return super().extract(batch)


def request(number: int, session: str = "a", *, droppable: bool = False) -> Request:
    """Make a request of a tenth of a second."""
    clip = Clip(session, number, 0, speech((0.1, 0.3), seed=number), final=not droppable)
    return EmotionRequest(number, clip, 1600, droppable)


def into(answers: Answers) -> Callable[[Request, Outcome], None]:
    """Post outcomes where the test can wait for them."""
    return lambda request, outcome: answers.put((request.clip.session_id, request.id, outcome))


@contextmanager
def gated(settings: WorkerSettings) -> Iterator[tuple[InferenceWorker, GatedModel, Answers]]:
    """Run a worker thread whose model waits at a gate, busy with request 0."""
    model = GatedModel()
    worker = InferenceWorker(lambda: Engine(None, model), settings)
    answers: Answers = queue.SimpleQueue()
    worker.submit(request(0), into(answers))
    assert model.entered.acquire(timeout=60)
    try:
        yield worker, model, answers
    finally:
        model.gate.release(1000)
        worker.close()


def test_requests_that_wait_are_run_as_one_batch() -> None:
    """Up to the largest batch, across sessions, and all on the one thread."""
    with gated(WorkerSettings(max_batch=4)) as (worker, model, answers):
        for n in range(1, 7):
            worker.submit(request(n, f"s{n}"), into(answers))
        model.gate.release(9)
        got = [answers.get(timeout=60) for _ in range(7)]
    assert model.batches == [1, 4, 2]
    assert [number for _, number, _ in got] == list(range(7))
    assert all(isinstance(outcome, Observed) for *_, outcome in got)
    assert model.threads == {"streamser-device"}
    assert worker.stats.requests == 7
    assert worker.stats.largest_batch == 4


def test_a_recogniser_that_gains_nothing_by_batches_gets_none() -> None:
    """A final that comes while readings wait is the next one; it waits for one request at most."""

    class Plodding(SpellingTranscriber):
        batches = False

    model = GatedModel()
    worker = InferenceWorker(lambda: Engine(Plodding(), model), WorkerSettings(max_batch=8))
    answers: Answers = queue.SimpleQueue()
    try:
        worker.submit(request(0), into(answers))
        assert model.entered.acquire(timeout=60)
        for n in (1, 2):
            worker.submit(request(n, f"s{n}", droppable=True), into(answers))
        worker.submit(request(3, "s3"), into(answers))
        model.gate.release(9)
        assert [answers.get(timeout=60)[1] for _ in range(4)] == [0, 3, 1, 2]
    finally:
        worker.close()
    assert model.batches == [1, 1, 1, 1]


def test_a_cancelled_request_is_not_run_and_not_answered() -> None:
    """Unless it had begun."""
    with gated(WorkerSettings()) as (worker, model, answers):
        worker.submit(request(1), into(answers))
        worker.submit(request(2), into(answers))
        worker.cancel("a", 1)
        model.gate.release(9)
        assert [answers.get(timeout=60)[1] for _ in range(2)] == [0, 2]


def test_overtaken_partials_are_answered_as_skipped() -> None:
    """So that nobody waits for them."""
    with gated(WorkerSettings()) as (worker, model, answers):
        worker.submit(request(1, droppable=True), into(answers))
        worker.submit(request(2, droppable=True), into(answers))
        assert answers.get(timeout=60) == ("a", 1, Skipped("coalesced"))
        model.gate.release(9)


def test_closing_finishes_what_waits_and_refuses_what_comes_later() -> None:
    """No final is lost at shutdown."""
    answers: Answers = queue.SimpleQueue()
    worker = InferenceWorker(lambda: Engine(None, LoudnessModel()), WorkerSettings(max_batch=1))
    for n in range(20):
        worker.submit(request(n), into(answers))
    worker.close()
    assert [answers.get(timeout=1)[1] for _ in range(20)] == list(range(20))
    worker.submit(request(99), into(answers))
    assert isinstance(answers.get(timeout=1)[2], Fault)


def test_a_model_that_cannot_be_loaded_is_told_to_whoever_asks() -> None:
    """The error of the loader, not a hang."""

    def build() -> Engine:
        raise ModelError("no such model.")

    worker = InferenceWorker(build, WorkerSettings())
    with pytest.raises(ModelError, match="no such model"):
        worker.engine()
    answers: Answers = queue.SimpleQueue()
    worker.submit(request(1), into(answers))
    assert answers.get(timeout=60)[2] == Fault("model_unavailable", "no such model.")
    worker.close()


def test_one_who_cannot_take_an_answer_keeps_nobody_from_theirs() -> None:
    """Nor does a model that cannot forget a session."""

    class Clinging(SpellingTranscriber):
        def forget(self, session_id: str) -> None:
            raise RuntimeError("I cannot forget")

    asked = threading.Event()

    def refuse(request: Request, outcome: Outcome) -> None:
        asked.set()
        raise RuntimeError("not for me")

    answers: Answers = queue.SimpleQueue()
    worker = InferenceWorker(
        lambda: Engine(Clinging(), LoudnessModel()), WorkerSettings(max_batch=1)
    )
    worker.submit(request(1), refuse)
    assert asked.wait(60)
    worker.leave("a")
    worker.submit(request(2, "b"), into(answers))
    assert isinstance(answers.get(timeout=60)[2], Observed)
    worker.close()
    assert worker.stats.died == 0


def test_what_a_recogniser_keeps_for_a_session_is_dropped_when_it_leaves() -> None:
    """On the worker thread, and together with the session's waiting requests."""
    recogniser = ForgetfulTranscriber()
    worker = InferenceWorker(lambda: Engine(recogniser, LoudnessModel()), WorkerSettings())
    answers: Answers = queue.SimpleQueue()
    worker.enter("a")
    worker.enter("b")
    worker.submit(request(1, "a"), into(answers))
    answers.get(timeout=60)
    worker.leave("a")
    worker.leave("b")
    worker.close()
    assert recogniser.forgotten == ["a"], "of the other there was nothing to forget"


def test_each_batch_is_reported_with_what_waited_and_failed() -> None:
    """For whoever measures; what waits now can be asked for at any time."""
    reports: list[BatchReport] = []
    model = GatedModel()
    worker = InferenceWorker(lambda: Engine(None, model), WorkerSettings(), reports.append)
    answers: Answers = queue.SimpleQueue()
    worker.submit(request(0), into(answers))
    assert model.entered.acquire(timeout=60)
    worker.submit(request(1), into(answers))
    worker.submit(request(2, droppable=True), into(answers))
    load = worker.load()
    assert (load.finals, load.partials) == (1, 1)
    assert load.oldest_s >= 0
    model.gate.release(3)
    worker.close()
    assert [len(report.waited_s) for report in reports] == [1, 1, 1]
    assert all(report.faults == 0 for report in reports)
    assert sum(report.spent.judging_s for report in reports) > 0


def test_a_worker_rests_after_partials_and_finals_find_it_free() -> None:
    """As long as they took, so that they have half of its time and no more."""
    time = HandTime()

    class Slow(GatedModel):
        def extract(self, batch: Sequence[Segment]) -> list[float]:
            found = super().extract(batch)
            time.move(2.0)
            return found

    model = Slow()
    model.gate.release(9)
    worker = InferenceWorker(lambda: Engine(None, model), WorkerSettings(), timing=time)
    answers: Answers = queue.SimpleQueue()
    try:
        worker.submit(request(0, droppable=True), into(answers))
        assert answers.get(timeout=60)[1] == 0
        worker.submit(request(1, droppable=True), into(answers))
        worker.submit(request(2, "b"), into(answers))
        assert answers.get(timeout=60)[1] == 2
        # The final took two seconds itself: the rest is over with it.
        assert answers.get(timeout=60)[1] == 1
        worker.submit(request(3, droppable=True), into(answers))
        assert worker.load().partials == 1
        time.move(1.9)
        assert worker.load().partials == 1
        time.move(0.1)
        assert answers.get(timeout=60)[1] == 3
    finally:
        worker.close()


def test_sessions_that_come_and_go_while_there_are_no_models_leave_nothing_behind() -> None:
    """Models may be loading for minutes, or never be there: whoever leaves is forgotten."""
    loaded = threading.Event()

    def build() -> Engine:
        assert loaded.wait(60)
        raise ModelError("no such file")

    worker = InferenceWorker(build, WorkerSettings())
    answers: Answers = queue.SimpleQueue()

    def come_and_go(times: int) -> None:
        for number in range(times):
            worker.enter(f"s{number}")
            worker.submit(request(number, f"s{number}"), into(answers))
            worker.leave(f"s{number}")

    come_and_go(100)
    loaded.set()
    with pytest.raises(ModelError):
        worker.engine()
    come_and_go(100)
    tray = worker._queue
    assert not tray._gone
    assert not tray._sessions
    assert not tray._served
    worker.close()
