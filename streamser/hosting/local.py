"""Sessions hosted in this process: the same that worker processes do, without the pipe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from streamser.hosting.hosted import HostedSession
from streamser.hosting.records import Hosted, Listener, SessionInput, WorkerLoad
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.pair import WorkerPair
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.session import Session
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.worker import WorkerStats
from streamser.speech.vad import Vad

_T = TypeVar("_T")


class LocalSession:
    """Hold a session of this process; what becomes of it is told before ``apply`` returns."""

    def __init__(
        self,
        config: SessionConfig,
        session: Session,
        workers: WorkerPair,
        voice: SessionSnapshot | None,
        listener: Listener,
    ) -> None:
        self._listener = listener
        self._hosted = HostedSession(config, session, workers, self._tell)
        self._hosted.begin(voice)

    @property
    def in_flight(self) -> int:
        """Return 0: all that is given is heard at once."""
        return 0

    def apply(self, item: SessionInput) -> None:
        """Give the session something."""
        self._hosted.apply(item)

    def snapshot(self) -> SessionSnapshot | None:
        """Return what is known of the speaker."""
        return self._hosted.snapshot()

    def leave(self) -> None:
        """Let the session go."""
        self._hosted.leave()

    def _tell(self, hosted: HostedSession) -> None:
        self._listener(hosted.take())


class LocalHost:
    """Host sessions with the models of an analyzer, on the event loop's thread."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._make_vad: Callable[[], Vad] | None = None
        self._workers: WorkerPair | None = None

    @property
    def stats(self) -> WorkerStats:
        """Return what workers have done so far."""
        return WorkerStats() if self._workers is None else self._workers.stats

    @property
    def is_ready(self) -> bool:
        """Return whether words and emotion can be asked for, and answered at once."""
        return self._workers is not None and self._workers.is_ready

    def load(self) -> QueueLoad:
        """Return what waits now."""
        return QueueLoad() if self._workers is None else self._workers.load()

    def workers(self) -> list[WorkerLoad]:
        """Return nothing: there are no other processes."""
        return []

    async def start(self) -> Hosted:
        """Load the models; raises ``ModelError`` or ``ConfigError`` where they cannot be had."""
        make_vad, workers = await run_beside(self._analyzer.equipment, "streamser-loading")
        self._make_vad, self._workers = make_vad, workers
        return Hosted(make_vad().name, await run_beside(workers.wait, "streamser-loading"))

    def open(
        self, config: SessionConfig, voice: SessionSnapshot | None, listener: Listener
    ) -> LocalSession:
        """Begin a session."""
        make_vad, workers = self._make_vad, self._workers
        assert make_vad is not None, "models are loaded first"
        assert workers is not None, "models are loaded first"
        session = Session(config, make_vad(), workers.new_speaker)
        return LocalSession(config, session, workers, voice, listener)

    async def close(self, within_s: float) -> None:
        """Answer what waits, as far as that can be done in time, and let the models go."""
        await run_beside(partial(self._analyzer.close, within_s), "streamser-closing")


async def run_beside(work: Callable[[], _T], name: str) -> _T:
    """Do ``work`` on a daemon thread called ``name``; returns or raises what it does.

    Unlike those of ``asyncio.to_thread`` it keeps neither the loop nor the interpreter from
    ending. Where nobody waits any more, it is left to itself.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _T | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failed = error
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
