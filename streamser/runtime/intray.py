"""Where sessions put their jobs, and a device thread finds them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from streamser.runtime.jobs import Fault, Job, Outcome
from streamser.runtime.queue import JobQueue, QueueLoad, Ticket
from streamser.runtime.timing import Timing
from streamser.settings import WorkerSettings

__all__ = ["InTray", "Load", "tell"]

logger = logging.getLogger(__name__)


class Load(msgspec.Struct, frozen=True, eq=False):
    """Hold what a device thread takes on at once: sessions to forget, and a batch."""

    gone: list[str]
    batch: list[Ticket]


class InTray:
    """Keep jobs and sessions, for any number of threads; nothing waits but ``take``.

    ``lock`` guards it; methods marked so are called with the lock held.
    """

    def __init__(self, settings: WorkerSettings, timing: Timing) -> None:
        self.lock = threading.Lock()
        self.closing = False
        self._settings = settings
        self._timing = timing
        self._filled = threading.Condition(self.lock)
        self._queue = JobQueue(settings)
        self._sessions: set[str] = set()
        self._served: set[str] = set()
        self._gone: list[str] = []
        self._at_work: set[tuple[str, int]] = set()
        self._refusing: Fault | None = None
        self._rests_until = 0.0

    def load(self) -> QueueLoad:
        """Return what waits now."""
        with self.lock:
            return self._queue.load(self._timing.now())

    def enter(self, session_id: str) -> None:
        """Announce a session."""
        with self.lock:
            self._sessions.add(session_id)

    def leave(self, session_id: str) -> None:
        """Take leave of a session and drop its jobs."""
        with self.lock:
            self._sessions.discard(session_id)
            self._queue.withdraw(session_id)
            self._at_work = {key for key in self._at_work if key[0] != session_id}
            if session_id in self._served:
                self._served.discard(session_id)
                self._gone.append(session_id)
                self._filled.notify_all()

    def submit(self, job: Job, done: Callable[[Job, Outcome], None]) -> int:
        """Put a job in; returns how many jobs failed because of it."""
        ticket = Ticket(job, done, self._timing.now())
        over: list[tuple[Ticket, Outcome]]
        with self.lock:
            if self.closing:
                over = [(ticket, Fault("closed", "shutting down"))]
            elif self._refusing is not None:
                over = [(ticket, self._refusing)]
            else:
                over = self._queue.offer(ticket)
                self._filled.notify_all()
        for old, outcome in over:
            tell(old, outcome)
        return sum(isinstance(outcome, Fault) for _, outcome in over)

    def cancel(self, session_id: str, job_id: int) -> None:
        """Withdraw a job."""
        with self.lock:
            self._queue.withdraw(session_id, job_id)
            self._at_work.discard((session_id, job_id))

    def close(self) -> None:
        """Take nothing more in; lock held."""
        self.closing = True
        self._filled.notify_all()

    def take(
        self,
        wanted: Callable[[], bool],
        note: Callable[[Load], None],
        most: int | None = None,
    ) -> Load | None:
        """Wait for work; ``None`` where the thread shall end, as soon as it is not ``wanted``.

        At most ``most`` jobs, or ``worker.max_batch``. ``note`` is told of the work before the lock
        is let go, so that none is ever in nobody's hands.
        """
        most = most or self._settings.max_batch
        wait_s = self._settings.max_wait_ms / 1000 if most > 1 else 0.0
        with self.lock:
            while wanted():
                if self._queue.has_firm and not self.closing and wait_s and self._crowded:
                    self._wait_for_company(wait_s)
                gone, self._gone = self._gone, []
                rested = self._timing.now() >= self._rests_until
                batch = self._queue.take(most, droppable=rested or self.closing)
                if batch or gone:
                    self._at_work = {_key(ticket) for ticket in batch}
                    self._served.update(ticket.session_id for ticket in batch)
                    load = Load(gone, batch)
                    note(load)
                    return load
                if self.closing:
                    return None
                waits = bool(self._queue) and not rested
                self._timing.wait(self._filled, self._rests_until if waits else None)
        return None

    def begin_anew(self) -> None:
        """Expect models that know no session yet: there is nothing for them to forget."""
        with self.lock:
            self._served.clear()
            self._gone.clear()

    def rest_from(self, seconds: float) -> None:
        """Let droppable jobs wait after some that took so long: finals find the models free."""
        with self.lock:
            rest = seconds * (1 / self._settings.partial_share - 1)
            self._rests_until = self._timing.now() + rest

    def put_back(self, suspects: list[Ticket]) -> None:
        """Take jobs in again, save those withdrawn meanwhile; lock held."""
        self._queue.put_back([ticket for ticket in suspects if _key(ticket) in self._at_work])

    def refuse(self, fault: Fault | None) -> list[Ticket]:
        """Answer every job with a fault from here on, or none any more; lock held.

        Returns the jobs that wait, for the caller to answer without the lock.
        """
        self._refusing = fault
        return [] if fault is None else self._queue.clear()

    @property
    def is_empty(self) -> bool:
        """Return whether no job waits; lock held."""
        return not self._queue

    @property
    def _crowded(self) -> bool:
        return len(self._sessions) > 1

    def _wait_for_company(self, seconds: float) -> None:
        until = self._timing.now() + seconds
        while len(self._queue) < self._settings.max_batch and not self.closing:
            if self._timing.now() >= until:
                return
            self._timing.wait(self._filled, until)


def tell(ticket: Ticket, outcome: Outcome) -> None:
    """Bring an outcome to whoever asked; the lock must not be held."""
    try:
        ticket.done(ticket.job, outcome)
    except Exception:
        # One who cannot take an answer must not keep others from theirs.
        logger.exception("an outcome was not taken")


def _key(ticket: Ticket) -> tuple[str, int]:
    return ticket.session_id, ticket.job.id
