"""The worker pools of a program: one recognises words, one reads emotion, side by side.

The voice so never waits for the words: while the recogniser is busy with one utterance, or being
loaded anew, readings of all voices go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from streamser.emotion.model import Listener
from streamser.runtime.assembly import check_together
from streamser.runtime.crew import Crew
from streamser.runtime.engine import Abilities
from streamser.runtime.jobs import Job, Outcome, WordsJob
from streamser.runtime.queue import QueueLoad
from streamser.runtime.stats import WorkerStats

__all__ = ["WorkerPools"]


class WorkerPools:
    """Bring each job to the pool that can do it; any thread may call any method.

    Without a pool for ``words`` the other one has all models.
    """

    def __init__(self, emotion: Crew, words: Crew | None) -> None:
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
        loads = [pool.load() for pool in self._all]
        return QueueLoad(
            sum(load.finals for load in loads),
            sum(load.partials for load in loads),
            max(load.oldest_s for load in loads),
            max(load.oldest_final_s for load in loads),
        )

    def listener(self) -> Listener:
        """Return a listener of the emotion model."""
        return self._emotion.listener()

    def enter(self, session_id: str) -> None:
        """Announce a session."""
        for pool in self._all:
            pool.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Take leave of a session: its waiting jobs and what models keep for it are dropped."""
        for pool in self._all:
            pool.leave(session_id)

    def submit(self, job: Job, done: Callable[[Job, Outcome], None]) -> None:
        """Ask for a job; ``done`` gets its outcome, unless it is cancelled before it began."""
        self._pool_of(job).submit(job, done)

    def cancel(self, session_id: str, job_id: int) -> None:
        """Withdraw a job that has not begun; numbers are unique within a session."""
        for pool in self._all:
            pool.cancel(session_id, job_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the jobs that wait, then stop; see ``DeviceThread.close``.

        What is left of ``within_s`` after one pool is there for the next.
        """
        until = None if within_s is None else time.monotonic() + within_s
        # Words first: what they find may still be read for emotion.
        for pool in reversed(self._all):
            pool.close(None if until is None else max(0.0, until - time.monotonic()))

    def _pool_of(self, job: Job) -> Crew:
        words = self._words
        return words if words is not None and isinstance(job, WordsJob) else self._emotion
