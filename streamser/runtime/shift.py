"""One thread's time at the device: it alone touches the models that it has loaded."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

import msgspec

from streamser.runtime.engine import Runner, Spent
from streamser.runtime.intray import InTray, Load, tell
from streamser.runtime.jobs import Fault, Outcome
from streamser.runtime.queue import Ticket
from streamser.runtime.timing import Timing

__all__ = ["BatchReport", "Shift"]

logger = logging.getLogger(__name__)


class BatchReport(msgspec.Struct, frozen=True):
    """Say what one batch has cost; ``waited_s`` has the wait of each job before it began."""

    waited_s: tuple[float, ...]
    spent: Spent
    faults: int


class Shift:
    """Build an engine on a thread of its own, run batches until told to end, and drop it.

    ``engine`` gets the engine, or what building it raised; before that, ``built`` is told of it
    with the tray's lock held, unless it was given up meanwhile. Attributes marked so are guarded by
    the tray's lock, like ``relieve``. ``report`` is told of each batch and of the seconds it
    took; ``ended`` is notified once the models are loaded, and at the end.
    """

    def __init__(
        self,
        tray: InTray,
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
        """Whether a job was ever answered; guarded."""
        self.loading: float | None = timing.now()
        """Since when models are being loaded, until they are; guarded."""
        self.began: float | None = None
        """When the work in hand was taken on, while the models are busy with it; guarded."""
        self.hands: deque[Ticket] = deque()
        """Jobs taken on and not answered yet; guarded."""
        self._wanted = True
        self._tray = tray
        self._build = build
        self._built = built
        self._report = report
        self._ended = ended
        self._timing = timing
        self.thread = threading.Thread(target=self._work, name="streamser-device", daemon=True)

    def relieve(self) -> list[Ticket]:
        """Expect nothing of it any more; returns the jobs in its hands. Lock held."""
        self._wanted = False
        self.began = None
        tickets = list(self.hands)
        self.hands.clear()
        return tickets

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
        with self._tray.lock:
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
            with self._tray.lock:
                self.loading = None
                if self._wanted:
                    self._built(engine)
                self._ended.notify_all()
            # Nobody waits for it where the program has closed meanwhile.
            with suppress(InvalidStateError):
                self.engine.set_result(engine)
            most = None if engine.abilities.batches else 1
            while load := self._tray.take(lambda: self._wanted, self._take_on, most):
                for session_id in load.gone:
                    _forget(engine, session_id)
                if load.batch:
                    self._run(engine, load.batch)
                else:
                    self._lay_down()
        finally:
            engine.close()

    def _take_on(self, load: Load) -> None:
        self.hands.extend(load.batch)
        self.began = self._timing.now()

    def _lay_down(self) -> bool:
        """Note that the models are done; false where nobody wants to know any more."""
        with self._tray.lock:
            self.began = None
            return self._wanted

    def _run(self, engine: Runner, batch: list[Ticket]) -> None:
        now, began, before = self._timing.now(), time.perf_counter(), engine.spent
        outcomes = engine.run([ticket.job for ticket in batch])
        took = time.perf_counter() - began
        if batch[0].job.droppable:
            self._tray.rest_from(self._timing.now() - now)
        if len(outcomes) != len(batch):
            raise RuntimeError(f"{len(batch)} jobs got {len(outcomes)} outcomes")
        if not self._lay_down():
            return
        faults = sum(isinstance(outcome, Fault) for outcome in outcomes)
        waited = tuple(now - ticket.since for ticket in batch)
        self._report(BatchReport(waited, engine.spent - before, faults), took)
        self._answer(outcomes)

    def _answer(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            with self._tray.lock:
                if not self.hands:
                    return
                # Before it is told: an answer is never given twice, whatever becomes of us.
                ticket = self.hands.popleft()
                self.answered = True
            tell(ticket, outcome)


def _forget(engine: Runner, session_id: str) -> None:
    try:
        engine.forget(session_id)
    except Exception:
        logger.exception("what was kept of a session could not be dropped")
