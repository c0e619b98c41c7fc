"""Which request is next: finals, then partials, then what nobody waits for; what is left out.

``PendingRequests`` keeps the order and is pure; ``RequestQueue`` puts a lock around it: there
sessions put their requests, and a worker finds them. ``sort_out`` and ``Backoff`` say what becomes
of requests whose worker is lost, and how soon another one begins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from streamser.pipeline.requests import (
    EmotionRequest,
    Fault,
    Outcome,
    Request,
    Skipped,
    WordsRequest,
)
from streamser.settings import WorkerSettings

logger = logging.getLogger(__name__)


class Timing(Protocol):
    """Tell the time, and wait; tests bring one whose hands they move."""

    def now(self) -> float:
        """Return the time in s; never set back or forward."""
        ...

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait for a notice, or until a time; may return early. The condition is held."""
        ...


class _System:
    def now(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        condition.wait(None if until is None else max(0.0, until - time.monotonic()))


SYSTEM: Timing = _System()
"""The monotonic clock of this machine, which no change of date or time touches."""


class QueuedRequest(msgspec.Struct, frozen=True, eq=False):
    """Hold a waiting request, where its outcome goes, and since when it waits (s, any clock).

    ``suspect`` if it was at work when a worker thread was lost: that may be its fault.
    """

    request: Request
    done: Callable[[Request, Outcome], None]
    since: float = 0.0
    suspect: bool = False

    @property
    def session_id(self) -> str:
        """Return the session that asks."""
        return self.request.clip.session_id

    def as_waited(self, now: float) -> Request:
        """Return the request; where somebody waits with it, with how long that has been."""
        request = self.request
        unhurried = request.droppable or request.background or not request.refusable
        if unhurried or not isinstance(request, EmotionRequest):
            return request
        return replace(request, waited_s=now - self.since)


class QueueLoad(msgspec.Struct, frozen=True):
    """Count waiting requests by kind; ``oldest_s`` is how long the first of them has waited.

    ``oldest_final_s`` is the same of the finals that somebody waits for.
    """

    finals: int = 0
    partials: int = 0
    oldest_s: float = 0.0
    oldest_final_s: float = 0.0

    def __add__(self, other: QueueLoad) -> QueueLoad:
        """Count two queues together."""
        return QueueLoad(
            self.finals + other.finals,
            self.partials + other.partials,
            max(self.oldest_s, other.oldest_s),
            max(self.oldest_final_s, other.oldest_final_s),
        )


class PendingRequests:
    """Keep waiting requests in order; pure, so callers bring their own lock.

    Droppable ones are next after all others, and a newer one of the same session and kind takes
    the place of one that still waits. Beyond the bounds the oldest droppable one is left out, and
    a refusable one that is not droppable fails: never silently. Suspects are first, and alone: one
    that brings the device down again takes no other with it. Those of the background are last, and
    one by one: who speaks meanwhile waits for no more than that.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._max_droppable = settings.max_partials
        self._max_firm = settings.max_finals
        self._firm: list[QueuedRequest] = []
        self._droppable: list[QueuedRequest] = []
        self._background: list[QueuedRequest] = []

    def __len__(self) -> int:
        return len(self._firm) + len(self._droppable) + len(self._background)

    def load(self, now: float) -> QueueLoad:
        """Say how much waits, and how long the oldest has."""
        final, partial, unhurried = (
            max((now - entry.since for entry in waiting), default=0.0)
            for waiting in (self._firm, self._droppable, self._background)
        )
        finals = len(self._firm) + len(self._background)
        return QueueLoad(finals, len(self._droppable), max(final, partial, unhurried), final)

    def push(self, entry: QueuedRequest) -> list[tuple[QueuedRequest, Outcome]]:
        """Take a request in; returns those that are over because of it, with their outcome."""
        if not entry.request.droppable:
            if entry.request.refusable and len(self._firm) >= self._max_firm:
                message = f"{self._max_firm} utterances are waiting already"
                return [(entry, Fault("overloaded", message))]
            if entry.suspect:
                self.put_back([entry])
            elif entry.request.background:
                self._background.append(entry)
            else:
                self._firm.append(entry)
            return []
        over: list[tuple[QueuedRequest, Outcome]] = []
        for place, old in enumerate(self._droppable):
            if _kind(old) == _kind(entry):
                # In the same place: who is asked about often must not wait for ever.
                self._droppable[place] = entry
                return [(old, Skipped("coalesced"))]
        self._droppable.append(entry)
        if len(self._droppable) > self._max_droppable:
            over.append((self._droppable.pop(0), Skipped("full")))
        return over

    @property
    def has_firm(self) -> bool:
        """Return whether a request waits that is neither droppable nor of the background."""
        return bool(self._firm)

    def pop(self, most: int, *, droppable: bool = True) -> list[QueuedRequest]:
        """Remove and return the next requests, at most so many; ``droppable`` ones too, or not yet.

        Never both kinds: a batch is answered as a whole, and finals must not wait for partials.
        """
        if self._firm:
            suspects = [place for place, entry in enumerate(self._firm) if entry.suspect]
            most = min([max(1, place) for place in suspects] + [most])
            batch, self._firm = self._firm[:most], self._firm[most:]
        elif droppable and self._droppable:
            batch, self._droppable = self._droppable[:most], self._droppable[most:]
        else:
            batch, self._background = self._background[:1], self._background[1:]
        return batch

    def put_back(self, suspects: list[QueuedRequest]) -> None:
        """Take requests in again, before all others; none of them droppable."""
        self._firm[:0] = suspects

    def clear(self) -> list[QueuedRequest]:
        """Remove and return all that waits."""
        waiting = [*self._firm, *self._droppable, *self._background]
        self._firm, self._droppable, self._background = [], [], []
        return waiting

    def withdraw(self, session_id: str, request_id: int | None = None) -> None:
        """Forget a session's request, or all of them, if they still wait; nothing is answered."""

        def stays(entry: QueuedRequest) -> bool:
            other = entry.session_id != session_id
            return other or (request_id is not None and entry.request.id != request_id)

        self._firm = [entry for entry in self._firm if stays(entry)]
        self._droppable = [entry for entry in self._droppable if stays(entry)]
        self._background = [entry for entry in self._background if stays(entry)]


def _kind(entry: QueuedRequest) -> tuple[str, type[WordsRequest] | type[EmotionRequest], bool]:
    """Say what a newer request has to be like to make an older one needless."""
    return entry.session_id, type(entry.request), entry.request.clip.final


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Hold what a worker takes on at once: sessions to forget, and requests to run."""

    gone: list[str]
    entries: list[QueuedRequest]


class RequestQueue:
    """Keep requests and sessions, for any number of threads; nothing waits but ``next_batch``.

    ``lock`` guards it; methods marked so are called with the lock held.
    """

    def __init__(self, settings: WorkerSettings, timing: Timing) -> None:
        self.lock = threading.Lock()
        self.closing = False
        self._settings = settings
        self._timing = timing
        self._filled = threading.Condition(self.lock)
        self._queue = PendingRequests(settings)
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
        """Take leave of a session and drop its requests."""
        with self.lock:
            self._sessions.discard(session_id)
            self._queue.withdraw(session_id)
            self._at_work = {key for key in self._at_work if key[0] != session_id}
            if session_id in self._served:
                self._served.discard(session_id)
                self._gone.append(session_id)
                self._filled.notify_all()

    def submit(self, request: Request, done: Callable[[Request, Outcome], None]) -> int:
        """Put a request in; returns how many requests failed because of it."""
        entry = QueuedRequest(request, done, self._timing.now(), request.suspect)
        over: list[tuple[QueuedRequest, Outcome]]
        with self.lock:
            if self.closing:
                over = [(entry, Fault("closed", "shutting down"))]
            elif self._refusing is not None:
                over = [(entry, self._refusing)]
            else:
                over = self._queue.push(entry)
                self._filled.notify_all()
        for old, outcome in over:
            answer(old, outcome)
        return sum(isinstance(outcome, Fault) for _, outcome in over)

    def cancel(self, session_id: str, request_id: int) -> None:
        """Withdraw a request."""
        with self.lock:
            self._queue.withdraw(session_id, request_id)
            self._at_work.discard((session_id, request_id))

    def close(self) -> None:
        """Take nothing more in; lock held."""
        self.closing = True
        self._filled.notify_all()

    def next_batch(
        self,
        wanted: Callable[[], bool],
        begin: Callable[[Batch], None],
        most: int | None = None,
    ) -> Batch | None:
        """Wait for work; ``None`` where the thread shall end, as soon as it is not ``wanted``.

        At most ``most`` requests, or ``worker.max_batch``. ``begin`` is told of the batch before
        the lock is let go, so that none is ever in nobody's hands.
        """
        most = most or self._settings.max_batch
        wait_s = self._settings.max_wait_ms / 1000 if most > 1 else 0.0
        with self.lock:
            while wanted():
                if self._queue.has_firm and not self.closing and wait_s and self._crowded:
                    self._wait_for_company(wait_s)
                gone, self._gone = self._gone, []
                rested = self._timing.now() >= self._rests_until
                batch = self._queue.pop(most, droppable=rested or self.closing)
                if batch or gone:
                    self._at_work = {_key(entry) for entry in batch}
                    self._served.update(entry.session_id for entry in batch)
                    taken = Batch(gone, batch)
                    begin(taken)
                    return taken
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
        """Let droppable ones wait after some that took so long: finals find the models free."""
        with self.lock:
            rest = seconds * (1 / self._settings.partial_share - 1)
            self._rests_until = self._timing.now() + rest

    def put_back(self, suspects: list[QueuedRequest]) -> None:
        """Take requests in again, save those withdrawn meanwhile; lock held."""
        self._queue.put_back([entry for entry in suspects if _key(entry) in self._at_work])

    def refuse(self, fault: Fault | None) -> list[QueuedRequest]:
        """Answer every request with a fault from here on, or none any more; lock held.

        Returns the requests that wait, for the caller to answer without the lock.
        """
        self._refusing = fault
        return [] if fault is None else self._queue.clear()

    @property
    def is_empty(self) -> bool:
        """Return whether no request waits; lock held."""
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


def answer(entry: QueuedRequest, outcome: Outcome) -> None:
    """Bring an outcome to whoever asked; the lock must not be held."""
    try:
        entry.done(entry.request, outcome)
    except Exception:
        # One who cannot take an answer must not keep others from theirs.
        logger.exception("an outcome was not taken")


def _key(entry: QueuedRequest) -> tuple[str, int]:
    return entry.session_id, entry.request.id


Loss: TypeAlias = Literal["died", "stuck"]
"""How a worker thread was lost: an error ended it, or it did not answer in time."""

_AT_ONCE = 2
"""Losses in a row that are made good at once: of a batch, and of what in it was to blame."""
_LONGEST_S = 60.0


def sort_out(
    entries: Sequence[QueuedRequest], loss: Loss, why: str
) -> tuple[list[QueuedRequest], list[tuple[QueuedRequest, Fault]]]:
    """Divide what was at work: requests to be tried again, and those that are over.

    Each is tried again once, alone. Not a droppable one, which the next reading replaces; nor
    one that was alone when the models hung, as it would hang them again for as long.
    """
    code = "deadline" if loss == "stuck" else "worker_died"
    fault = Fault(code, why)
    again: list[QueuedRequest] = []
    over: list[tuple[QueuedRequest, Fault]] = []
    for entry in entries:
        to_blame = entry.suspect or (loss == "stuck" and len(entries) == 1)
        if to_blame or entry.request.droppable:
            over.append((entry, fault))
        else:
            again.append(replace(entry, suspect=True))
    return again, over


class Backoff:
    """Count what went wrong in a row, and say how long to wait before another attempt, in s."""

    def __init__(self) -> None:
        self._in_row = 0

    def reset(self) -> None:
        """Take note that requests were answered."""
        self._in_row = 0

    def lost(self) -> float:
        """Take note that a worker thread was lost; the first two cost no wait."""
        self._in_row += 1
        return 0.0 if self._in_row <= _AT_ONCE else _pause_s(self._in_row - _AT_ONCE)

    def not_loaded(self) -> float:
        """Take note that models could not be loaded."""
        self._in_row += 1
        return _pause_s(self._in_row)


def _pause_s(times: int) -> float:
    return min(_LONGEST_S, 2.0 ** min(times - 1, 10))
