"""The device thread: it alone touches the models, and serves all sessions in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from streamser.config import WorkerSettings
from streamser.runtime.engine import Engine, Spent
from streamser.runtime.jobs import Fault, Job, Outcome
from streamser.runtime.queue import JobQueue, QueueLoad, Ticket

__all__ = ["BatchReport", "DeviceThread", "WorkerStats"]

logger = logging.getLogger(__name__)


class WorkerStats(msgspec.Struct, frozen=True):
    """Count what the device thread has done; ``busy_s`` is time inside the models."""

    jobs: int = 0
    batches: int = 0
    largest_batch: int = 0
    busy_s: float = 0.0


class BatchReport(msgspec.Struct, frozen=True):
    """Say what one batch has cost; ``waited_s`` has the wait of each job before it began."""

    waited_s: tuple[float, ...]
    spent: Spent
    faults: int


class DeviceThread:
    """Own one device and everything on it.

    The engine is built, run and dropped on the thread. Outcomes are delivered from the thread
    by the ``done`` given with the job, and each batch reported to ``watch``; both must return
    at once and must not raise.
    """

    def __init__(
        self,
        build: Callable[[], Engine],
        settings: WorkerSettings,
        watch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        self._build = build
        self._watch = watch
        self._settings = settings
        self._queue = JobQueue(settings)
        self._sessions: set[str] = set()
        self._gone: list[str] = []
        self._condition = threading.Condition()
        self._closing = False
        self._stats = WorkerStats()
        self._engine: Future[Engine] = Future()
        self._thread = threading.Thread(target=self._work, name="streamser-device", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> WorkerStats:
        """Return what has been done so far."""
        return self._stats

    def load(self) -> QueueLoad:
        """Return what waits now."""
        with self._condition:
            return self._queue.load(time.monotonic())

    def engine(self) -> Engine:
        """Wait until the models are loaded; raises what loading them raised."""
        return self._engine.result()

    @property
    def is_ready(self) -> bool:
        """Return whether the models are loaded and warm."""
        return self._engine.done() and self._engine.exception() is None

    @property
    def has_failed(self) -> bool:
        """Return whether loading the models has failed."""
        return self._engine.done() and self._engine.exception() is not None

    def enter(self, session_id: str) -> None:
        """Announce a session; with several of them a batch waits a moment for company."""
        with self._condition:
            self._sessions.add(session_id)

    def leave(self, session_id: str) -> None:
        """Take leave of a session: its waiting jobs and what models keep for it are dropped."""
        with self._condition:
            self._sessions.discard(session_id)
            self._queue.withdraw(session_id)
            self._gone.append(session_id)
            self._condition.notify()

    def submit(self, job: Job, done: Callable[[Job, Outcome], None]) -> None:
        """Ask for a job; ``done`` gets its outcome, unless it is cancelled before it began."""
        ticket = Ticket(job, done, time.monotonic())
        with self._condition:
            if self._closing:
                over: list[tuple[Ticket, Outcome]] = [(ticket, Fault("closed", "shutting down"))]
            else:
                over = self._queue.offer(ticket)
                self._condition.notify()
        for old, outcome in over:
            old.done(old.job, outcome)

    def cancel(self, session_id: str, job_id: int) -> None:
        """Withdraw a job that has not begun."""
        with self._condition:
            self._queue.withdraw(session_id, job_id)

    def close(self) -> None:
        """Finish the jobs that wait, then stop; returns when the thread has ended."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            engine = self._build()
        except BaseException as error:
            # Whoever waits for the engine gets the error; jobs must not wait for ever.
            self._engine.set_exception(error)
            fault = Fault("model_unavailable", str(error))
            while batch := self._next_batch():
                for ticket in batch:
                    ticket.done(ticket.job, fault)
            return
        self._engine.set_result(engine)
        while batch := self._next_batch(engine):
            now, began, before = time.monotonic(), time.perf_counter(), engine.spent
            outcomes = _run(engine, [ticket.job for ticket in batch])
            self._count(len(batch), time.perf_counter() - began)
            if self._watch is not None:
                faults = sum(isinstance(outcome, Fault) for outcome in outcomes)
                waited = tuple(now - ticket.since for ticket in batch)
                self._watch(BatchReport(waited, engine.spent - before, faults))
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ticket.done(ticket.job, outcome)

    def _next_batch(self, engine: Engine | None = None) -> list[Ticket]:
        """Wait for jobs; an empty list says that the thread shall end."""
        settings = self._settings
        with self._condition:
            while True:
                self._forget(engine)
                if not self._queue and not self._closing:
                    self._condition.wait()
                    continue
                if settings.max_wait_ms and len(self._sessions) > 1:
                    self._condition.wait_for(
                        lambda: len(self._queue) >= settings.max_batch or self._closing,
                        settings.max_wait_ms / 1000,
                    )
                batch = self._queue.take(settings.max_batch)
                # All that waited may have been withdrawn in the meantime.
                if batch or self._closing:
                    return batch

    def _forget(self, engine: Engine | None) -> None:
        gone, self._gone = self._gone, []
        if engine is None:
            return
        for session_id in gone:
            try:
                engine.forget(session_id)
            except Exception:
                logger.exception("what was kept of a session could not be dropped")

    def _count(self, jobs: int, seconds: float) -> None:
        stats = self._stats
        self._stats = WorkerStats(
            jobs=stats.jobs + jobs,
            batches=stats.batches + 1,
            largest_batch=max(stats.largest_batch, jobs),
            busy_s=stats.busy_s + seconds,
        )


def _run(engine: Engine, jobs: list[Job]) -> list[Outcome]:
    try:
        return engine.run(jobs)
    except BaseException as error:
        # Were this thread to end, every stream would wait for ever: even for a model that
        # calls exit, others are answered.
        logger.exception("a batch of %d was lost", len(jobs))
        return [Fault("internal_error", f"{type(error).__name__}: {error}")] * len(jobs)
