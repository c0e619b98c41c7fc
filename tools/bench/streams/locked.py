"""What others would write: a thread a stream, and a lock around one set of models.

``python -m tools.bench.streams.locked serve …`` takes the arguments of ``streamser serve`` and
differs from it in nothing else: detector, session core, models, sockets and protocol are the same.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from streamser.cli import main as program
from streamser.events import SessionEvent
from streamser.hosting.hosted import run_beside
from streamser.hosting.records import (
    Commit,
    Flush,
    Hosted,
    Listener,
    Push,
    SessionHost,
    SessionInput,
    Told,
    WorkerLoad,
)
from streamser.pipeline.build import build_engine, build_vads
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import Cancel, EmotionRequest, Request, WordsRequest
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.stream import ArrivalClock
from streamser.pipeline.worker import WorkerStats
from streamser.server import app
from streamser.settings import Settings
from streamser.speech.vad import Vad

__all__ = ["LockedHost", "main"]


class LockedHost:
    """Host each session on a thread of its own; whoever asks the models waits for the others."""

    def __init__(self, settings: Settings, tell: Callable[[str], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._make_vad: Callable[[], Vad] | None = None

    stats = WorkerStats()
    kept_bytes = 0

    @property
    def is_ready(self) -> bool:
        """Return whether the models are loaded."""
        return self._engine is not None

    def load(self) -> QueueLoad:
        """Return that nothing waits: it is the threads that do."""
        return QueueLoad()

    def workers(self) -> list[WorkerLoad]:
        """Return nothing: all is in this process."""
        return []

    async def start(self) -> Hosted:
        """Load the models."""
        self._make_vad = build_vads(self._settings)
        self._engine = await run_beside(
            lambda: build_engine(self._settings, self._tell), "models of all"
        )
        return Hosted(self._make_vad().name, self._engine.abilities)

    def open(
        self, config: SessionConfig, voice: SessionSnapshot | None, listener: Listener
    ) -> LockedSession:
        """Begin a session."""
        assert self._make_vad is not None, "models are loaded first"
        assert self._engine is not None, "models are loaded first"
        session = Session(config, self._make_vad(), self._engine.new_speaker)
        return LockedSession(config, session, self._engine, self._lock, listener)

    async def close(self, within_s: float) -> None:
        """Let threads end with the process."""


class LockedSession:
    """Drive one session on a thread; what comes of it is told on the event loop."""

    def __init__(
        self,
        config: SessionConfig,
        session: Session,
        engine: Engine,
        lock: threading.Lock,
        listener: Listener,
    ) -> None:
        self._session_id = config.session_id
        self._session = session
        self._engine = engine
        self._lock = lock
        self._listener: Listener | None = listener
        self._inputs: queue.SimpleQueue[SessionInput | None] = queue.SimpleQueue()
        self._given = self._heard = 0
        self._arrivals = ArrivalClock(None if config.ordered else time.monotonic)
        session.time_events(self._arrivals.event_lag_ms)
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name=config.session_id, daemon=True).start()

    @property
    def in_flight(self) -> int:
        """Return how many samples wait for the thread."""
        return self._given - self._heard

    def apply(self, item: SessionInput) -> None:
        """Give the session something."""
        if isinstance(item, Push):
            self._given += len(item.samples) // 4
        self._inputs.put(item)

    def snapshot(self) -> SessionSnapshot | None:
        """Return nothing: voices are not kept here."""
        return None

    def leave(self) -> None:
        """Let the thread end."""
        self._listener = None
        self._inputs.put(None)

    def _run(self) -> None:
        self._carry(self._session.begin())
        while (item := self._inputs.get()) is not None:
            match item:
                case Push(samples, arrived, reached):
                    self._arrivals.arrived(reached, arrived)
                    self._carry(self._session.push(np.frombuffer(samples, np.float32)))
                case Commit():
                    self._carry(self._session.commit(lenient=True))
                case Flush():
                    self._carry(self._session.flush())

    def _carry(self, output: list[Output]) -> None:
        """Ask for all there is to ask, one after the other, and tell what comes of it."""
        events: list[Any] = []
        waiting: deque[Request] = deque()
        gone: set[int] = set()

        def sort(items: list[Output]) -> None:
            for each in items:
                if isinstance(each, WordsRequest | EmotionRequest):
                    waiting.append(each)
                elif isinstance(each, Cancel):
                    gone.add(each.request_id)
                else:
                    events.append(each)

        sort(output)
        while waiting:
            request = waiting.popleft()
            if request.id not in gone:
                with self._lock:
                    (outcome,) = self._engine.run([request])
                sort(self._session.resolve(request.id, outcome))
        told = Told(
            session_id=self._session_id,
            events=cast("list[SessionEvent]", events),
            position=self._session.position,
            closed=self._session.closed,
        )
        self._loop.call_soon_threadsafe(self._tell, told)

    def _tell(self, told: Told) -> None:
        self._heard = told.position
        if self._listener is not None:
            self._listener(told)


def main() -> None:
    """Serve so; the arguments are those of ``streamser serve``."""

    def host(
        settings: Settings, tell: Callable[[str], None], metrics: object, options: object
    ) -> SessionHost:
        return LockedHost(settings, tell)

    app._host = host
    program.main()


if __name__ == "__main__":
    main()
