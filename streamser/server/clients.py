"""The connections of those who send sound, and of those who listen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from streamser.events import ErrorBody, ErrorRaised, Event, Overload, encode_event
from streamser.pipeline.emitter import client_error
from streamser.pipeline.speaker_state import (
    AssignSpeaker,
    ForgetVoices,
    MergeSpeakers,
    RenameSpeaker,
)
from streamser.server.dialects.commands import (
    Append,
    Clear,
    Command,
    Commit,
    Configure,
    Dialect,
    Finish,
    Hangup,
    Interest,
    Mark,
    Refuse,
)
from streamser.server.handshake import INGEST, ConnectRequest, Grant
from streamser.server.limits import MessagePace, Refusal
from streamser.server.meetings.hub import Hub, Subscription
from streamser.server.outgoing import (
    TOO_SLOW,
    EncodedEvent,
    SendQueue,
    can_be_left_out,
    encode_snapshot,
)
from streamser.server.stream import LiveStream
from streamser.server.telemetry import SORRY, Metrics, peer_of, supervised
from streamser.server.transport import ClientSocket

_GONE = (1000, 1001)
"""Close codes of a client who has left of its own will."""
_REASONS = {1000: "finished", 1001: "left", 1005: "left", 1006: "vanished"}

_APOLOGY_S = 3.0
"""How long the last events may take after a fault."""

CLOSE_S = 3
_PATH: Final = 80


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

    @classmethod
    def of_fault(cls, error: Exception) -> Ending:
        """Return how a connection ends where something of ours has failed."""
        return cls(1011, "internal_error", fault=error)


class StreamLimits(msgspec.Struct, frozen=True):
    """Hold what the connection of a stream is held to."""

    idle_s: float
    session_s: float
    backlog_events: int


class StreamConnection:
    """Follow what a client asks for, and tell it the events of its stream."""

    def __init__(
        self,
        socket: ClientSocket,
        dialect: Dialect,
        limits: StreamLimits,
        metrics: Metrics,
    ) -> None:
        self._socket = socket
        self._dialect = dialect
        self._limits = limits
        self._refused = 0
        self._metrics = metrics
        self._queue = SendQueue(socket, limits.backlog_events, self._encode_overload, metrics.drops)
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._last_message = time.monotonic()
        self._held_until = 0.0

    @property
    def peer(self) -> str | None:
        """Return whom it is connected to, as ``host:port``."""
        return peer_of(self._socket)

    def send_event(self, event: Event, told: EncodedEvent | None = None) -> None:
        """Send an event, in the client's dialect; a dialect that fails ends the connection.

        ``told`` is the event as others are told of it, if they are.
        """
        try:
            plain = told is not None and self._dialect.tells_all
            bodies = (told.line,) if plain and told else tuple(self._dialect.encode(event))
        except Exception as error:
            self.fail(error)
            return
        encoded = EncodedEvent(
            event.session_id,
            event.seq,
            event.clock_ms or 0,
            can_be_left_out(event),
            bodies,
            held_by=None if told is None else told.held_by,
        )
        self._queue.enqueue(encoded)

    def refuse(self, session_id: str, error: ErrorBody) -> None:
        """Tell the client alone: what it does wrong is no event of its session."""
        self._refused += 1
        name = f"event_refused_{self._refused}"
        self.send_event(ErrorRaised(event_id=name, session_id=session_id, seq=0, error=error))

    def replay(self, encoded: list[EncodedEvent]) -> None:
        """Send events once more, as they were sent to listeners."""
        self._queue.replay(encoded)

    def end(self, ending: Ending) -> None:
        """Let the connection end; the first to say so decides how."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def fail(self, error: Exception) -> None:
        """Let the connection end at once, as something of ours has failed."""
        if not self._broken.done():
            self._broken.set_result(error)
        self.end(Ending.of_fault(error))

    async def run(self, stream: LiveStream) -> Ending:
        """Serve until the stream is over, or the client gone; the socket stays to be closed."""
        tasks = [
            supervised(work, self.fail)
            for work in (
                partial(self._read, stream),
                partial(self._watch, stream),
                partial(self._wait_for_end, stream),
                self._wait_for_queue,
            )
        ]
        try:
            ending = await self._ended
            if ending.fault is None and not ending.resumable:
                await self._finish(stream, tasks[3])
            if self._broken.done():
                # Also where the client was leaving: a stream that has failed cannot be held.
                ending = Ending.of_fault(self._broken.result())
                await self._send_apology(stream)
            return ending
        finally:
            for task in tasks:
                task.cancel()
            # They are supervised: nothing comes out of them.
            await asyncio.wait(tasks)
            await self._queue.close()

    async def drop(self) -> None:
        """Send nothing more, where it has come to nothing before ``run``."""
        await self._queue.close()

    async def _finish(self, stream: LiveStream, queue_done: asyncio.Task[None]) -> None:
        """Finish a stream and let all be told."""
        over = supervised(stream.wait_until_over, self.fail)
        try:
            stream.finish()
            ends: set[asyncio.Future[Any]] = {over, self._broken, queue_done}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._queue.drain()
        except Exception as error:
            self.fail(error)
        finally:
            over.cancel()

    async def _send_apology(self, stream: LiveStream) -> None:
        """Tell the client of a fault of ours, if that can still be done."""
        body = ErrorBody(type="server_error", code="internal_error", message=SORRY)
        error = ErrorRaised(event_id="event_failed", session_id="", seq=0, error=body)
        with suppress(Exception):
            async with asyncio.timeout(_APOLOGY_S):
                if self._queue.fault is not None:
                    for message in self._dialect.encode(error):
                        await self._socket.send(message, text=True)
                    return
                try:
                    stream.report("internal_error", SORRY)
                except Exception:
                    # The stream itself is broken: its client is told outside of it.
                    self.send_event(error)
                await self._queue.drain()

    async def _read(self, stream: LiveStream) -> None:
        try:
            async for message in self._socket:
                if self._ended.done():
                    return
                self._last_message = time.monotonic()
                commands = self._dialect.receive(message)
                if not await self._wait_turn(stream, commands):
                    return
                # Who is made to wait for sending too much is not heard late.
                came = max(self._socket.came, self._held_until)
                for command in commands:
                    await self._follow(stream, command, came)
            self.end(Ending(1000))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            self.end(Ending(code, resumable=code not in _GONE))

    async def _wait_turn(self, stream: LiveStream, commands: list[Command]) -> bool:
        """Let others have their turn, and wait for this message's; or end the connection."""
        sound_s = sum(stream.seconds(each.data) for each in commands if isinstance(each, Append))
        now = time.monotonic()
        wait = stream.messages.wait_s(sound_s, now)
        if wait is None:
            most = f"at most {stream.messages.rate:g} messages a second"
            self.refuse(stream.session_id, client_error("too_many_messages", most))
            self.end(Ending(1008, f"too many messages: {most}"))
            return False
        if wait:
            self._held_until = now + wait
        await asyncio.sleep(wait)
        return not self._ended.done()

    async def _follow(self, stream: LiveStream, command: Command, came: float) -> None:
        match command:
            case Append(data):
                for piece in stream.pieces(data):
                    await self._push_audio(stream, piece, came)
            case Commit(event_id, lenient):
                stream.commit(event_id, lenient=lenient)
            case Clear():
                stream.clear()
            case Mark(marker):
                stream.mark(marker)
            case RenameSpeaker() | MergeSpeakers() | AssignSpeaker() | ForgetVoices():
                stream.name_speakers(command)
            case Configure(settings):
                stream.configure(settings)
            case Refuse(error):
                self.refuse(stream.session_id, error)
            case Finish():
                self.end(Ending(1000))
            case Hangup(code, reason):
                self.end(Ending(code, reason))

    async def _push_audio(self, stream: LiveStream, piece: bytes, came: float) -> None:
        await stream.wait_for_room()
        seconds = stream.seconds(piece)
        # Not reading on is what slows a client down: its own socket fills, nobody's memory.
        due = stream.pace.due(seconds, came)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        # A newer connection may have been told meanwhile how much was heard.
        if self._ended.done():
            return
        self._last_message = time.monotonic()
        stream.push_audio(piece, due)
        self._metrics.sound(seconds)

    async def _watch(self, stream: LiveStream) -> None:
        """End a stream that has been silent, or gone on, for too long."""
        while True:
            now = time.monotonic()
            idle = self._last_message + self._limits.idle_s - now
            rest = stream.began + self._limits.session_s - now
            if idle <= 0:
                stream.report("idle_timeout", f"nothing came for {self._limits.idle_s:g} s")
                return self.end(Ending(4408, "idle_timeout"))
            if rest <= 0:
                most = f"a stream may last {self._limits.session_s:g} s here: begin another"
                stream.report("session_expired", most)
                return self.end(Ending(4408, "session_expired"))
            await asyncio.sleep(min(idle, rest))

    async def _wait_for_end(self, stream: LiveStream) -> None:
        await stream.wait_until_over()
        self.end(Ending(1000))

    async def _wait_for_queue(self) -> None:
        await self._queue.wait_until_done()
        if self._queue.fault is not None:
            self.fail(self._queue.fault)
        elif self._queue.too_slow:
            self.end(Ending(TOO_SLOW, "too slow: events could not be delivered", resumable=True))

    def _encode_overload(self, overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
        return tuple(self._dialect.encode(overload))


class ListenerConnection:
    """Send a listener what it is interested in until it leaves, or is too slow."""

    def __init__(
        self,
        socket: ServerConnection,
        most: int,
        on_drops: Callable[[int], None],
        now: Callable[[], float],
        pace: MessagePace,
    ) -> None:
        self._socket = socket
        self._pace = pace
        self._most = most
        self._on_drops = on_drops
        self._now = now
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def end(self, ending: Ending) -> None:
        """Let the connection end; the first to say so decides how."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def fail(self, error: Exception) -> None:
        """Let the connection end at once, as something of ours has failed."""
        self.end(Ending.of_fault(error))

    async def run(self, hub: Hub, interest: Interest, after: int | None) -> Ending:
        """Serve until the listener is gone; the socket stays to be closed."""
        subscription = Subscription(
            interest,
            lambda encoded: queue.enqueue(encoded),
            self.fail,
            lambda: self.end(Ending(1001, "there is a past to be told: come again")),
        )
        snapshot, missed = hub.subscribe(subscription, after, self._now())
        queue = SendQueue(self._socket, self._most, _encode_overload, self._on_drops)
        queue.enqueue(EncodedEvent("", 0, 0, False, (encode_snapshot(snapshot),)))
        queue.replay(missed)
        works = (self._read, partial(self._wait_for, queue))
        tasks = [supervised(work, self.fail) for work in works]
        try:
            ending = await self._ended
            hub.unsubscribe(subscription)
            if ending.code == 1001:
                await queue.drain()
            return ending
        finally:
            hub.unsubscribe(subscription)
            for task in tasks:
                task.cancel()
            # They are supervised: nothing comes out of them.
            await asyncio.wait(tasks)
            await queue.close()

    async def _read(self) -> None:
        try:
            async for _ in self._socket:
                # A listener has nothing to say; what it says all the same is not kept.
                wait = self._pace.wait_s(0.0, time.monotonic())
                if wait is None:
                    self.end(Ending(1008, "too many messages: a listener has nothing to say"))
                    return
                await asyncio.sleep(wait)
            self.end(Ending(1000))
        except ConnectionClosed:
            self.end(Ending(1006))

    async def _wait_for(self, queue: SendQueue) -> None:
        await queue.wait_until_done()
        if queue.fault is not None:
            self.fail(queue.fault)
            return
        reason = "too slow: events could not be delivered"
        self.end(Ending(TOO_SLOW, reason) if queue.too_slow else Ending(1006))


def _encode_overload(overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
    return (encode_event(overload)[:-1] + stamp,)


async def turn_away(socket: ClientSocket, refusal: Refusal) -> None:
    """Say no on a socket that is open already, and close it."""
    target = "" if socket.request is None else socket.request.path
    if isinstance(socket.decision, Grant):
        refusal = refusal.of(socket.decision.principal.name)
    # Whoever is let in before it is turned away is not heard any more either.
    socket.decision = refusal
    log_refusal(socket, refusal, target)
    if not _knows_no_events(socket):
        error = ErrorRaised(event_id="event_refused", session_id="", seq=0, error=refusal.error)
        await socket.send(encode_event(error), text=True)
    socket.start_closing()
    await socket.close(refusal.close_code, refusal.reason)


async def send_apology(socket: ClientSocket, code: str = "internal_error") -> None:
    """Tell a client of a fault of ours, on a socket that is about to be closed."""
    if _knows_no_events(socket):
        return
    body = ErrorBody(type="server_error", code=code, message=SORRY)
    error = ErrorRaised(event_id="event_failed", session_id="", seq=0, error=body)
    with suppress(ConnectionClosed, TimeoutError):
        await asyncio.wait_for(socket.send(encode_event(error), text=True), CLOSE_S)


async def close_socket(socket: ClientSocket, ending: Ending) -> None:
    """Say goodbye, unless the other side is gone, and let go of the socket."""
    socket.start_closing()
    if ending.code not in (1005, 1006):
        # What the client has still sent stands before its goodbye.
        ignoring = asyncio.create_task(_ignore(socket))
        # One who does not read keeps us from saying ours.
        with suppress(TimeoutError):
            await asyncio.wait_for(socket.close(ending.code, ending.reason), 2 * CLOSE_S)
        ignoring.cancel()
    socket.transport.abort()


def _knows_no_events(socket: ClientSocket) -> bool:
    """Return whether the other side is a client of Deepgram's, or a bot."""
    strangers = ("/v1/listen", *INGEST)
    return socket.request is not None and connect_request(socket.request).path in strangers


def log_refusal(socket: ClientSocket, refusal: Refusal, target: str) -> None:
    """Write down that a client is turned away, and from where."""
    request = ConnectRequest(target)
    try:
        meeting = request.query.get("meeting", [""])[-1][:80] or None
    except ValueError:
        meeting = None
    # The code alone: the message may quote what the client has sent.
    socket.throttle.log_info(
        "refused",
        refusal.code,
        meeting=meeting,
        peer=peer_of(socket),
        owner=refusal.owner,
        path=request.path[:_PATH],
        status=refusal.status,
        reason=refusal.code,
    )


async def _ignore(socket: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            continue


def connect_request(request: Request) -> ConnectRequest:
    """Return what a client brings along, as its request says it."""
    headers = request.headers
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    return ConnectRequest(
        target=request.path,
        host=headers.get("Host"),
        origin=headers.get("Origin"),
        authorization=headers.get("Authorization"),
        subprotocols=tuple(part.strip() for part in offered.split(",") if part.strip()),
    )
