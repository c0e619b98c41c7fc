"""The workers of a process: one for words and one for emotion.

The voice so never waits for the words: while the recogniser is busy with one utterance, or being
loaded anew, readings of all voices go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from streamser.emotion.model import SpeakerModel
from streamser.pipeline.build import check_together
from streamser.pipeline.engine import Abilities
from streamser.pipeline.requests import Outcome, Request, WordsRequest
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.worker import InferenceWorker, WorkerStats


class WorkerPair:
    """Bring each request to the worker that can do it; any thread may call any method.

    Without a worker for ``words`` the other one has all models.
    """

    def __init__(self, emotion: InferenceWorker, words: InferenceWorker | None) -> None:
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
    def stats(self) -> WorkerStats:
        """Return what all have done so far."""
        return sum((each.stats for each in self._all), WorkerStats())

    @property
    def is_ready(self) -> bool:
        """Return whether words and emotion can be asked for, and answered at once."""
        return all(each.is_ready for each in self._all)

    @property
    def has_failed(self) -> bool:
        """Return whether models could not be loaded in the first place: they never will."""
        return any(each.has_failed for each in self._all)

    def load(self) -> QueueLoad:
        """Return what waits now, with all together."""
        return sum((each.load() for each in self._all), QueueLoad())

    def new_speaker(self) -> SpeakerModel:
        """Return a model of a speaker nobody knows yet."""
        return self._emotion.new_speaker()

    def enter(self, session_id: str) -> None:
        """Announce a session."""
        for each in self._all:
            each.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Drop what waits of a session, and what models keep for it."""
        for each in self._all:
            each.leave(session_id)

    def submit(self, request: Request, done: Callable[[Request, Outcome], None]) -> None:
        """Ask; ``done`` gets the outcome, unless the request is cancelled before it began."""
        self._worker_for(request).submit(request, done)

    def cancel(self, session_id: str, request_id: int) -> None:
        """Withdraw a request that has not begun; numbers are unique within a session."""
        for each in self._all:
            each.cancel(session_id, request_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the requests that wait, then stop; see ``InferenceWorker.close``.

        What is left of ``within_s`` after one is there for the next.
        """
        until = None if within_s is None else time.monotonic() + within_s
        # Words first: what they find may still be read for emotion.
        for each in reversed(self._all):
            each.close(None if until is None else max(0.0, until - time.monotonic()))

    def _worker_for(self, request: Request) -> InferenceWorker:
        words = self._words
        return words if words is not None and isinstance(request, WordsRequest) else self._emotion
