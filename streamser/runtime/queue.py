"""Which job is next: finals before partials, oldest first, and what is left out when it is late."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from streamser.runtime.jobs import EmotionJob, Fault, Job, Outcome, Skipped, WordsJob
from streamser.settings import WorkerSettings

__all__ = ["JobQueue", "QueueLoad", "Ticket"]


class Ticket(msgspec.Struct, frozen=True, eq=False):
    """Hold a waiting job, where its outcome goes, and since when it waits (s, any clock).

    ``suspect`` if it was at work when a device thread was lost: that may be its fault.
    """

    job: Job
    done: Callable[[Job, Outcome], None]
    since: float = 0.0
    suspect: bool = False

    @property
    def session_id(self) -> str:
        """Return the session that asks."""
        return self.job.clip.session_id


class QueueLoad(msgspec.Struct, frozen=True):
    """Count waiting jobs by kind; ``oldest_s`` is how long the first of them has waited.

    ``oldest_final_s`` is the same of finals alone.
    """

    finals: int
    partials: int
    oldest_s: float
    oldest_final_s: float


class JobQueue:
    """Keep waiting jobs in order; pure, so callers bring their own lock.

    Droppable jobs are taken after all others, and a newer one of the same session and kind takes
    the place of one that still waits. Beyond the bounds the oldest droppable job is left out, and
    a refusable job that is not droppable fails: never silently. Suspects are first, and alone:
    one that brings the device down again takes no other with it.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._max_droppable = settings.max_partials
        self._max_firm = settings.max_finals
        self._firm: list[Ticket] = []
        self._droppable: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._firm) + len(self._droppable)

    def load(self, now: float) -> QueueLoad:
        """Say how much waits, and how long the oldest has."""
        final, partial = (
            max((now - ticket.since for ticket in waiting), default=0.0)
            for waiting in (self._firm, self._droppable)
        )
        return QueueLoad(len(self._firm), len(self._droppable), max(final, partial), final)

    def offer(self, ticket: Ticket) -> list[tuple[Ticket, Outcome]]:
        """Take a job in; returns the tickets that are over because of it, with their outcome."""
        if not ticket.job.droppable:
            if ticket.job.refusable and len(self._firm) >= self._max_firm:
                message = f"{self._max_firm} utterances are waiting already"
                return [(ticket, Fault("overloaded", message))]
            self._firm.append(ticket)
            return []
        over: list[tuple[Ticket, Outcome]] = []
        for place, old in enumerate(self._droppable):
            if _kind(old) == _kind(ticket):
                # In the same place: who is asked about often must not wait for ever.
                self._droppable[place] = ticket
                return [(old, Skipped("coalesced"))]
        self._droppable.append(ticket)
        if len(self._droppable) > self._max_droppable:
            over.append((self._droppable.pop(0), Skipped("full")))
        return over

    @property
    def has_firm(self) -> bool:
        """Return whether a job waits that is not droppable."""
        return bool(self._firm)

    def take(self, most: int, *, droppable: bool = True) -> list[Ticket]:
        """Remove and return the next jobs, at most so many; ``droppable`` ones too, or not yet.

        Never both kinds: a batch is answered as a whole, and finals must not wait for partials.
        """
        if self._firm:
            most = 1 if self._firm[0].suspect else most
            batch, self._firm = self._firm[:most], self._firm[most:]
        elif not droppable:
            batch = []
        else:
            batch, self._droppable = self._droppable[:most], self._droppable[most:]
        return batch

    def put_back(self, suspects: list[Ticket]) -> None:
        """Take jobs in again, before all others; none of them droppable."""
        self._firm[:0] = suspects

    def clear(self) -> list[Ticket]:
        """Remove and return all that waits."""
        waiting = [*self._firm, *self._droppable]
        self._firm, self._droppable = [], []
        return waiting

    def withdraw(self, session_id: str, job_id: int | None = None) -> None:
        """Forget a session's job, or all its jobs, if they still wait; nothing is answered."""

        def stays(ticket: Ticket) -> bool:
            other = ticket.session_id != session_id
            return other or (job_id is not None and ticket.job.id != job_id)

        self._firm = [ticket for ticket in self._firm if stays(ticket)]
        self._droppable = [ticket for ticket in self._droppable if stays(ticket)]


def _kind(ticket: Ticket) -> tuple[str, type[WordsJob] | type[EmotionJob], bool]:
    """Say what a newer job has to be like to make an older one needless."""
    return ticket.session_id, type(ticket.job), ticket.job.clip.final
