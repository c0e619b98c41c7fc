"""Worker processes that host sessions: who goes where, and what happens when one is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from streamser.errors import ConfigError, ModelError, StreamserError
from streamser.events import EmotionCompleted
from streamser.hosting.link import WorkerLink
from streamser.hosting.records import (
    FromWorker,
    Hosted,
    Listener,
    NotLoaded,
    Said,
    Shut,
    Told,
    WorkerLoad,
)
from streamser.hosting.remote import RemoteSession
from streamser.machine import core_count
from streamser.pipeline.build import settle
from streamser.pipeline.scheduler import Backoff, QueueLoad
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.worker import BatchReport, WorkerStats
from streamser.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
SILENT_S = 10.0
"""A worker tells its load every second: one that says nothing for so long hangs."""
_SESSION: Final = 0.01
"""Share of a core that a session may come to need, whatever it does now."""
_IDLE: Final = 0.1
"""Share of a core below which it says nothing how busy a worker is."""
_UNBEGUN: Final = (
    ", before they were loaded: what it has written says why, and so may worker.processes=0,"
    " which loads them here. A program that uses processes must be one that can be imported"
    " without running anything"
)


class WorkerProcesses:
    """Host sessions in ``size`` worker processes; for the event loop's thread.

    A session stays where it was placed: with the worker that was least busy. Where a worker dies,
    or is silent for ``SILENT_S``, another begins in its place, and its sessions go on with others
    at once: nothing that was taken in is lost, nothing told twice. ``tell`` gets lines for people,
    ``watch`` is told of each batch.
    """

    def __init__(
        self,
        settings: Settings,
        size: int,
        tell: Callable[[str], None],
        watch: Callable[[BatchReport], None],
    ) -> None:
        self._settings = settings
        self._size = size
        self._tell = tell
        self._told: set[str] = set()
        self._watch = watch
        self._links: list[WorkerLink] = []
        self._sessions: dict[str, RemoteSession] = {}
        self._lost_stats = WorkerStats()
        self._lost = 0
        self._backoff = Backoff()
        self._first: asyncio.Future[Hosted] | None = None
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[WorkerLink] = []
        self._emptied = asyncio.Event()

    @property
    def stats(self) -> WorkerStats:
        """Return what workers have done so far, those that are gone included."""
        loads = (link.load for link in self._links)
        return sum((load.stats for load in loads if load is not None), self._lost_stats)

    @property
    def is_ready(self) -> bool:
        """Return whether a worker has its models, and can answer."""
        return any(
            link.hosted is not None and (link.load is None or link.load.ready)
            for link in self._links
        )

    def load(self) -> QueueLoad:
        """Return what waits now, with all together, as they told it last."""
        loads = (link.load for link in self._links)
        return sum((load.waiting for load in loads if load is not None), QueueLoad())

    def workers(self) -> list[WorkerLoad]:
        """Return how each worker did when it told last."""
        return [link.load for link in self._links if link.load is not None]

    @property
    def kept_bytes(self) -> int:
        """Return how much sound is kept for sessions that may have to go on elsewhere."""
        return sum(session.kept_bytes for session in self._sessions.values())

    async def start(self) -> Hosted:
        """Load the models of the first worker; those of others are loaded meanwhile.

        Raises ``ModelError`` or ``ConfigError`` where they cannot be had.
        """
        self._first = asyncio.get_running_loop().create_future()
        await self._spawn()
        self._go(self._look_after())
        try:
            hosted = await asyncio.shield(self._first)
        except StreamserError:
            await self.close(0.0)
            raise
        # One after the other: what the first has chosen is what all others load.
        self._settings = settle(self._settings, hosted.abilities.asr)
        for _ in range(self._size - 1):
            await self._spawn()
        return hosted

    def open(
        self, config: SessionConfig, voice: SessionSnapshot | None, listener: Listener
    ) -> RemoteSession:
        """Begin a session with the worker that is least busy."""
        session = RemoteSession(config, voice, listener, self._let_go)
        self._sessions[config.session_id] = session
        self._place(session)
        return session

    async def close(self, within_s: float) -> None:
        """Answer what waits, as far as that can be done in time, and let the models go."""
        self._closing = True
        for link in list(self._links):
            if link.hosted is None:
                link.kill()
            else:
                link.send(Shut(within_s))
        if self._links:
            try:
                async with asyncio.timeout(within_s + 1.0):
                    await self._emptied.wait()
            except TimeoutError:
                for link in list(self._links):
                    link.kill()
                await self._emptied.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.how_it_ended() for link in self._ended))
        for session in list(self._sessions.values()):
            session.give_up("shutting down")

    async def _spawn(self) -> None:
        numbers = {link.number for link in self._links}
        number = next(number for number in range(self._size + 1) if number not in numbers)
        before = self._first is not None and self._first.done()
        link = WorkerLink(self._settings, number, self._on_message, self._on_end, before=before)
        self._links.append(link)
        self._emptied.clear()
        await link.connect()

    def _on_message(self, link: WorkerLink, message: FromWorker) -> None:
        match message:
            case Told(session_id=session_id):
                session = self._sessions.get(session_id)
                if session is not None and session.link is link:
                    session.note(message)
                if any(isinstance(event, EmotionCompleted) for event in message.events):
                    self._backoff.reset()
            case WorkerLoad():
                link.note_load(message)
                for report in message.batches:
                    self._watch(report)
            case Said(line):
                if line not in self._told:
                    self._told.add(line)
                    self._tell(line)
            case NotLoaded():
                link.refused = message
            case Hosted():
                link.hosted = message
                if self._first is not None and not self._first.done():
                    self._first.set_result(message)
                for session in self._sessions.values():
                    if session.link is None:
                        self._place(session)
                self._rebalance(link)

    def _on_end(self, link: WorkerLink) -> None:
        self._links.remove(link)
        if not self._links:
            self._emptied.set()
        lost = [session for session in self._sessions.values() if session.link is link]
        for in_hand in link.in_hand():
            # One that hangs alone would hang again, and for as long.
            alone = in_hand.stuck is not None and len(in_hand.utterances) == 1
            for session_id, utterance in in_hand.utterances * (2 if alone else 1):
                if session_id in link.sessions and session_id in self._sessions:
                    self._sessions[session_id].blame(utterance)
        for session in lost:
            session.link, session.unplaced_since = None, time.monotonic()
        if link.load is not None:
            self._lost_stats += link.load.stats
        if self._closing:
            self._ended.append(link)
            return
        for session in lost:
            if session.is_exhausted:
                session.give_up("workers were lost over this stream, one after the other")
            else:
                self._place(session)
        self._go(self._replace(link))

    async def _replace(self, link: WorkerLink) -> None:
        """Let another worker take the place of one that is gone."""
        how = await link.how_it_ended()
        if self._first is not None and not self._first.done():
            self._first.set_exception(_error_of(link.refused, how))
            return
        if link.refused is None:
            logger.error("%s; its sessions go on elsewhere", how)
            self._lost_stats += WorkerStats(stuck=1) if link.was_stuck else WorkerStats(died=1)
            pause_s = self._backoff.lost()
        else:
            logger.error("the models cannot be loaded again: %s", link.refused.message)
            self._lost_stats += WorkerStats(not_loaded=1)
            pause_s = self._backoff.not_loaded()
        await asyncio.sleep(pause_s)
        if not self._closing:
            await self._spawn()

    def _place(self, session: RemoteSession) -> None:
        able = [link for link in self._links if link.hosted is not None]
        if not able:
            session.unplaced_since = session.unplaced_since or time.monotonic()
            return
        link = min(able, key=lambda each: max(_IDLE, each.busy) + _SESSION * len(each.sessions))
        self._attach(session, link)

    def _rebalance(self, newcomer: WorkerLink) -> None:
        """Let sessions of others go on with a worker that has just begun, until it has its share.

        After a loss all are with those who were left, and may stay for hours.
        """
        able = [link for link in self._links if link.hosted is not None]
        while True:
            fullest = max(able, key=lambda link: len(link.sessions))
            if len(fullest.sessions) - len(newcomer.sessions) < 2:
                return
            session = self._sessions[next(iter(fullest.sessions))]
            session.detach()
            self._attach(session, newcomer)

    def _attach(self, session: RemoteSession, link: WorkerLink) -> None:
        link.sessions[session.session_id] = None
        session.attach(link)

    def _let_go(self, session: RemoteSession) -> None:
        self._sessions.pop(session.session_id, None)
        if session.link is not None:
            session.link.sessions.pop(session.session_id, None)

    async def _look_after(self) -> None:
        """End workers that say nothing, and sessions that find no home."""
        worker = self._settings.worker
        looked = time.monotonic()
        while not self._closing:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            held_up, looked = now - looked - _LOOK_S, now
            for link in list(self._links):
                if link.hosted is None:
                    if worker.load_s and now - link.since > worker.load_s:
                        why = f"the models did not load within {worker.load_s:g} s (worker.load_s)"
                        link.refused = NotLoaded(ModelError.code, why, False)
                        link.kill()
                    continue
                # Of the time that we were held up ourselves, nothing is known of others.
                link.heard_at += max(0.0, held_up)
                if now - link.heard_at > SILENT_S:
                    logger.error("worker %d says nothing for %g s", link.number, SILENT_S)
                    link.kill()
            patience_s = worker.deadline_s or SILENT_S
            for session in list(self._sessions.values()):
                unplaced_since = session.unplaced_since
                if unplaced_since is not None and now - unplaced_since > patience_s:
                    session.unplaced_since = None
                    session.give_up("the models are not there any more")

    def _go(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a worker was not looked after", exc_info=error)


def useful_workers(settings: Settings) -> int:
    """Return how many worker processes are of use: one a core, or one for a device they share."""
    devices = (settings.emotion.device, settings.asr.device)
    return 1 if "cuda" in devices else core_count()


def _error_of(refused: NotLoaded | None, how: str) -> StreamserError:
    if refused is None:
        return ModelError(f"{how}{_UNBEGUN}", code="worker_died")
    kind = ConfigError if refused.config else ModelError
    return kind(refused.message, code=refused.code)
