"""A worker thread that dies, hangs or cannot be replaced: nobody waits for ever, none in vain."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from streamser.audio.clip import Clip
from streamser.errors import ModelError
from streamser.pipeline.requests import Fault, Outcome, Request, WordsRequest
from streamser.pipeline.worker import InferenceWorker
from streamser.settings import WorkerSettings
from streamser.speech.transcriber import Transcript
from tests.faults.doubles import GIVE_UP_S, HandTime, Mishap, Workshop, get
from tests.pipeline.doubles import speech


def request(number: int, session: str = "a") -> Request:
    """Make a request of a tenth of a second."""
    clip = Clip(session, number, 0, speech((0.1, 0.3)), final=True)
    return WordsRequest(number, clip, droppable=False)


class Bench:
    """Run a worker thread by hand: its requests, its answers, its time."""

    def __init__(
        self,
        mishap: Mishap,
        before: Callable[[int], None] | None = None,
        settings: WorkerSettings | None = None,
    ) -> None:
        self.time = HandTime()
        self.shop = Workshop(mishap, before)
        settings = settings or WorkerSettings(max_wait_ms=0)
        self.worker = InferenceWorker(self.shop.build, settings, timing=self.time)
        self._answers: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()

    def ask(self, *numbers: int, session: str = "a") -> None:
        """Submit requests."""
        for number in numbers:
            self.worker.submit(request(number, session), self._answer)

    def answers(self, count: int) -> dict[int, str]:
        """Wait for outcomes; each is "ok" or the code of a fault, by the number of the request."""
        got = [self._answers.get(timeout=GIVE_UP_S) for _ in range(count)]
        assert len({number for number, _ in got}) == count
        return {number: _short(outcome) for number, outcome in got}

    @property
    def unread(self) -> bool:
        """Return whether there are answers that nobody has waited for."""
        return not self._answers.empty()

    def _answer(self, request: Request, outcome: Outcome) -> None:
        self._answers.put((request.id, outcome))


def _short(outcome: Outcome) -> str:
    if isinstance(outcome, Fault):
        return outcome.code
    return "ok" if isinstance(outcome, Transcript) else "skipped"


class Gate:
    """Hold up every batch that has one of these utterances, each time, until opened."""

    def __init__(self, *utterances: int) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self._utterances = utterances

    def __call__(self, clips: Sequence[Clip]) -> None:
        if any(clip.utterance in self._utterances for clip in clips):
            self.entered.release()
            assert self.open.wait(GIVE_UP_S)


@contextmanager
def gate(*utterances: int) -> Iterator[Gate]:
    """Make a gate that is open in the end."""
    made = Gate(*utterances)
    try:
        yield made
    finally:
        made.open.set()


def leave(clips: Sequence[Clip]) -> None:
    """End the thread, as a library does that calls exit."""
    raise SystemExit("I have had enough")


def once(mishap: Mishap) -> Mishap:
    """Let it happen to the first batch alone."""
    left = iter([mishap])
    return lambda clips: next(left, lambda _: None)(clips)


def after(*mishaps: Mishap) -> Mishap:
    """Let one happen after the other."""

    def all_of_them(clips: Sequence[Clip]) -> None:
        for mishap in mishaps:
            mishap(clips)

    return all_of_them


def test_a_thread_that_dies_is_replaced_and_its_requests_are_tried_again() -> None:
    """With another engine, built by the new thread; nobody notices but the counts."""
    bench = Bench(once(leave))
    bench.ask(1)
    assert bench.answers(1) == {1: "ok"}
    assert len(bench.shop.engines) == 2
    assert bench.shop.builders == ["streamser-device"] * 2
    assert bench.worker.engine() is bench.shop.engines[1]
    stats = bench.worker.stats
    assert (stats.died, stats.retries, stats.faults, stats.stuck) == (1, 1, 0, 0)
    bench.worker.close()


def test_a_request_over_which_the_thread_dies_twice_fails_alone() -> None:
    """Those that shared its batch are answered, each by itself."""

    def poison(clips: Sequence[Clip]) -> None:
        if any(clip.utterance == 2 for clip in clips):
            leave(clips)

    with gate(0) as held:
        bench = Bench(after(held, poison))
        bench.ask(0)
        get(held.entered)
        bench.ask(1, 2, 3)
        held.open.set()
        assert bench.answers(4) == {0: "ok", 1: "ok", 2: "worker_died", 3: "ok"}
    assert bench.shop.batches == [[0], [1, 2, 3], [1], [2], [3]]
    stats = bench.worker.stats
    assert (stats.died, stats.retries, stats.faults) == (2, 3, 1)
    bench.worker.close()


def test_what_was_withdrawn_while_the_thread_died_is_not_tried_again() -> None:
    """Whoever has left takes no device down once more."""

    def die(clips: Sequence[Clip]) -> None:
        held(clips)
        if clips[0].session_id != "c":
            leave(clips)

    with gate(1) as held:
        bench = Bench(die)
        bench.ask(1)
        get(held.entered)
        bench.worker.cancel("a", 1)
        bench.ask(2, session="c")
        held.open.set()
        assert bench.answers(1) == {2: "ok"}
        assert bench.shop.batches == [[1], [2]]
        bench.worker.close()
    assert not bench.unread


def test_a_batch_that_hangs_is_tried_again_request_by_request() -> None:
    """The one that hangs again fails with `deadline`; the stuck threads' answers go nowhere."""
    with gate(0) as first, gate(2) as held:
        bench = Bench(after(first, held))
        bench.ask(0)
        get(first.entered)
        bench.ask(1, 2, 3)
        bench.time.move(59)
        first.open.set()
        get(held.entered)
        bench.time.move(60)
        get(held.entered)
        bench.time.move(60)
        assert bench.answers(4) == {0: "ok", 1: "ok", 2: "deadline", 3: "ok"}
        assert bench.shop.batches == [[0], [1, 2, 3], [1], [2], [3]]
        stats = bench.worker.stats
        assert (stats.stuck, stats.retries, stats.faults) == (2, 3, 1)
    bench.ask(4)
    assert bench.answers(1) == {4: "ok"}
    bench.worker.close()
    assert not bench.unread


