"""Many streams of sound to one server, each in real time, from one thread; the generator."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from tools.bench.load_log import BLOCK_MS, Receipt, StreamLog, read_told
from tools.bench.load_sound import Lap, Plan
from tools.bench.load_wire import Wire, dial

__all__ = ["Played", "Span", "Target", "play"]

_REST_S = 1.0
"""The load goes on for so long after the measurement, so that its last finals come under it."""
_DRAIN_S = 15.0
_AT_ONCE = 16
"""Handshakes at the same time: a server's queue of new connections is short."""
_FINISH = b'{"type":"streamser.finish"}'
_NO_WORDS = (
    b'{"type":"session.update","session":{"type":"transcription",'
    b'"audio":{"input":{"transcription":null}}}}'
)


class Target(msgspec.Struct, frozen=True):
    """Say where streams go; ``wordless`` asks the server to leave the words out."""

    url: str
    token: str | None
    wordless: bool


class Span(msgspec.Struct, frozen=True):
    """Say how long to warm up, and to measure after that, in seconds."""

    warm_s: float
    seconds: float


class Played(msgspec.Struct, frozen=True):
    """Hold what the streams logged; ``begin`` and ``end`` bound what counts (monotonic, s).

    ``cores`` is what the generator itself used of the processor in between.
    """

    logs: list[StreamLog]
    begin: float
    end: float
    cores: float


async def play(
    target: Target,
    lap: Lap,
    plans: Sequence[Plan],
    span: Span,
    note: Callable[[], None],
) -> Played:
    """Play a lap to a server in as many streams as there are plans.

    ``note`` is called, in a thread, at the beginning and at the end of what counts. Raises
    ``StreamserError`` where a stream is not let in.
    """
    streams = [_Stream(target, lap, plan) for plan in plans]
    loop = asyncio.get_running_loop()
    try:
        await _open(streams)
        with _undisturbed():
            first = loop.time() + 0.05
            begin = first + max(plan.delay_s for plan in plans) + span.warm_s
            end = begin + span.seconds
            for stream in streams:
                stream.begin(first, end + _REST_S)
            await _sleep_until(begin)
            used = time.process_time()
            await _aside(note)
            await _sleep_until(end)
            used = time.process_time() - used
            await _aside(note)
            await asyncio.wait({stream.over for stream in streams}, timeout=_REST_S + _DRAIN_S)
    finally:
        for stream in streams:
            stream.leave()
    return Played([stream.log for stream in streams], begin, end, round(used / span.seconds, 3))


class _Stream:
    """Send one stream, block by block, by the loop's own timer."""

    def __init__(self, target: Target, lap: Lap, plan: Plan) -> None:
        self.log = StreamLog()
        self._target = target
        self._lap = lap
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._wire: Wire | None = None
        self._first = self._last = 0.0
        self._number = 0
        self._finishing = self._told_goodbye = False

    async def open(self) -> None:
        """Connect."""
        self._wire = await dial(self._target.url, self._target.token, self._hear)
        self._wire.closed.add_done_callback(self._end)
        if self._target.wordless:
            self._wire.ask(_NO_WORDS)

    def begin(self, first: float, last: float) -> None:
        """Speak from some moment on until another."""
        self._first, self._last = first + self._plan.delay_s, last
        self._wait()

    def leave(self) -> None:
        """Break off what has not ended; that it had not is noted."""
        if not self.over.done():
            self.log.fault = f"the server did not end the stream within {_DRAIN_S:.0f} s"
            self.over.set_result(None)
        if self._wire is not None:
            self._wire.abort()

    def _wait(self) -> None:
        self._loop.call_at(self._due(), self._tick)

    def _due(self) -> float:
        # From the beginning, not from the last: no lateness adds up.
        return self._first + (self._number + 1) * BLOCK_MS / 1000

    def _tick(self) -> None:
        if self.over.done() or self._wire is None:
            return
        now = self._loop.time()
        self.log.sent.append(now)
        self.log.late.append(now - self._due())
        self._wire.send(self._lap.block(self._plan.frame, self._number))
        self._number += 1
        if self._due() <= self._last:
            self._wait()
        else:
            self._finishing = True
            self._wire.ask(_FINISH)

    def _hear(self, at: float, message: bytes) -> None:
        told = read_told(message)
        self._told_goodbye = self._told_goodbye or told.type == "streamser.session.closed"
        self.log.receipts.append(Receipt(at, told))

    def _end(self, closed: asyncio.Future[str]) -> None:
        if self.over.done():
            return
        if not (self._finishing and self._told_goodbye):
            self.log.fault = closed.result()
        self.over.set_result(None)


async def _open(streams: Sequence[_Stream]) -> None:
    """Connect all; raises the first refusal."""
    for start in range(0, len(streams), _AT_ONCE):
        group = [stream.open() for stream in streams[start : start + _AT_ONCE]]
        for result in await asyncio.gather(*group, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


async def _aside(work: Callable[[], None]) -> None:
    """Do something in a thread of its own, which keeps nobody from ending the program."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def run() -> None:
        try:
            work()
        finally:
            # The loop may have been closed meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(finish)

    threading.Thread(target=run, name="meter", daemon=True).start()
    await done


async def _sleep_until(when: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, when - loop.time()))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Collect no garbage meanwhile: it would stop every stream at once, for milliseconds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
