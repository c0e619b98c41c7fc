"""Join one session to the worker pools and the clock; driven by one thread or task."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from streamser.audio.clip import Samples, to_samples
from streamser.audio.suspicion import Doubt
from streamser.events import Event
from streamser.runtime.clock import ArrivalClock
from streamser.runtime.jobs import Cancel, EmotionJob, Job, Outcome, WordsJob
from streamser.runtime.pools import WorkerPools
from streamser.runtime.session import Output, Session

__all__ = ["Conductor"]


class Conductor:
    """Carry a session's jobs to the worker pools and put the lag into its events.

    ``post`` is called on a worker's thread with each outcome, and has to bring it to whoever
    drives the conductor, who hands it to ``take``. Without a ``clock`` (a file read as fast as
    possible) events tell no lag.
    """

    def __init__(
        self,
        session: Session,
        workers: WorkerPools,
        post: Callable[[Job, Outcome], None],
        clock: Callable[[], float] | None,
    ) -> None:
        self._session = session
        self._workers = workers
        self._post = post
        self.clock = clock
        self._arrivals = ArrivalClock()
        self._pending: set[int] = set()

    @property
    def pending(self) -> int:
        """Return how many jobs that must be done are with the workers."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Return whether the last event has been told."""
        return self._session.closed

    def begin(self) -> list[Event]:
        """Open the session."""
        return self.carry(self._session.begin())

    def hear(self, samples: Samples, arrived: float, reached: int) -> list[Event]:
        """Push sound; at the clock's ``arrived``, all up to the sample ``reached`` was here."""
        if self.clock is not None:
            self._arrivals.note(reached, arrived)
        return self.carry(self._session.push(samples))

    @property
    def waits_for_time(self) -> bool:
        """Return whether time must be told to ``lapse`` should no sound come."""
        return self._session.waits_for_time

    def lapse(self, samples: int, *, all_heard: bool = True) -> list[Event]:
        """Let time pass in which no sound comes, in samples; see ``Session.lapse``."""
        return self.carry(self._session.lapse(samples, all_heard=all_heard))

    def miss(self, samples: int, reason: str, at: int) -> list[Event]:
        """Note sound that was lost at an absolute sample."""
        return self.carry(self._session.lose_audio(samples, reason, at))

    def report(self, code: str, message: str) -> list[Event]:
        """Tell of a fault of the source."""
        return self.carry(self._session.report(code, message))

    def advise(self, doubt: Doubt) -> list[Event]:
        """Tell that the sound is likely of the wrong kind."""
        return self.carry(self._session.advise(doubt))

    def take(self, job: Job, outcome: Outcome) -> list[Event]:
        """Hand an outcome to the session."""
        self._pending.discard(job.id)
        return self.carry(self._session.resolve(job.id, outcome))

    def end(self) -> list[Event]:
        """Flush the session; outcomes still to come must be taken until it is closed."""
        return self.carry(self._session.flush())

    def part(self) -> None:
        """Know nobody any more to bring outcomes to; for a session that is closed."""
        self._post = _to_nobody

    def carry(self, output: list[Output]) -> list[Event]:
        """Send the jobs among a session's output on their way; return its events."""
        events: list[Event] = []
        for item in output:
            if isinstance(item, WordsJob | EmotionJob):
                if not item.droppable:
                    self._pending.add(item.id)
                self._workers.submit(item, self._post)
            elif isinstance(item, Cancel):
                self._pending.discard(item.job_id)
                self._workers.cancel(item.session_id, item.job_id)
            else:
                events.append(self._timed(item))
        return events

    def _timed(self, event: Event) -> Event:
        if self.clock is None or event.clock_ms is None:
            return event
        lag = self._arrivals.lag_ms(to_samples(event.clock_ms), self.clock())
        return replace(event, lag_ms=lag)


def _to_nobody(job: Job, outcome: Outcome) -> None:
    return
