"""One set of models at work for all sessions, in batches, and the watchdog that minds it."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from streamser.emotion.model import SpeakerModel
from streamser.errors import ModelError
from streamser.pipeline.engine import Runner, Spent
from streamser.pipeline.requests import Fault, Outcome, Request
from streamser.pipeline.scheduler import (
    SYSTEM,
    Backoff,
    Batch,
    Loss,
    QueuedRequest,
    QueueLoad,
    RequestQueue,
    Timing,
    answer,
    sort_out,
)
from streamser.settings import WorkerSettings

logger = logging.getLogger(__name__)

_End: TypeAlias = Literal["over", "stuck", "unloaded", "closed"]

_MOST_STUCK = 3
"""Threads that hang may each hold a set of models: beyond so many no more are loaded."""


class WorkerStats(msgspec.Struct, frozen=True):
    """Count what a worker has done; ``busy_s`` is time inside the models.

    ``faults`` are requests without a result, ``retries`` those tried again; ``died``, ``stuck``
    and ``not_loaded`` say how often the thread was lost, and models could not be loaded.
    """

    requests: int = 0
    batches: int = 0
    largest_batch: int = 0
    busy_s: float = 0.0
    faults: int = 0
    retries: int = 0
    died: int = 0
    stuck: int = 0
    not_loaded: int = 0

    def __add__(self, other: WorkerStats) -> WorkerStats:
        """Count two workers together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        largest = max(self.largest_batch, other.largest_batch)
        return WorkerStats(**{**sums, "largest_batch": largest})


class _Tally:
    """Add to the counts; any thread may."""

    def __init__(self) -> None:
        self.stats = WorkerStats()
        self._lock = threading.Lock()

    def add(self, *, batch: int = 0, **more: float) -> None:
        """Add to counts by name; ``batch`` is the size of one that was done."""
        with self._lock:
            stats = self.stats
            counts = {name: getattr(stats, name) + amount for name, amount in more.items()}
            self.stats = replace(
                stats,
                requests=stats.requests + batch,
                batches=stats.batches + bool(batch),
                largest_batch=max(stats.largest_batch, batch),
                **counts,
            )


class BatchReport(msgspec.Struct, frozen=True):
    """Say what one batch has cost; ``waited_s`` has the wait of each request before it began."""

    waited_s: tuple[float, ...]
    spent: Spent
    faults: int


