"""A worker process: whole sessions and the models they ask, behind one socket.

The main thread hears: it runs the event loop of all sessions, with their voice detection and
endpointing. Words and emotion have a thread each, so that partials stay droppable and finals first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import Final

from streamser.emotion.model import SpeakerModel
from streamser.errors import ConfigError, ModelError, StreamserError
from streamser.hosting.channel import (
    ActivityBoard,
    FrameProtocol,
    FrameSender,
    InHand,
    ModelKind,
    frame,
    send_logs,
)
from streamser.hosting.hosted import HostedSession
from streamser.hosting.records import (
    Give,
    Hosted,
    Leave,
    NotLoaded,
    Open,
    Said,
    Shut,
    ToWorker,
    WorkerLoad,
)
from streamser.machine import resident_bytes, use_one_blas_thread
from streamser.pipeline.build import WorkerPair, build_engine, build_vads
from streamser.pipeline.engine import Abilities, Engine, Runner, Spent
from streamser.pipeline.requests import Outcome, Request
from streamser.pipeline.restart import ResumableSession
from streamser.pipeline.worker import BatchReport, InferenceWorker
from streamser.settings import Settings
from streamser.speech.vad import Vad

logger = logging.getLogger(__name__)

FAULTY: Final = 1
ORPHANED: Final = 3
STUCK: Final = 4
"""Exit codes: a fault of ours; the parent is gone; the models did not answer in time."""

_LOAD_EVERY_S: Final = 1.0
_LOOK_S: Final = 0.01
_LAST_S: Final = 1.0
"""How long answers of models that are closed may take to be told."""


def host_sessions(
    link: socket.socket,
    settings: Settings,
    board: ActivityBoard,
    before: bool,
    log: socket.socket,
    all_logged: bool,
) -> None:
    """Load the models, say so, and host sessions until the other end is closed.

    ``before``: others have loaded the same, and sessions may wait for them.
    For the main thread of a child process. Signals that end a program well are left to the
    parent: it still has finals to tell. It writes ``log``, too, with ``all_logged`` all that is
    written to stderr here.
    """
    send_logs(log, with_stderr=all_logged)
    _leave_signals_to_parent()
    threading.Thread(target=_end_with_parent, name="parent's end", daemon=True).start()
    use_one_blas_thread()
    batches: list[BatchReport] = []
    try:
        make_vad = build_vads(settings)
        sender = FrameSender(link)
        workers = _hire(
            settings, board, lambda line: sender.send(Said(line)), batches.append, before
        )
        hosted = Hosted(make_vad().name, workers.wait())
    except StreamserError as error:
        link.sendall(frame(NotLoaded(error.code, str(error), isinstance(error, ConfigError))))
        return
    except BaseException as error:
        # Of a library or a plug-in: whoever waits is to know of it, and not of an exit code.
        why = f"the models cannot be loaded: {type(error).__name__}: {error}"
        link.sendall(frame(NotLoaded(ModelError.code, why, False)))
        return
    link.sendall(frame(hosted))
    try:
        asyncio.run(_SessionWorker(make_vad, workers, batches, board).run(link, sender))
    except Exception as error:
        logger.critical("a worker has ended by a fault of its own", exc_info=error)
        os._exit(FAULTY)
    # Models that hang must not keep the process.
    os._exit(0)


class _SessionWorker:
    """Host sessions for whoever is at the other end of a socket."""

    def __init__(
        self,
        make_vad: Callable[[], Vad],
        workers: WorkerPair,
        batches: list[BatchReport],
        board: ActivityBoard,
    ) -> None:
        self._make_vad = make_vad
        self._board = board
        self._workers = workers
        self._batches = batches
        self._sessions: dict[str, HostedSession] = {}
        self._changed: dict[str, HostedSession] = {}
        self._link: FrameProtocol[ToWorker] = FrameProtocol(ToWorker, self._on_message, self._end)
        self._over = asyncio.Event()

    async def run(self, link: socket.socket, sender: FrameSender) -> None:
        """Serve until the other end is gone, or says so."""
        self._loop = asyncio.get_running_loop()
        sender.hand_over(self._loop, self._link)
        await self._loop.create_connection(lambda: self._link, sock=link)
        telling = self._loop.create_task(self._tell_load())
        await self._over.wait()
        telling.cancel()

    def _on_message(self, message: ToWorker) -> None:
        match message:
            case Give(session_id, item):
                session = self._sessions.get(session_id)
                if session is not None:
                    with self._at(session_id):
                        session.apply(item)
            case Open():
                self._open(message)
            case Leave(session_id):
                session = self._sessions.pop(session_id, None)
                if session is not None:
                    session.leave()
            case Shut(within_s):
                threading.Thread(
                    target=self._close, args=(within_s,), name="streamser-closing", daemon=True
                ).start()

    def _open(self, asked: Open) -> None:
        config, workers = asked.config, self._workers
        session = ResumableSession(config, self._make_vad(), workers.new_speaker)
        hosted = HostedSession(config, session, workers, self._note, asked.epoch, self._at)
        self._sessions[config.session_id] = hosted
        with self._at(config.session_id):
            if asked.past is not None:
                hosted.resume(asked.past)
            else:
                hosted.begin(asked.voice)

    @contextmanager
    def _at(self, session_id: str) -> Iterator[None]:
        """Keep on the board which session is at work: what it runs may be anybody's, and crash."""
        self._board.note("hearing", InHand(((session_id, 0),)))
        yield
        self._board.note("hearing", InHand())

    def _note(self, session: HostedSession) -> None:
        if not self._changed:
            self._loop.call_soon(self._tell)
        self._changed[session.session_id] = session

    def _tell(self) -> None:
        """Tell of all sessions what has become of them in this turn of the loop, each at once."""
        changed, self._changed = self._changed, {}
        for session_id, session in changed.items():
            with self._at(session_id):
                told = session.take()
            if told.closed:
                self._sessions.pop(session_id, None)
            self._link.send(told)

    async def _tell_load(self) -> None:
        while True:
            batches = self._batches[:]
            del self._batches[: len(batches)]
            self._link.send(
                WorkerLoad(
                    pid=os.getpid(),
                    sessions=len(self._sessions),
                    cpu_s=time.process_time(),
                    memory=resident_bytes(),
                    stats=self._workers.stats,
                    waiting=self._workers.load(),
                    ready=self._workers.is_ready,
                    batches=batches,
                )
            )
            await asyncio.sleep(_LOAD_EVERY_S)

    def _close(self, within_s: float) -> None:
        self._workers.close(within_s)
        self._loop.call_soon_threadsafe(self._leave, time.monotonic() + _LAST_S)

    def _leave(self, until: float) -> None:
        """Leave once what was answered last has been told."""
        waits = self._changed or any(each.pending for each in self._sessions.values())
        if waits and time.monotonic() < until:
            self._loop.call_later(_LOOK_S, self._leave, until)
        else:
            self._link.close()

    def _end(self) -> None:
        self._over.set()


