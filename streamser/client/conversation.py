"""A stream's conversation with its server, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamser import events
from streamser.client.connection import Reconnector
from streamser.client.resend import FinalsLost, PlacedEvent, ResendBuffer, UnknownSession
from streamser.client.wire import ConnectionLost, Envelope, read_event

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_UNREAD = 256
"""Events that may wait for the user; more wait in the socket."""
_RECONNECT_CODE = 4000


class Conversation:
    """Carry between a resend buffer and a server, in its own task, until the stream is ``over``.

    ``url`` gives the address for the ``seq`` of the last event seen. What the user is to be
    told waits in ``inbox``; ``error`` is why the stream ended, if it was a fault.
    """

    def __init__(self, link: Reconnector, url: Callable[[int], str], buffer: ResendBuffer) -> None:
        self.buffer = buffer
        self.server = link.server
        self.inbox: deque[PlacedEvent] = deque()
        self.over = False
        self.error: Exception | None = None
        self._link = link
        self._url = url
        self._draining = False
        self._said: events.ErrorBody | None = None
        self._told_missing = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    def notify(self) -> None:
        """Let everybody who waits look again: the buffer or the inbox has changed."""
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
        self.notify()
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
            self.inbox.extend(self.buffer.release())
            self.over = True
            self.notify()

    async def _converse(self) -> bool:
        """Have one connection to its end; return whether the stream is over."""
        socket = await self._link.connect(lambda: self._url(self.buffer.seen))
        self._said = None
        self._told_missing = False
        writer = asyncio.create_task(self._write(socket))
        try:
            return await self._listen(socket)
        except UnknownSession:
            self.buffer.forget_session()
            # Any code but 1000, which would end the stream.
            await socket.close(_RECONNECT_CODE)
            broken = ConnectionLost("it has another session than we know of", 0.0)
        except FinalsLost:
            self.buffer.restart_stream()
            # Nobody comes back for the old stream.
            await socket.close(1000)
            broken = ConnectionLost("it has lost finals of ours, and is sent their sound anew", 0.0)
        except ConnectionLost as fault:
            broken = fault
        finally:
            self.buffer.disconnected()
            writer.cancel()
            (fault_of_writer,) = await asyncio.gather(writer, return_exceptions=True)
            await socket.close()
            if isinstance(fault_of_writer, Exception):
                raise fault_of_writer
        await self._link.wait(broken)
        return False

    async def _listen(self, socket: ClientConnection) -> bool:
        from websockets.exceptions import ConnectionClosed

        while not self.buffer.done:
            try:
                message = await socket.recv()
            except ConnectionClosed as closed:
                self._link.judge(closed, self._said)
                return True
            self._on_message(message)
            # A slow reader slows the server, which has its own ways to cope.
            await self.until(lambda: self._draining or len(self.inbox) < _UNREAD)
        return True

    def _on_message(self, message: str | bytes) -> None:
        event = read_event(message)
        match event:
            case None | events.Snapshot() | events.MeetingUpdated() | events.MoodShifted():
                return
            case Envelope():
                self.buffer.skip(event.session_id, event.seq)
                return
            case events.ErrorRaised(session_id=""):
                # What a refusal says before it closes the connection.
                self._said = event.error
                return
        was_synced, missing = self.buffer.synced, self.buffer.missing
        self.inbox.extend(self.buffer.on_event(event))
        if self.buffer.synced and not was_synced:
            self._link.mark_connected()
        if self.buffer.missing > missing and not self._told_missing:
            self._told_missing = True
            self._link.say(_missing(self.buffer.missing - missing, came_back=not was_synced))
        self.notify()

    async def _write(self, socket: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = self.buffer.next_message()
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
    they = "1 event is" if count == 1 else f"{count} events are"
    if came_back:
        return f"{they} not told again: the server had too many; no final is among them."
    return f"{they} missing, by their numbers; finals may be among them."
