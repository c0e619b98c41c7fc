"""The connection of one client who sends sound; joins a socket to a stream."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from websockets.exceptions import ConnectionClosed

from streamser.events import ErrorBody, ErrorRaised, Event, Overload
from streamser.pipeline.emitter import RefusedError, client_error
from streamser.server.actions import (
    Action,
    Append,
    Clear,
    Commit,
    Configure,
    Dialect,
    Finish,
    Hangup,
    Mark,
    Refuse,
)
from streamser.server.backlog import Letter, can_be_left_out
from streamser.server.faults import SORRY, supervised
from streamser.server.journal import peer_of
from streamser.server.outlet import TOO_SLOW, Outlet
from streamser.server.stream import LiveStream

if TYPE_CHECKING:
    from streamser.server.connection import Connection

__all__ = ["Ending", "Rules", "Sender"]

_GONE = (1000, 1001)
"""Close codes of a client who has left of its own will."""

_REASONS = {1000: "finished", 1001: "left", 1005: "left", 1006: "vanished"}

_APOLOGY_S = 3.0
"""How long the last events may take after a fault."""


class Rules(msgspec.Struct, frozen=True):
    """Hold what a sender is held to."""

    idle_s: float
    session_s: float
    backlog_events: int


class Ending(msgspec.Struct, frozen=True):
    """Say how a connection ends; ``resumable`` if its stream may go on without it.

    ``fault`` is what has failed on our side, if that is why it ends.
    """

    code: int
    reason: str = ""
    resumable: bool = False
    fault: Exception | None = None

    @property
    def why(self) -> str:
        """Return the reason, also where none is told."""
        return self.reason or _REASONS.get(self.code, f"code {self.code}")


class Taps(Protocol):
    """Hear of what a sender does."""

    def sound(self, seconds: float) -> None:
        """Note sound that was taken in."""
        ...

    def drops(self, events: int) -> None:
        """Note events that were left out."""
        ...


class Sender:
    """Follow what a client asks for, and tell it the events of its stream."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        rules: Rules,
        taps: Taps,
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._rules = rules
        self._refused = 0
        self._taps = taps
        self._outlet = Outlet(connection, rules.backlog_events, self._word, taps.drops)
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._last_message = time.monotonic()
        self._held_until = 0.0

    @property
    def peer(self) -> str | None:
        """Return whom it is connected to, as ``host:port``."""
        return peer_of(self._connection)

    def tell(self, event: Event) -> None:
        """Send an event, in the client's dialect; a dialect that fails ends the connection."""
        try:
            bodies = tuple(self._dialect.tell(event))
        except Exception as error:
            self.fail(error)
            return
        letter = Letter(
            event.session_id, event.seq, event.clock_ms or 0, can_be_left_out(event), bodies
        )
        self._outlet.put(letter)

    def replay(self, letters: list[Letter]) -> None:
        """Send events once more, as they were sent to listeners."""
        self._outlet.replay(letters)

    def end(self, ending: Ending) -> None:
        """Let the connection end; the first to say so decides how."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def fail(self, error: Exception) -> None:
        """Let the connection end at once, as something of ours has failed."""
        if not self._broken.done():
            self._broken.set_result(error)
        self.end(_failed(error))

    async def run(self, stream: LiveStream) -> Ending:
        """Serve until the stream is over, or the client gone; the socket stays to be closed."""
        tasks = [
            supervised(work, self.fail)
            for work in (
                partial(self._read, stream),
                partial(self._watch, stream),
                partial(self._wait_for_end, stream),
                self._wait_for_outlet,
            )
        ]
        try:
            ending = await self._ended
            if ending.fault is None and not ending.resumable:
                await self._see_out(stream, tasks[3])
            if self._broken.done():
                # Also where the client was leaving: a stream that has failed cannot be held.
                ending = _failed(self._broken.result())
                await self._apologise(stream)
            return ending
        finally:
            for task in tasks:
                task.cancel()
            # They are supervised: nothing comes out of them.
            await asyncio.wait(tasks)
            await self._outlet.close()

    async def abandon(self) -> None:
        """Send nothing more, where it has come to nothing before ``run``."""
        await self._outlet.close()

    async def _see_out(self, stream: LiveStream, outlet_done: asyncio.Task[None]) -> None:
        """Finish a stream and let all be told."""
        over = supervised(stream.wait_until_over, self.fail)
        try:
            stream.finish()
            ends: set[asyncio.Future[Any]] = {over, self._broken, outlet_done}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._outlet.drain()
        except Exception as error:
            self.fail(error)
        finally:
            over.cancel()

    async def _apologise(self, stream: LiveStream) -> None:
        """Tell the client of a fault of ours, if that can still be done."""
        body = ErrorBody(type="server_error", code="internal_error", message=SORRY)
        error = ErrorRaised(event_id="event_failed", session_id="", seq=0, error=body)
        with suppress(Exception):
            async with asyncio.timeout(_APOLOGY_S):
                if self._outlet.fault is not None:
                    for message in self._dialect.tell(error):
                        await self._connection.send(message, text=True)
                    return
                try:
                    stream.report("internal_error", SORRY)
                except Exception:
                    # The stream itself is broken: its client is told outside of it.
                    self.tell(error)
                await self._outlet.drain()

    async def _read(self, stream: LiveStream) -> None:
        try:
            async for message in self._connection:
                if self._ended.done():
                    return
                self._last_message = time.monotonic()
                actions = self._dialect.receive(message)
                if not await self._may_follow(stream, actions):
                    return
                # Who is made to wait for sending too much is not heard late.
                came = max(self._connection.came, self._held_until)
                for action in actions:
                    try:
                        await self._follow(stream, action, came)
                    except RefusedError as refused:
                        self._refuse(stream, refused.body)
            self.end(Ending(1000))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            self.end(Ending(code, resumable=code not in _GONE))

    async def _may_follow(self, stream: LiveStream, actions: list[Action]) -> bool:
        """Let others have their turn, and wait for this message's; or end the connection."""
        sound_s = sum(stream.seconds(each.data) for each in actions if isinstance(each, Append))
        now = time.monotonic()
        wait = stream.messages.wait_s(sound_s, now)
        if wait is None:
            most = f"at most {stream.messages.rate:g} messages a second"
            self._refuse(stream, client_error("too_many_messages", most))
            self.end(Ending(1008, f"too many messages: {most}"))
            return False
        if wait:
            self._held_until = now + wait
        await asyncio.sleep(wait)
        return not self._ended.done()

    def _refuse(self, stream: LiveStream, error: ErrorBody) -> None:
        """Tell the client alone: what it does wrong is no event of its session."""
        self._refused += 1
        name = f"event_refused_{self._refused}"
        self.tell(ErrorRaised(event_id=name, session_id=stream.session_id, seq=0, error=error))

    async def _follow(self, stream: LiveStream, action: Action, came: float) -> None:
        match action:
            case Append(data):
                for piece in stream.pieces(data):
                    await self._take_in(stream, piece, came)
            case Commit(event_id, lenient):
                stream.commit(event_id, lenient=lenient)
            case Clear():
                stream.clear()
            case Mark(marker):
                stream.mark(marker)
            case Configure(settings):
                stream.configure(settings)
            case Refuse(error):
                self._refuse(stream, error)
            case Finish():
                self.end(Ending(1000))
            case Hangup(code, reason):
                self.end(Ending(code, reason))

    async def _take_in(self, stream: LiveStream, piece: bytes, came: float) -> None:
        await stream.wait_for_room()
        seconds = stream.seconds(piece)
        # Not reading on is what slows a client down: its own socket fills, nobody's memory.
        due = stream.pace.due(seconds, came)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        # A newer connection may have been told meanwhile how much was heard.
        if self._ended.done():
            return
        self._last_message = time.monotonic()
        stream.hear(piece, due)
        self._taps.sound(seconds)

    async def _watch(self, stream: LiveStream) -> None:
        """End a stream that has been silent, or gone on, for too long."""
        while True:
            now = time.monotonic()
            idle = self._last_message + self._rules.idle_s - now
            rest = stream.began + self._rules.session_s - now
            if idle <= 0:
                stream.report("idle_timeout", f"nothing came for {self._rules.idle_s:g} s")
                return self.end(Ending(4408, "idle_timeout"))
            if rest <= 0:
                most = f"a stream may last {self._rules.session_s:g} s here: begin another"
                stream.report("session_expired", most)
                return self.end(Ending(4408, "session_expired"))
            await asyncio.sleep(min(idle, rest))

    async def _wait_for_end(self, stream: LiveStream) -> None:
        await stream.wait_until_over()
        self.end(Ending(1000))

    async def _wait_for_outlet(self) -> None:
        await self._outlet.wait_until_done()
        if self._outlet.fault is not None:
            self.fail(self._outlet.fault)
        elif self._outlet.too_slow:
            self.end(Ending(TOO_SLOW, "too slow: events could not be delivered", resumable=True))

    def _word(self, overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
        return tuple(self._dialect.tell(overload))


def _failed(error: Exception) -> Ending:
    return Ending(1011, "internal_error", fault=error)
