"""Keep a stream's conversation with its server going, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamser.client.errors import Broken
from streamser.client.keeper import Astray, FinalsLost, Keeper, Told
from streamser.client.line import Line
from streamser.client.wire import Envelope, read
from streamser.events import ErrorBody, ErrorRaised, MeetingUpdated, MoodShifted, Snapshot

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["Conversation"]

_UNREAD = 256
"""Events that may wait for the user; more wait in the socket."""
_ASTRAY = 4000


class Conversation:
    """Carry between a keeper and a server, in a task of its own, until the stream is ``over``.

    ``url`` gives the address for the ``seq`` of the last event seen. What the user is to be
    told waits in ``inbox``; ``error`` is why the stream ended, if it was a fault.
    """

    def __init__(self, line: Line, url: Callable[[int], str], keeper: Keeper) -> None:
        self.keeper = keeper
        self.server = line.server
        self.inbox: deque[Told] = deque()
        self.over = False
        self.error: Exception | None = None
        self._line = line
        self._url = url
        self._draining = False
        self._said: ErrorBody | None = None
        self._told_missing = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    def stir(self) -> None:
        """Let everybody who waits look again: the keeper or the inbox has changed."""
        self._changed.set()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something is true of the conversation."""
        while not ready():
            self._changed.clear()
            await self._changed.wait()

    async def drain(self, seconds: float) -> bool:
        """Wait for the end, whoever reads; return whether it came in time."""
        assert self._task is not None
        self._draining = True
        self.stir()
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        await self.abandon()
        return bool(done)

    async def abandon(self) -> None:
        """Close the connection, and wait for nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while not await self._converse():
                pass
        except Exception as error:
            self.error = error
        finally:
            self.inbox.extend(self.keeper.release())
            self.over = True
            self.stir()

    async def _converse(self) -> bool:
        """Have one connection to its end; return whether the stream is over."""
        socket = await self._line.reach(lambda: self._url(self.keeper.seen))
        self._said = None
        self._told_missing = False
        writer = asyncio.create_task(self._write(socket))
        try:
            return await self._listen(socket)
        except Astray:
            self.keeper.stray()
            # Any code but 1000, which would end the stream.
            await socket.close(_ASTRAY)
            broken = Broken("it has another session than we know of", 0.0)
        except FinalsLost:
            self.keeper.begin_anew()
            # Nobody comes back for the old stream.
            await socket.close(1000)
            broken = Broken("it has lost finals of ours, and is sent their sound anew", 0.0)
        except Broken as fault:
            broken = fault
        finally:
            self.keeper.cut()
            writer.cancel()
            (fault_of_writer,) = await asyncio.gather(writer, return_exceptions=True)
            await socket.close()
            if isinstance(fault_of_writer, Exception):
                raise fault_of_writer
        await self._line.wait(broken)
        return False

    async def _listen(self, socket: ClientConnection) -> bool:
        from websockets.exceptions import ConnectionClosed

        while not self.keeper.done:
            try:
                message = await socket.recv()
            except ConnectionClosed as closed:
                self._line.judge(closed, self._said)
                return True
            self._take(message)
            # A slow reader slows the server, which has its own ways to cope.
            await self.until(lambda: self._draining or len(self.inbox) < _UNREAD)
        return True

    def _take(self, message: str | bytes) -> None:
        event = read(message)
        match event:
            case None | Snapshot() | MeetingUpdated() | MoodShifted():
                return
            case Envelope():
                self.keeper.skip(event.session_id, event.seq)
                return
            case ErrorRaised(session_id=""):
                # What a refusal says before it closes the connection.
                self._said = event.error
                return
        was_placed, missing = self.keeper.placed, self.keeper.missing
        self.inbox.extend(self.keeper.take(event))
        if self.keeper.placed and not was_placed:
            self._line.works()
        if self.keeper.missing > missing and not self._told_missing:
            self._told_missing = True
            self._line.say(_missing(self.keeper.missing - missing, came_back=not was_placed))
        self.stir()

    async def _write(self, socket: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = self.keeper.next()
                if message is None:
                    self._changed.clear()
                    await self._changed.wait()
                else:
                    await socket.send(message)
        except ConnectionClosed:
            # The reader sees it as well, and knows what to do.
            return
        except Exception:
            await socket.close()
            raise


def _missing(count: int, *, came_back: bool) -> str:
    events = "1 event is" if count == 1 else f"{count} events are"
    if came_back:
        return f"{events} not told again: the server had too many; no final is among them."
    return f"{events} missing, by their numbers; finals may be among them."