def test_closing_does_not_wait_for_models_that_hang() -> None:
    """Beyond the deadline of the batch what still waits is done by another thread."""
    with gate(1) as held:
        bench = Bench(held)
        bench.ask(1)
        get(held.entered)
        bench.ask(2)
        closing = threading.Thread(target=bench.worker.close)
        closing.start()
        bench.time.move(60)
        assert bench.answers(2) == {1: "deadline", 2: "ok"}
        closing.join(GIVE_UP_S)
        assert not closing.is_alive()


@pytest.mark.parametrize("building", [False, True])
def test_who_cannot_wait_says_how_long_to(building: bool) -> None:
    """What is not answered by then fails, even where no deadline is set, or models are loading."""
    with gate(1) as held:

        def before(number: int) -> None:
            if building:
                held.open.wait(GIVE_UP_S)

        bench = Bench(held, before, WorkerSettings(deadline_s=0, max_batch=1))
        bench.ask(1, 2)
        if not building:
            get(held.entered)
        bench.worker.close(within_s=0)
        assert bench.answers(2) == {1: "closed", 2: "closed"}
        bench.ask(3)
        assert bench.answers(1) == {3: "closed"}
        if building:
            with pytest.raises(ModelError, match="shutting down"):
                bench.worker.engine()


def test_models_that_hang_while_they_are_loaded_are_given_up() -> None:
    """Who waits is told so, and what loads in the end all the same is nobody's any more."""
    loading, loaded = threading.Semaphore(0), threading.Event()

    def before(number: int) -> None:
        loading.release()
        assert loaded.wait(GIVE_UP_S)

    bench = Bench(lambda clips: None, before, WorkerSettings(load_s=900))
    try:
        bench.ask(1)
        get(loading)
        while not bench.unread:
            # The watchdog may not have looked when the hands are moved for the first time.
            bench.time.move(900)
        assert bench.answers(1) == {1: "model_unavailable"}
        with pytest.raises(ModelError, match=r"did not load within 900 s \(worker\.load_s\)"):
            bench.worker.engine()
    finally:
        loaded.set()
    (stuck,) = bench.worker._stuck
    stuck.join(GIVE_UP_S)
    assert bench.worker.has_failed
    bench.worker.close()


def test_a_batch_that_hangs_does_not_get_the_time_of_loading() -> None:
    """Once the models are there their deadline holds, however long loading may take."""
    with gate(1) as held:
        bench = Bench(held, settings=WorkerSettings(load_s=900, deadline_s=10, max_wait_ms=0))
        bench.ask(1)
        get(held.entered)
        bench.time.move(10)
        assert bench.answers(1) == {1: "deadline"}
        held.open.set()
        bench.worker.close()