class WorkerThread:
    """Build an engine on a thread of its own, run batches until told to end, and drop it.

    ``engine`` gets the engine, or what building it raised; before that, ``built`` is told of it
    with the queue's lock held, unless it was given up meanwhile. Attributes marked so are guarded
    by the queue's lock, like ``dismiss``. ``report`` is told of each batch and of the seconds it
    took; ``ended`` is notified once the models are loaded, and at the end.
    """

    def __init__(
        self,
        queue: RequestQueue,
        build: Callable[[], Runner],
        built: Callable[[Runner], None],
        engine: Future[Runner],
        report: Callable[[BatchReport, float], None],
        ended: threading.Condition,
        timing: Timing,
    ) -> None:
        self.engine = engine
        self.error: BaseException | None = None
        """What has ended it, other than the wish of others; guarded."""
        self.over = False
        """Whether the thread has ended; guarded."""
        self.answered = False
        """Whether a request was ever answered; guarded."""
        self.loading: float | None = timing.now()
        """Since when models are being loaded, until they are; guarded."""
        self.began: float | None = None
        """When the work in hand was taken on, while the models are busy with it; guarded."""
        self.in_hand: deque[QueuedRequest] = deque()
        """Requests taken on and not answered yet; guarded."""
        self._wanted = True
        self._queue = queue
        self._build = build
        self._built = built
        self._report = report
        self._ended = ended
        self._timing = timing
        self.thread = threading.Thread(target=self._work, name="streamser-device", daemon=True)

    def dismiss(self) -> list[QueuedRequest]:
        """Expect nothing of it any more; returns the requests in its hands. Lock held."""
        self._wanted = False
        self.began = None
        entries = list(self.in_hand)
        self.in_hand.clear()
        return entries

    def abandon(self) -> None:
        """Give up the engine whatever it does, on any thread."""
        engine = self.engine
        if engine.done() and engine.exception() is None:
            engine.result().abandon()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            self._serve()
        except BaseException as fault:
            # Told by the one who watches; it must know of every end.
            error = fault
        with self._queue.lock:
            self.error = error
            self.over = True
            self._ended.notify_all()

    def _serve(self) -> None:
        try:
            engine = self._build()
        except BaseException as error:
            with suppress(InvalidStateError):
                self.engine.set_exception(error)
            return
        try:
            with self._queue.lock:
                self.loading = None
                if self._wanted:
                    self._built(engine)
                self._ended.notify_all()
            # Nobody waits for it where the program has closed meanwhile.
            with suppress(InvalidStateError):
                self.engine.set_result(engine)
            most = None if engine.abilities.batches else 1
            while batch := self._queue.next_batch(lambda: self._wanted, self._take_on, most):
                for session_id in batch.gone:
                    _forget(engine, session_id)
                if batch.entries:
                    self._run(engine, batch.entries)
                else:
                    self._note_done()
        finally:
            engine.close()

    def _take_on(self, batch: Batch) -> None:
        self.in_hand.extend(batch.entries)
        self.began = self._timing.now()

    def _note_done(self) -> bool:
        """Note that the models are done; false where nobody wants to know any more."""
        with self._queue.lock:
            self.began = None
            return self._wanted

    def _run(self, engine: Runner, batch: list[QueuedRequest]) -> None:
        now, began, before = self._timing.now(), time.perf_counter(), engine.spent
        outcomes = engine.run([entry.as_waited(now) for entry in batch])
        took = time.perf_counter() - began
        if batch[0].request.droppable:
            self._queue.rest_from(self._timing.now() - now)
        if len(outcomes) != len(batch):
            raise RuntimeError(f"{len(batch)} requests got {len(outcomes)} outcomes")
        if not self._note_done():
            return
        faults = sum(isinstance(outcome, Fault) for outcome in outcomes)
        waited = tuple(now - entry.since for entry in batch)
        self._report(BatchReport(waited, engine.spent - before, faults), took)
        self._answer(outcomes)

    def _answer(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            with self._queue.lock:
                if not self.in_hand:
                    return
                # Before it is told: an answer is never given twice, whatever becomes of us.
                entry = self.in_hand.popleft()
                self.answered = True
            answer(entry, outcome)


def _forget(engine: Runner, session_id: str) -> None:
    try:
        engine.forget(session_id)
    except Exception:
        logger.exception("what was kept of a session could not be dropped")


class InferenceWorker:
    """Own one device and everything on it.

    The engine is built, run and dropped on one thread. Outcomes are delivered from it by the
    ``done`` given with the request, and each batch reported to ``watch``; both must return at once.

    A thread that an error ends, or that does not answer within ``deadline_s``, is replaced, with
    a new engine; what it had in hand is tried again once, each request alone, and then fails with
    code ``worker_died`` or ``deadline``. While models cannot be loaded again, or are not within
    ``load_s``, requests fail with ``model_unavailable``. Late answers of a thread that was given
    up go nowhere.
    """

    def __init__(
        self,
        build: Callable[[], Runner],
        settings: WorkerSettings,
        watch: Callable[[BatchReport], None] | None = None,
        timing: Timing = SYSTEM,
    ) -> None:
        self._build = build
        self._watch = watch
        self._deadline_s = settings.deadline_s
        self._load_s = settings.load_s
        self._timing = timing
        self._queue = RequestQueue(settings, timing)
        # Of the same lock: requests that come in wake the worker thread, and not its watchdog.
        self._changed = threading.Condition(self._queue.lock)
        self._engine: Future[Runner] = Future()
        self._close_at: float | None = None
        self._backoff = Backoff()
        self._tally = _Tally()
        self._stuck: list[threading.Thread] = []
        self._speaker_maker: Callable[[], SpeakerModel] | None = None
        self._watchdog = threading.Thread(
            target=self._guard, name="streamser-watchdog", daemon=True
        )
        self._watchdog.start()

    @property
    def stats(self) -> WorkerStats:
        """Return what has been done so far."""
        return self._tally.stats

    def load(self) -> QueueLoad:
        """Return what waits now."""
        return self._queue.load()

    def engine(self) -> Runner:
        """Wait until the models are loaded; raises what loading them raised last."""
        return self._engine.result()

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker of the emotion model loaded last, without waiting for the next."""
        if self._speaker_maker is None:
            return self.engine().new_speaker()
        return self._speaker_maker()

    @property
    def is_ready(self) -> bool:
        """Return whether the models are loaded and warm, and not about to be loaded again."""
        engine = self._engine
        return engine.done() and engine.exception() is None

    @property
    def has_failed(self) -> bool:
        """Return whether the models could not be loaded in the first place: they never will."""
        return self._speaker_maker is None and self._engine.done() and not self.is_ready

    def enter(self, session_id: str) -> None:
        """Announce a session; with several of them a batch waits a moment for company."""
        self._queue.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Drop what waits of a session, and what models keep for it."""
        self._queue.leave(session_id)

    def submit(self, request: Request, done: Callable[[Request, Outcome], None]) -> None:
        """Ask; ``done`` gets the outcome, unless the request is cancelled before it began."""
        if failed := self._queue.submit(request, done):
            self._tally.add(faults=failed)

    def cancel(self, session_id: str, request_id: int) -> None:
        """Withdraw a request that has not begun."""
        self._queue.cancel(session_id, request_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the requests that wait, then stop; returns when the thread has ended.

        What is not answered ``within_s`` fails with code ``closed``, and the thread is left
        behind; without it, only the deadline of a batch ends a wait for models that hang.
        """
        with self._queue.lock:
            self._queue.close()
            if within_s is not None:
                self._close_at = self._timing.now() + within_s
            self._changed.notify_all()
        self._watchdog.join()

    # On the watchdog's thread

    def _guard(self) -> None:
        why = "shutting down"
        try:
            while self._run_thread():
                pass
        except BaseException as error:
            # Without a watchdog nobody would notice anything: better an end than silence.
            logger.exception("the watchdog of the worker thread failed")
            why = f"{type(error).__name__}: {error}"
            self._refuse(why)
        if not self._engine.done():
            self._engine.set_exception(ModelError(f"the models are not there any more: {why}"))

    def _run_thread(self) -> bool:
        """Let one thread work for as long as it can; false once there shall be no other."""
        if sum(thread.is_alive() for thread in self._stuck) >= _MOST_STUCK:
            hung = ModelError(f"{_MOST_STUCK} sets of models hang; no more are loaded")
            return self._do_without(hung)
        self._queue.begin_anew()
        running = WorkerThread(
            self._queue,
            self._build,
            self._note_loaded,
            self._engine,
            self._report,
            self._changed,
            self._timing,
        )
        try:
            running.thread.start()
        except RuntimeError as no_thread:
            return self._do_without(no_thread)
        end, left = self._wait_for_end(running)
        if end == "closed":
            self._fail(left, Fault("closed", "shutting down"))
            return False
        if end != "over":
            running.abandon()
        if end == "stuck":
            self._stuck = [*(each for each in self._stuck if each.is_alive()), running.thread]
            why = f"the models did not answer within {self._deadline_s:g} s"
            logger.error("%s; they hang here:\n%s", why, _whereabouts(running.thread))
            return self._replace(end, running.answered, left, why)
        if end == "unloaded":
            self._stuck = [*(each for each in self._stuck if each.is_alive()), running.thread]
            why = f"the models did not load within {self._load_s:g} s (worker.load_s)"
            logger.error("%s; it hangs here:\n%s", why, _whereabouts(running.thread))
            return self._do_without(ModelError(why))
        running.thread.join()
        unbuilt = self._engine.exception()
        if unbuilt is not None:
            return self._do_without(unbuilt)
        error = running.error
        if error is None:
            return False
        why = f"the thread of the models died: {type(error).__name__}: {error}"
        logger.error("the thread of the models died", exc_info=error)
        # What it had loaded goes before more is loaded.
        traceback.clear_frames(error.__traceback__)
        return self._replace("died", running.answered, left, why)

    def _wait_for_end(self, running: WorkerThread) -> tuple[_End, list[QueuedRequest]]:
        """Return how a thread has ended, and what it leaves."""
        end: _End = "over"
        with self._queue.lock:
            while not running.over:
                now = self._timing.now()
                wake = math.inf
                if running.loading is not None:
                    if self._load_s:
                        wake = running.loading + self._load_s
                    if now >= wake:
                        end = "unloaded"
                        break
                elif self._deadline_s:
                    # A batch that has not begun by now cannot be late before then.
                    wake = (now if running.began is None else running.began) + self._deadline_s
                    if now >= wake:
                        end = "stuck"
                        break
                if self._close_at is not None:
                    wake = min(wake, self._close_at)
                    if now >= wake:
                        end = "closed"
                        break
                self._timing.wait(self._changed, None if wake == math.inf else wake)
            left = running.dismiss()
            if end == "closed":
                left += self._queue.refuse(Fault("closed", "shutting down"))
        return end, left

    def _replace(self, loss: Loss, answered: bool, left: list[QueuedRequest], why: str) -> bool:
        """Sort out what a lost thread leaves; true once another one may begin."""
        self._engine = Future()
        again, over = sort_out(left, loss, why)
        self._tally.add(retries=len(again), **{loss: 1})
        if answered:
            self._backoff.reset()
        pause_s = self._backoff.lost()
        with self._queue.lock:
            self._queue.put_back(again)
        for entry, fault in over:
            self._fail([entry], fault)
        if pause_s:
            return self._pause(pause_s, f"the models were lost several times in a row: {why}")
        with self._queue.lock:
            return not (self._queue.closing and self._queue.is_empty)

    def _do_without(self, error: BaseException) -> bool:
        """Do without models that cannot be loaded; true once it may be tried again."""
        self._tally.add(not_loaded=1)
        with suppress(InvalidStateError):
            self._engine.set_exception(error)
        if self._speaker_maker is None:
            self._refuse(str(error))
            return False
        logger.error("the models cannot be loaded again: %s", error)
        return self._pause(self._backoff.not_loaded(), str(error))

    def _pause(self, seconds: float, why: str) -> bool:
        """Fail what waits and what comes for a while; false where the end comes first."""
        # From here on, and not from when everybody has been told.
        until = self._timing.now() + seconds
        self._refuse(why)
        with self._queue.lock:
            while self._timing.now() < until and not self._queue.closing:
                self._timing.wait(self._changed, until)
            if self._queue.closing:
                return False
            self._queue.refuse(None)
            if self._engine.done():
                self._engine = Future()
        return True

    def _refuse(self, why: str) -> None:
        fault = Fault("model_unavailable", why)
        with self._queue.lock:
            waiting = self._queue.refuse(fault)
        self._fail(waiting, fault)

    def _fail(self, entries: list[QueuedRequest], fault: Fault) -> None:
        self._tally.add(faults=len(entries))
        for entry in entries:
            answer(entry, fault)

    # On the worker thread

    def _note_loaded(self, engine: Runner) -> None:
        self._speaker_maker = engine.new_speaker

    def _report(self, report: BatchReport, took_s: float) -> None:
        self._tally.add(batch=len(report.waited_s), busy_s=took_s, faults=report.faults)
        if self._watch is not None:
            try:
                self._watch(report)
            except Exception:
                logger.exception("a report of a batch was not taken")


def _whereabouts(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame, limit=4))
