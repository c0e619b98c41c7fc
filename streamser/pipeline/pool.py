"""The workers of a program: pools of those that do the same, for words and for emotion apart.

The voice so never waits for the words: while the recogniser is busy with one utterance, or being
loaded anew, readings of all voices go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from streamser.emotion.model import SpeakerModel
from streamser.pipeline.build import check_together
from streamser.pipeline.engine import Abilities, Runner
from streamser.pipeline.requests import Outcome, Request, WordsRequest
from streamser.pipeline.scheduler import SYSTEM, QueueLoad, Timing
from streamser.pipeline.worker import BatchReport, InferenceWorker, WorkerStats
from streamser.settings import WorkerSettings


class WorkerPool:
    """Share sessions out among worker threads, each with an engine of its own.

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
        self._members: tuple[InferenceWorker, ...] = ()
        self._places: dict[str, InferenceWorker] = {}
        self.grow(max(1, settings.processes or 0))

    @property
    def size(self) -> int:
        """Return how many worker threads there are."""
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
        return sum((member.load() for member in self._members), QueueLoad())

    def engine(self) -> Runner:
        """Wait until the models of all are loaded, and return the first's; raises their error."""
        engines = [member.engine() for member in self._members]
        return engines[0]

    def new_speaker(self) -> SpeakerModel:
        """Return a model of a speaker nobody knows yet."""
        return self._members[0].new_speaker()

    def grow(self, size: int) -> None:
        """Let there be so many of them, if there are fewer; waits for no models."""
        with self._lock:
            missing = size - len(self._members)
            self._members += tuple(
                InferenceWorker(self._build, self._settings, self._report, self._timing)
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
        """Drop what waits of a session, and what models keep for it."""
        with self._lock:
            member = self._places.pop(session_id, self._members[0])
        member.leave(session_id)

    def submit(self, request: Request, done: Callable[[Request, Outcome], None]) -> None:
        """Ask; ``done`` gets the outcome, unless the request is cancelled before it began."""
        self._member(request.clip.session_id).submit(request, done)

    def cancel(self, session_id: str, request_id: int) -> None:
        """Withdraw a request that has not begun."""
        self._member(session_id).cancel(session_id, request_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the requests that wait, then stop; see ``InferenceWorker.close``."""
        with ThreadPoolExecutor(len(self._members)) as pool:
            list(pool.map(lambda member: member.close(within_s), self._members))

    def _member(self, session_id: str) -> InferenceWorker:
        # Who has not entered, or has left, is answered all the same.
        return self._places.get(session_id, self._members[0])

    def _report(self, report: BatchReport) -> None:
        if self._watch is not None:
            with self._watching:
                self._watch(report)


class WorkerPools:
    """Bring each request to the pool that can do it; any thread may call any method.

    Without a pool for ``words`` the other one has all models.
    """

    def __init__(self, emotion: WorkerPool, words: WorkerPool | None) -> None:
        self._emotion = emotion
        self._words = words
        self._all = (emotion,) if words is None else (emotion, words)

    def wait(self) -> Abilities:
        """Wait until the models of all are loaded, and say what they can do together.

        Raises what loading them raised, or ``ConfigError`` where they do not go together.
        """
        abilities = self._emotion.engine().abilities
        if self._words is not None:
            words = self._words.engine().abilities
            abilities = replace(
                abilities, asr=words.asr, arithmetic=words.arithmetic, languages=words.languages
            )
        check_together(abilities)
        return abilities

    @property
    def size(self) -> int:
        """Return how many workers there are."""
        return sum(pool.size for pool in self._all)

    @property
    def stats(self) -> WorkerStats:
        """Return what all have done so far."""
        return sum((pool.stats for pool in self._all), WorkerStats())

    @property
    def is_ready(self) -> bool:
        """Return whether words and emotion can be asked for, and answered at once."""
        return all(pool.is_ready for pool in self._all)

    @property
    def has_failed(self) -> bool:
        """Return whether models could not be loaded in the first place: they never will."""
        return any(pool.has_failed for pool in self._all)

    def load(self) -> QueueLoad:
        """Return what waits now, with all together."""
        return sum((pool.load() for pool in self._all), QueueLoad())

    def new_speaker(self) -> SpeakerModel:
        """Return a model of a speaker nobody knows yet."""
        return self._emotion.new_speaker()

    def enter(self, session_id: str) -> None:
        """Announce a session."""
        for pool in self._all:
            pool.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Drop what waits of a session, and what models keep for it."""
        for pool in self._all:
            pool.leave(session_id)

    def submit(self, request: Request, done: Callable[[Request, Outcome], None]) -> None:
        """Ask; ``done`` gets the outcome, unless the request is cancelled before it began."""
        self._pool_of(request).submit(request, done)

    def cancel(self, session_id: str, request_id: int) -> None:
        """Withdraw a request that has not begun; numbers are unique within a session."""
        for pool in self._all:
            pool.cancel(session_id, request_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the requests that wait, then stop; see ``InferenceWorker.close``.

        What is left of ``within_s`` after one pool is there for the next.
        """
        until = None if within_s is None else time.monotonic() + within_s
        # Words first: what they find may still be read for emotion.
        for pool in reversed(self._all):
            pool.close(None if until is None else max(0.0, until - time.monotonic()))

    def _pool_of(self, request: Request) -> WorkerPool:
        words = self._words
        return words if words is not None and isinstance(request, WordsRequest) else self._emotion
