"""Several device threads behind one front: each session belongs to one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streamser.emotion.model import Listener
from streamser.runtime.engine import Runner
from streamser.runtime.jobs import Job, Outcome
from streamser.runtime.queue import QueueLoad
from streamser.runtime.stats import WorkerStats
from streamser.runtime.timing import SYSTEM, Timing
from streamser.runtime.worker import BatchReport, DeviceThread
from streamser.settings import WorkerSettings

__all__ = ["Crew"]


class Crew:
    """Share sessions out among device threads, each with an engine of its own.

    A session stays where it entered, since recognisers keep what they have heard of it. ``watch``
    is told of batches on several threads, one at a time. Any thread may call any method.
    """

    def __init__(
        self,
        build: Callable[[], Runner],
        settings: WorkerSettings,
        watch: Callable[[BatchReport], None] | None = None,
        timing: Timing = SYSTEM,
    ) -> None:
        self._build = build
        self._settings = settings
        self._watch = watch
        self._timing = timing
        self._lock = threading.Lock()
        self._watching = threading.Lock()
        self._members: tuple[DeviceThread, ...] = ()
        self._places: dict[str, DeviceThread] = {}
        self.grow(max(1, settings.processes or 0))

    @property
    def size(self) -> int:
        """Return how many device threads there are."""
        return len(self._members)

    @property
    def stats(self) -> WorkerStats:
        """Return what all have done so far."""
        return sum((member.stats for member in self._members), WorkerStats())

    @property
    def is_ready(self) -> bool:
        """Return whether one of them can work at once."""
        return any(member.is_ready for member in self._members)

    @property
    def has_failed(self) -> bool:
        """Return whether the models could not be loaded in the first place: they never will."""
        return self._members[0].has_failed

    def load(self) -> QueueLoad:
        """Return what waits now, with all together."""
        loads = [member.load() for member in self._members]
        return QueueLoad(
            sum(load.finals for load in loads),
            sum(load.partials for load in loads),
            max(load.oldest_s for load in loads),
            max(load.oldest_final_s for load in loads),
        )

    def engine(self) -> Runner:
        """Wait until the models of all are loaded, and return the first's; raises their error."""
        engines = [member.engine() for member in self._members]
        return engines[0]

    def listener(self) -> Listener:
        """Return a listener of the emotion model."""
        return self._members[0].listener()

    def grow(self, size: int) -> None:
        """Let there be so many of them, if there are fewer; waits for no models."""
        with self._lock:
            missing = size - len(self._members)
            self._members += tuple(
                DeviceThread(self._build, self._settings, self._report, self._timing)
                for _ in range(missing)
            )

    def enter(self, session_id: str) -> None:
        """Announce a session: it belongs to whoever can work and has the fewest."""
        with self._lock:
            member = self._members[0]
            if len(self._members) > 1:
                taken = list(self._places.values())
                member = min(self._members, key=lambda each: (not each.is_ready, taken.count(each)))
            self._places[session_id] = member
        member.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Take leave of a session: its waiting jobs and what models keep for it are dropped."""
        with self._lock:
            member = self._places.pop(session_id, self._members[0])
        member.leave(session_id)

    def submit(self, job: Job, done: Callable[[Job, Outcome], None]) -> None:
        """Ask for a job; ``done`` gets its outcome, unless it is cancelled before it began."""
        self._member(job.clip.session_id).submit(job, done)

    def cancel(self, session_id: str, job_id: int) -> None:
        """Withdraw a job that has not begun."""
        self._member(session_id).cancel(session_id, job_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the jobs that wait, then stop; see ``DeviceThread.close``."""
        with ThreadPoolExecutor(len(self._members)) as pool:
            list(pool.map(lambda member: member.close(within_s), self._members))

    def _member(self, session_id: str) -> DeviceThread:
        # Who has not entered, or has left, is answered all the same.
        return self._places.get(session_id, self._members[0])

    def _report(self, report: BatchReport) -> None:
        if self._watch is not None:
            with self._watching:
                self._watch(report)