class WatchedEngine:
    """Run the models of a part, and keep on the board what they are busy with.

    Models that hang cannot be let go of here: giving them up ends the process.
    """

    def __init__(self, engine: Engine, kind: ModelKind, board: ActivityBoard) -> None:
        self._engine = engine
        self._kind: ModelKind = kind
        self._board = board
        self._in_hand = InHand()
        self.spent = Spent()

    @property
    def abilities(self) -> Abilities:
        """Return what the models are, and can do."""
        return self._engine.abilities

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker of the emotion model."""
        return self._engine.new_speaker()

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer a batch of requests."""
        clips = (request.clip for request in requests)
        self._in_hand = InHand(tuple((clip.session_id, clip.utterance) for clip in clips))
        self._board.note(self._kind, self._in_hand)
        try:
            return self._engine.run(requests)
        finally:
            self.spent = self._engine.spent
            self._board.note(self._kind, InHand())

    def forget(self, session_id: str) -> None:
        """Drop what the models keep for a session."""
        self._engine.forget(session_id)

    def close(self) -> None:
        """Let the models go."""
        self._engine.close()

    def abandon(self) -> None:
        """End the process; any thread may."""
        why = "the models did not answer in time (worker.deadline_s)"
        self._board.note(self._kind, InHand(self._in_hand.utterances, why))
        os._exit(STUCK)


def _hire(
    settings: Settings,
    board: ActivityBoard,
    say: Callable[[str], None],
    watch: Callable[[BatchReport], None],
    before: bool,
) -> WorkerPair:
    built: set[ModelKind] = {"words", "emotion"} if before else set()

    def worker(kind: ModelKind) -> InferenceWorker:
        def build() -> Runner:
            engine = build_engine(settings, say, kind, before=kind in built)
            built.add(kind)
            return WatchedEngine(engine, kind, board)

        return InferenceWorker(build, settings.worker, watch)

    words = worker("words") if settings.asr.engine != "none" else None
    return WorkerPair(worker("emotion"), words)


def _leave_signals_to_parent() -> None:
    ours = (signal.SIGINT, signal.SIGTERM)
    for each in ours:
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)


def _end_with_parent() -> None:
    """End the process where the parent is killed while the models are busy, or hang."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(ORPHANED)
