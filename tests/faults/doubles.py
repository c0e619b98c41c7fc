"""Time whose hands a test moves, and models that fail when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from streamser.audio.clip import Clip
from streamser.pipeline.engine import Engine
from streamser.speech.transcriber import Transcript
from tests.pipeline.doubles import LoudnessModel, SpellingTranscriber

__all__ = ["GIVE_UP_S", "HandTime", "Mishap", "Workshop", "get"]

GIVE_UP_S = 30
"""What takes longer hangs."""

Mishap = Callable[[Sequence[Clip]], None]
"""What befalls a batch: nothing, where it returns."""


def get(waiting: threading.Semaphore) -> None:
    """Wait until a semaphore is released."""
    assert waiting.acquire(timeout=GIVE_UP_S), "nothing came"


class HandTime:
    """Stand still until moved; then whoever waits for that time wakes up."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._lock = threading.Lock()
        self._waiting: list[threading.Condition] = []

    def now(self) -> float:
        """Return the time."""
        return self._now

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait for a notice, or until somebody has moved the hands so far."""
        with self._lock:
            if condition not in self._waiting:
                self._waiting.append(condition)
        # The condition is held, so the notice of a move that comes now is not missed.
        if until is None or self._now < until:
            condition.wait()

    def move(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += seconds
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()


class Workshop:
    """Build engines whose recogniser meets a mishap, and count them.

    ``mishap`` befalls each batch of any of them; ``before`` is called before each is built.
    """

    def __init__(
        self, mishap: Mishap | None = None, before: Callable[[int], None] | None = None
    ) -> None:
        self.engines: list[Engine] = []
        self.builders: list[str] = []
        self.batches: list[list[int]] = []
        self.begun = 0
        self._mishap = mishap or (lambda clips: None)
        self._before = before or (lambda number: None)

    def build(self) -> Engine:
        """Build another engine."""
        self.begun += 1
        self._before(self.begun)
        self.builders.append(threading.current_thread().name)
        engine = Engine(_Recogniser(self), LoudnessModel())
        self.engines.append(engine)
        return engine

    def befall(self, clips: Sequence[Clip]) -> None:
        """Let the mishap happen."""
        self.batches.append([clip.utterance for clip in clips])
        self._mishap(clips)


class _Recogniser(SpellingTranscriber):
    def __init__(self, shop: Any) -> None:
        self._shop = shop

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        self._shop.befall(clips)
        return super().transcribe(clips)