def test_models_that_cannot_be_loaded_again_are_tried_for_ever_more_seldom() -> None:
    """Meanwhile requests fail at once; when the file is back, so is everything."""
    tried = threading.Semaphore(0)
    gone = threading.Event()

    def before(number: int) -> None:
        tried.release()
        if number > 1 and gone.is_set():
            raise ModelError("the model's file is gone.")

    bench = Bench(once(leave), before)
    bench.ask(0)
    gone.set()
    assert bench.answers(1) == {0: "model_unavailable"}
    get(tried)
    get(tried)
    assert not bench.worker.is_ready
    assert not bench.worker.has_failed
    with pytest.raises(ModelError, match="is gone"):
        bench.worker.engine()
    for number, pause_s in enumerate((2, 4, 8), start=1):
        bench.time.move(pause_s - 0.5)
        bench.ask(number)
        assert bench.answers(1) == {number: "model_unavailable"}
        assert not tried.acquire(blocking=False)
        bench.time.move(0.5)
        get(tried)
        # Whether it comes before or after that attempt has failed, it is told when it has.
        bench.ask(10 + number)
        assert bench.answers(1) == {10 + number: "model_unavailable"}
    gone.clear()
    bench.time.move(16)
    get(tried)
    assert bench.worker.engine() is bench.shop.engines[-1]
    bench.ask(9)
    assert bench.answers(1) == {9: "ok"}
    assert bench.worker.is_ready
    assert bench.worker.stats.not_loaded == 4
    bench.worker.close()


def test_a_device_that_is_lost_again_and_again_is_left_alone_for_a_while() -> None:
    """It is no single request's fault, and loading models over and over helps nobody."""
    well = threading.Event()
    bench = Bench(lambda clips: None if well.is_set() else leave(clips))
    bench.ask(1)
    assert bench.answers(1) == {1: "worker_died"}
    bench.ask(2)
    # Put back after the third loss in a row, and then given up with all that waits.
    assert bench.answers(1) == {2: "model_unavailable"}
    bench.ask(3)
    assert bench.answers(1) == {3: "model_unavailable"}
    well.set()
    bench.time.move(1)
    assert bench.worker.engine() is bench.shop.engines[-1]
    bench.ask(4)
    assert bench.answers(1) == {4: "ok"}
    bench.worker.close()


def test_a_device_that_answers_between_its_losses_is_never_left_alone() -> None:
    """However often one request or another brings it down: the others are answered."""

    def poison(clips: Sequence[Clip]) -> None:
        if any(clip.utterance % 2 for clip in clips):
            leave(clips)

    bench = Bench(poison)
    for number in range(1, 11, 2):
        bench.ask(number)
        assert bench.answers(1) == {number: "worker_died"}
        bench.ask(number + 1)
        assert bench.answers(1) == {number + 1: "ok"}
    assert bench.worker.stats.died == 10
    bench.worker.close()


def test_no_more_than_three_sets_of_models_hang() -> None:
    """Memory is no answer to a device that does not."""
    with gate(1, 2, 3) as held:
        bench = Bench(held)
        for number in (1, 2):
            bench.ask(number)
            get(held.entered)
            bench.time.move(60)
            assert bench.answers(1) == {number: "deadline"}
            # Others are answered in between, so it is not for a lack of patience.
            bench.ask(10 + number)
            assert bench.answers(1) == {10 + number: "ok"}
        bench.ask(3)
        get(held.entered)
        bench.time.move(60)
        assert bench.answers(1) == {3: "deadline"}
        bench.ask(4)
        assert bench.answers(1) == {4: "model_unavailable"}
        bench.time.move(1)
        bench.ask(5)
        assert bench.answers(1) == {5: "model_unavailable"}
        assert len(bench.shop.engines) == 3
        bench.worker.close()


def test_a_model_that_hangs_over_a_goodbye_holds_up_nobody() -> None:
    """Requests and goodbyes are taken all the same, and answered by the next thread."""
    entered, opened = threading.Semaphore(0), threading.Event()
    bench = Bench(lambda clips: None)
    first = bench.worker.engine()

    def hang(session_id: str) -> None:
        entered.release()
        assert opened.wait(GIVE_UP_S)

    bench.ask(9, session="b")
    assert bench.answers(1) == {9: "ok"}
    first.forget = hang  # type: ignore[method-assign]
    bench.worker.leave("b")
    get(entered)
    bench.ask(1)
    bench.time.move(60)
    assert bench.answers(1) == {1: "ok"}
    opened.set()
    bench.worker.close()


def test_a_loss_while_closing_costs_no_answer() -> None:
    """Another thread finishes what waits."""
    with gate(1) as held:
        bench = Bench(after(held, once(leave)))
        bench.ask(1)
        get(held.entered)
        bench.ask(2)
        closing = threading.Thread(target=bench.worker.close)
        closing.start()
        held.open.set()
        closing.join(GIVE_UP_S)
        assert bench.answers(2) == {1: "ok", 2: "ok"}
