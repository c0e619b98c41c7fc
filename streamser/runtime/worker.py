"""The device thread and its watchdog: one set of models serves all sessions in batches."""

from __future__ import annotations

import logging
import math
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Literal, TypeAlias

from streamser.emotion.model import Listener
from streamser.errors import ModelError
from streamser.runtime.engine import Runner
from streamser.runtime.intray import InTray, tell
from streamser.runtime.jobs import Fault, Job, Outcome
from streamser.runtime.queue import QueueLoad, Ticket
from streamser.runtime.recovery import Loss, Patience, sort_out
from streamser.runtime.shift import BatchReport, Shift
from streamser.runtime.stats import Tally, WorkerStats
from streamser.runtime.timing import SYSTEM, Timing
from streamser.settings import WorkerSettings

__all__ = ["BatchReport", "DeviceThread", "WorkerStats"]

logger = logging.getLogger(__name__)

_End: TypeAlias = Literal["over", "stuck", "unloaded", "closed"]

_MOST_STUCK = 3
"""Threads that hang may each hold a set of models: beyond so many no more are loaded."""


class DeviceThread:
    """Own one device and everything on it.

    The engine is built, run and dropped on one thread. Outcomes are delivered from it by the
    ``done`` given with the job, and each batch reported to ``watch``; both must return at once.

    A thread that an error ends, or that does not answer within ``deadline_s``, is replaced, with
    a new engine; what it had in hand is tried again once, each job alone, and then fails with
    code ``worker_died`` or ``deadline``. While models cannot be loaded again, or are not within
    ``load_s``, jobs fail with ``model_unavailable``. Late answers of a thread that was given up go
    nowhere.
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
        self._tray = InTray(settings, timing)
        # Of the same lock: jobs that come in wake the device thread, and not its watchdog.
        self._changed = threading.Condition(self._tray.lock)
        self._engine: Future[Runner] = Future()
        self._close_at: float | None = None
        self._patience = Patience()
        self._tally = Tally()
        self._stuck: list[threading.Thread] = []
        self._listen: Callable[[], Listener] | None = None
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
        return self._tray.load()

    def engine(self) -> Runner:
        """Wait until the models are loaded; raises what loading them raised last."""
        return self._engine.result()

    def listener(self) -> Listener:
        """Return a listener of the emotion model loaded last, without waiting for the next."""
        if self._listen is None:
            return self.engine().listener()
        return self._listen()

    @property
    def is_ready(self) -> bool:
        """Return whether the models are loaded and warm, and not about to be loaded again."""
        engine = self._engine
        return engine.done() and engine.exception() is None

    @property
    def has_failed(self) -> bool:
        """Return whether the models could not be loaded in the first place: they never will."""
        return self._listen is None and self._engine.done() and not self.is_ready

    def enter(self, session_id: str) -> None:
        """Announce a session; with several of them a batch waits a moment for company."""
        self._tray.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Take leave of a session: its waiting jobs and what models keep for it are dropped."""
        self._tray.leave(session_id)

    def submit(self, job: Job, done: Callable[[Job, Outcome], None]) -> None:
        """Ask for a job; ``done`` gets its outcome, unless it is cancelled before it began."""
        if failed := self._tray.submit(job, done):
            self._tally.add(faults=failed)

    def cancel(self, session_id: str, job_id: int) -> None:
        """Withdraw a job that has not begun."""
        self._tray.cancel(session_id, job_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the jobs that wait, then stop; returns when the thread has ended.

        What is not answered ``within_s`` fails with code ``closed``, and the thread is left
        behind; without it, only the deadline of a batch ends a wait for models that hang.
        """
        with self._tray.lock:
            self._tray.close()
            if within_s is not None:
                self._close_at = self._timing.now() + within_s
            self._changed.notify_all()
        self._watchdog.join()

    # On the watchdog's thread

    def _guard(self) -> None:
        why = "shutting down"
        try:
            while self._work_a_shift():
                pass
        except BaseException as error:
            # Without a watchdog nobody would notice anything: better an end than silence.
            logger.exception("the watchdog of the device thread failed")
            why = f"{type(error).__name__}: {error}"
            self._refuse(why)
        if not self._engine.done():
            self._engine.set_exception(ModelError(f"the models are not there any more: {why}"))

    def _work_a_shift(self) -> bool:
        """Let one thread work for as long as it can; false once there shall be no other."""
        if sum(thread.is_alive() for thread in self._stuck) >= _MOST_STUCK:
            hung = ModelError(f"{_MOST_STUCK} sets of models hang; no more are loaded")
            return self._bear_without(hung)
        self._tray.begin_anew()
        shift = Shift(
            self._tray,
            self._build,
            self._note_built,
            self._engine,
            self._report,
            self._changed,
            self._timing,
        )
        try:
            shift.thread.start()
        except RuntimeError as no_thread:
            return self._bear_without(no_thread)
        end, left = self._wait_for_end(shift)
        if end != "over":
            shift.abandon()
        if end == "closed":
            self._fail(left, Fault("closed", "shutting down"))
            return False
        if end == "stuck":
            self._stuck = [*(each for each in self._stuck if each.is_alive()), shift.thread]
            why = f"the models did not answer within {self._deadline_s:g} s"
            logger.error("%s; they hang here:\n%s", why, _whereabouts(shift.thread))
            return self._replace(end, shift.answered, left, why)
        if end == "unloaded":
            self._stuck = [*(each for each in self._stuck if each.is_alive()), shift.thread]
            why = f"the models did not load within {self._load_s:g} s (worker.load_s)"
            logger.error("%s; it hangs here:\n%s", why, _whereabouts(shift.thread))
            return self._bear_without(ModelError(why))
        shift.thread.join()
        unbuilt = self._engine.exception()
        if unbuilt is not None:
            return self._bear_without(unbuilt)
        error = shift.error
        if error is None:
            return False
        why = f"the thread of the models died: {type(error).__name__}: {error}"
        logger.error("the thread of the models died", exc_info=error)
        # What it had loaded goes before more is loaded.
        traceback.clear_frames(error.__traceback__)
        return self._replace("died", shift.answered, left, why)

    def _wait_for_end(self, shift: Shift) -> tuple[_End, list[Ticket]]:
        """Return how a shift has ended, and what it leaves."""
        end: _End = "over"
        with self._tray.lock:
            while not shift.over:
                now = self._timing.now()
                wake = math.inf
                if shift.loading is not None:
                    if self._load_s:
                        wake = shift.loading + self._load_s
                    if now >= wake:
                        end = "unloaded"
                        break
                elif self._deadline_s:
                    # A batch that has not begun by now cannot be late before then.
                    wake = (now if shift.began is None else shift.began) + self._deadline_s
                    if now >= wake:
                        end = "stuck"
                        break
                if self._close_at is not None:
                    wake = min(wake, self._close_at)
                    if now >= wake:
                        end = "closed"
                        break
                self._timing.wait(self._changed, None if wake == math.inf else wake)
            left = shift.relieve()
            if end == "closed":
                left += self._tray.refuse(Fault("closed", "shutting down"))
        return end, left

    def _replace(self, loss: Loss, answered: bool, left: list[Ticket], why: str) -> bool:
        """Sort out what a lost shift leaves; true once another one may begin."""
        self._engine = Future()
        again, over = sort_out(left, loss, why)
        self._tally.add(retries=len(again), **{loss: 1})
        if answered:
            self._patience.reset()
        pause_s = self._patience.lost()
        with self._tray.lock:
            self._tray.put_back(again)
        for ticket, fault in over:
            self._fail([ticket], fault)
        if pause_s:
            return self._pause(pause_s, f"the models were lost several times in a row: {why}")
        with self._tray.lock:
            return not (self._tray.closing and self._tray.is_empty)

    def _bear_without(self, error: BaseException) -> bool:
        """Do without models that cannot be loaded; true once it may be tried again."""
        self._tally.add(not_loaded=1)
        with suppress(InvalidStateError):
            self._engine.set_exception(error)
        if self._listen is None:
            self._refuse(str(error))
            return False
        logger.error("the models cannot be loaded again: %s", error)
        return self._pause(self._patience.not_loaded(), str(error))

    def _pause(self, seconds: float, why: str) -> bool:
        """Fail what waits and what comes for a while; false where the end comes first."""
        # From here on, and not from when everybody has been told.
        until = self._timing.now() + seconds
        self._refuse(why)
        with self._tray.lock:
            while self._timing.now() < until and not self._tray.closing:
                self._timing.wait(self._changed, until)
            if self._tray.closing:
                return False
            self._tray.refuse(None)
            if self._engine.done():
                self._engine = Future()
        return True

    def _refuse(self, why: str) -> None:
        fault = Fault("model_unavailable", why)
        with self._tray.lock:
            waiting = self._tray.refuse(fault)
        self._fail(waiting, fault)

    def _fail(self, tickets: list[Ticket], fault: Fault) -> None:
        self._tally.add(faults=len(tickets))
        for ticket in tickets:
            tell(ticket, fault)

    # On the device thread

    def _note_built(self, engine: Runner) -> None:
        self._listen = engine.listener

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
