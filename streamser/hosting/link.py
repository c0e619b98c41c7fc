"""The other end of one worker process: it is started, spoken with, watched and ended here."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from streamser.hosting.channel import ActivityBoard, FrameProtocol, InHand, LogProtocol
from streamser.hosting.process import STUCK, host_sessions
from streamser.hosting.records import FromWorker, Hosted, NotLoaded, WorkerLoad
from streamser.logs import JsonStream
from streamser.machine import use_one_blas_thread
from streamser.settings import Settings

logger = logging.getLogger(__name__)

_LEAVE_S = 2.0


class WorkerLink:
    """Start a worker process, and speak with it; for the event loop's thread.

    ``before``: others have loaded the models of these settings.
    ``on_message`` gets what it says, ``on_end`` is called once when it is gone, however that came.
    A program that uses it must be one that can be imported without running anything, as
    ``multiprocessing`` demands of those who spawn.
    """

    def __init__(
        self,
        settings: Settings,
        number: int,
        on_message: Callable[[WorkerLink, FromWorker], None],
        on_end: Callable[[WorkerLink], None],
        *,
        before: bool,
    ) -> None:
        self.number = number
        self.hosted: Hosted | None = None
        """What it hosts sessions with, once its models are loaded."""
        self.load: WorkerLoad | None = None
        self.since = self.heard_at = self._load_at = time.monotonic()
        self.sessions: dict[str, None] = {}
        """Those that live there, the longest first."""
        self.busy = 0.0
        """Share of a core that it took between the last two times it told."""
        self.refused: NotLoaded | None = None
        """Why its models cannot be had, if it has said so."""
        self._on_message = on_message
        self._on_end = on_end
        use_one_blas_thread()
        context = multiprocessing.get_context("spawn")
        self._board = ActivityBoard(context)
        self._ours, theirs = socket.socketpair()
        self._log_end, log = socket.socketpair()
        # People may want to see what libraries draw on a terminal.
        all_logged = isinstance(sys.stderr, JsonStream)
        self._process = context.Process(
            target=host_sessions,
            args=(theirs, settings, self._board, before, log, all_logged),
            name=f"streamser-worker-{number}",
            daemon=True,
        )
        with _signals_held():
            self._process.start()
        theirs.close()
        log.close()
        self._protocol: FrameProtocol[FromWorker] = FrameProtocol(FromWorker, self._hear, self._end)
        self._logged = LogProtocol(number)

    @property
    def pid(self) -> int | None:
        """Return the number of the process."""
        return self._process.pid

    async def connect(self) -> None:
        """Begin to listen to it."""
        loop = asyncio.get_running_loop()
        self._log_end.setblocking(False)
        await loop.create_connection(lambda: self._logged, sock=self._log_end)
        self._ours.setblocking(False)
        await loop.create_connection(lambda: self._protocol, sock=self._ours)

    def send(self, message: msgspec.Struct) -> None:
        """Send a message; it is lost where the process is gone, which ``on_end`` tells."""
        self._protocol.send(message)

    def note_load(self, load: WorkerLoad) -> None:
        """Take note of how it does."""
        if self.load is not None:
            passed = time.monotonic() - self._load_at
            self.busy = (load.cpu_s - self.load.cpu_s) / max(passed, 0.1)
        self.load = load
        self._load_at = time.monotonic()

    def kill(self) -> None:
        """End the process whatever it does; ``on_end`` follows."""
        with suppress(OSError, ValueError):
            self._process.kill()
        self._protocol.abort()

    def in_hand(self) -> Sequence[InHand]:
        """Return what its models were busy with."""
        return self._board.read()

    @property
    def was_stuck(self) -> bool:
        """Return whether it has ended since its models did not answer."""
        return self._process.exitcode == STUCK

    async def how_it_ended(self) -> str:
        """Wait until the process is gone, and say how."""
        await asyncio.to_thread(self._process.join, _LEAVE_S)
        if self._process.exitcode is None:
            self._process.kill()
            await asyncio.to_thread(self._process.join, _LEAVE_S)
        # What it has written last; a process that it leaves behind may hold the other end for long.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._logged.over.wait()
        code = self._process.exitcode
        stuck = [each.stuck for each in self._board.read() if each.stuck]
        if self.was_stuck and stuck:
            return stuck[0]
        how = "" if code is None else f", exit code {code}" if code >= 0 else f", signal {-code}"
        return f"the process of the models ended{how}"

    def _hear(self, message: FromWorker) -> None:
        self.heard_at = time.monotonic()
        self._on_message(self, message)

    def _end(self) -> None:
        self._on_end(self)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let a child begin with signals held back, until it has said what it does about them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
