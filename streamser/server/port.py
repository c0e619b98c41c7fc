"""The port of a server: who comes in, what is answered, and how everybody is let out."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from streamser.errors import ConfigError, StreamserError
from streamser.events import ErrorBody, ErrorRaised, encode_event
from streamser.server.admission import Refusal
from streamser.server.auth import offered_token
from streamser.server.connection import Connection, unreadable
from streamser.server.doorway import Doorway, Sparing
from streamser.server.entrance import bounds_of, open_entrances
from streamser.server.faults import SORRY
from streamser.server.gate import SOCKETS, Call, Listening, Sending, Visit
from streamser.server.journal import note, note_fault, note_loss, peer_of
from streamser.server.metrics import Metrics
from streamser.server.pace import MessagePace
from streamser.server.routes import Routes, refuse, without_body
from streamser.server.sender import Ending
from streamser.server.turning import LATE_S, PERIOD_S, Arrivals, LoopWatch
from streamser.settings import ServerSettings

__all__ = ["CLOSE_S", "Port", "apologise", "close", "turn_away"]

# At DEBUG the library writes every header and message: tokens, and what people say; at INFO
# what our own lines say better.
_port_logger = logging.getLogger(f"{__name__}.wire")
_port_logger.setLevel(logging.WARNING)

CLOSE_S = 3
_HANDSHAKE_S: Final = 10.0
_FRAMES: Final = 4
"""Messages that may wait unread, before a client's socket fills."""
_PATH: Final = 80
_ONCE: Final = ("Host", "Origin", "Authorization", "Upgrade")


class Port:
    """Open one port for websockets and plain HTTP.

    ``decide`` says what a call may do, ``attend`` serves who is let in until they leave. A
    connection is asked every ``ping_s`` for a sign of life and given up where none comes in
    ``pong_s``.
    """

    def __init__(
        self,
        own: ServerSettings,
        tls: ssl.SSLContext | None,
        routes: Routes,
        metrics: Metrics,
        decide: Callable[[Call], Visit],
        attend: Callable[[Connection, Sending | Listening], Awaitable[None]],
        *,
        ping_s: float = 20.0,
        pong_s: float = 60.0,
    ) -> None:
        self._own = own
        self._tls = tls
        self._routes = routes
        self._metrics = metrics
        self._decide = decide
        self._attend = attend
        self._ping_s = ping_s
        self._pong_s = pong_s
        self._servers: list[Server] = []
        self._doorway = Doorway(bounds_of(own))
        self._sparing = Sparing(time.monotonic)
        self._watch = LoopWatch()
        self._watching: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Return the address of the page, with the port that was found."""
        assert self._servers, "the server has not been started"
        host, port = next(iter(self._servers[0].sockets)).getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' if self._tls else ''}://{shown}:{port}/"

    async def open(self) -> None:
        """Let people in; raises ``ConfigError`` where the port cannot be had."""
        own = self._own
        try:
            entrances = open_entrances(own.host, own.port, self._doorway, self._turn_off)
        except OSError as error:
            why = error.strerror or str(error)
            taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            hint = "; choose another port with --port" if taken else ""
            raise ConfigError(f"cannot listen on {own.host}:{own.port}: {why}{hint}.") from None
        for entrance in entrances:
            server = await serve(
                self._handle,
                sock=entrance,
                process_request=self._process_request,
                select_subprotocol=_select_subprotocol,
                create_connection=cast("type[ServerConnection]", self._receive),
                ssl=self._tls,
                compression=None,
                max_size=own.max_message_kib * 1024,
                max_queue=_FRAMES,
                open_timeout=_HANDSHAKE_S,
                ping_interval=self._ping_s,
                ping_timeout=self._pong_s,
                close_timeout=CLOSE_S,
                server_header=None,
                logger=_port_logger,
            )
            self._servers.append(server)
        watch = self._watch
        self._metrics.run_by(asyncio.get_running_loop(), lambda: watch.late_s(time.monotonic()))
        self._watching = asyncio.create_task(self._watch_loop())

    async def close(self) -> None:
        """Take nobody more in, and wait for those who are leaving, but not for long."""
        for server in self._servers:
            server.close(close_connections=False)
        connections = self._connections()
        if connections:
            waiting = [asyncio.ensure_future(each.wait_closed()) for each in connections]
            await asyncio.wait(waiting, timeout=CLOSE_S + 1)
        # Whoever has not left by now does not read.
        for connection in self._connections():
            connection.transport.abort()
        for server in self._servers:
            await server.wait_closed()
        if self._watching is not None:
            self._watching.cancel()
            self._watch.stop()

    def _connections(self) -> list[ServerConnection]:
        return [connection for server in self._servers for connection in server.connections]

    def _receive(self, *given: Any, **options: Any) -> Connection:
        connection = Connection(*given, **options)
        connection.doorway, connection.sparing = self._doorway, self._sparing
        connection.arrivals = Arrivals(self._watch)
        connection.frames = MessagePace(self._own.message_rate, self._own.message_burst)
        return connection

    async def _watch_loop(self) -> None:
        """Look again and again how late the loop is; tell where that holds somebody up."""
        while True:
            late = self._watch.tick(time.monotonic())
            if late > LATE_S and self._connections():
                left_out = self._sparing.admit("loop_late")
                if left_out is not None:
                    note_loss("loop_late", seconds=round(late, 3), left_out=left_out or None)
            await asyncio.sleep(PERIOD_S)

    def _turn_off(self, why: str) -> None:
        """Write down that a connection is closed without an answer, now and then."""
        self._metrics.refused(why)
        _note_sparingly(self._sparing, why, reason=why)

    def _process_request(self, connection: Any, request: Request) -> Response | None:
        assert isinstance(connection, Connection)
        try:
            return self._answer(connection, request)
        except Exception as error:
            left_out = self._sparing.admit("fault")
            if left_out is not None:
                note_fault(error, peer=peer_of(connection), left_out=left_out or None)
            self._metrics.fault()
            return refuse(Refusal(500, 1011, "internal_error", SORRY))

    def _answer(self, connection: Connection, request: Request) -> Response | None:
        method = connection.method
        if method not in ("GET", "HEAD"):
            return unreadable(method)
        if any(len(request.headers.get_all(name)) > 1 for name in _ONCE):
            return unreadable(method)
        call = _call_of(request)
        if call.path not in SOCKETS:
            answer = self._routes.answer(call)
            if isinstance(answer, Refusal):
                self._metrics.refused(answer.code)
                _note_refusal(connection, answer, call.target)
                answer = refuse(answer)
            return without_body(answer, method)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return refuse(Refusal(426, 1002, "websocket_expected", "connect with a websocket"))
        if connection.early:
            why = "send nothing before the answer"
            return refuse(Refusal(400, 1002, "invalid_request", why))
        visit = self._decide(call)
        if isinstance(visit, Refusal):
            self._metrics.refused(visit.code)
            if call.origin is None:
                _note_refusal(connection, visit, call.target)
                return refuse(visit)
        if call.path == "/v1/listen":
            # Deepgram's client dies of a ping while it waits to send; it has KeepAlive instead.
            connection.ping_interval = None
        # A browser shows a page no status: its socket is opened, and closed with the reason.
        connection.visit = visit
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        try:
            match connection.visit:
                case Refusal() as refusal:
                    # It has never been through the door.
                    await turn_away(connection, refusal)
                case Sending() | Listening() as visit:
                    connection.settle()
                    await self._attend(connection, visit)
        except ConnectionClosed:
            return
        except Exception as error:
            note_fault(error, peer=peer_of(connection))
            self._metrics.fault()
            code = error.code if isinstance(error, StreamserError) else "internal_error"
            await apologise(connection, code)
            await close(connection, Ending(1011, code))


async def turn_away(connection: Connection, refusal: Refusal) -> None:
    """Say no on a socket that is open already, and close it."""
    target = "" if connection.request is None else connection.request.path
    if isinstance(connection.visit, Sending | Listening):
        refusal = refusal.of(connection.visit.principal.name)
    # Whoever is let in before it is turned away is not heard any more either.
    connection.visit = refusal
    _note_refusal(connection, refusal, target)
    if not _speaks_deepgram(connection):
        error = ErrorRaised(event_id="event_refused", session_id="", seq=0, error=refusal.error)
        await connection.send(encode_event(error), text=True)
    connection.see_off()
    await connection.close(refusal.close_code, refusal.reason)


async def apologise(connection: Connection, code: str = "internal_error") -> None:
    """Tell a client of a fault of ours, on a socket that is about to be closed."""
    if _speaks_deepgram(connection):
        return
    body = ErrorBody(type="server_error", code=code, message=SORRY)
    error = ErrorRaised(event_id="event_failed", session_id="", seq=0, error=body)
    with suppress(ConnectionClosed, TimeoutError):
        await asyncio.wait_for(connection.send(encode_event(error), text=True), CLOSE_S)


def _speaks_deepgram(connection: Connection) -> bool:
    """Return whether the other side is a client of Deepgram's, who knows no such events."""
    return connection.request is not None and _call_of(connection.request).path == "/v1/listen"


async def close(connection: Connection, ending: Ending) -> None:
    """Say goodbye, unless the other side is gone, and let go of the socket."""
    connection.see_off()
    if ending.code not in (1005, 1006):
        # What the client has still sent stands before its goodbye.
        ignoring = asyncio.create_task(_ignore(connection))
        # One who does not read keeps us from saying ours.
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.close(ending.code, ending.reason), 2 * CLOSE_S)
        ignoring.cancel()
    connection.transport.abort()


def _note_refusal(connection: Connection, refusal: Refusal, target: str) -> None:
    call = Call(target)
    try:
        meeting = call.query.get("meeting", [""])[-1][:80] or None
    except ValueError:
        meeting = None
    # The code alone: the message may quote what the client has sent.
    _note_sparingly(
        connection.sparing,
        refusal.code,
        meeting=meeting,
        peer=peer_of(connection),
        owner=refusal.owner,
        path=call.path[:_PATH],
        status=refusal.status,
        reason=refusal.code,
    )


def _note_sparingly(sparing: Sparing, kind: str, **fields: str | float | None) -> None:
    left_out = sparing.admit(kind)
    if left_out is not None:
        note("refused", **fields, left_out=left_out or None)


async def _ignore(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in connection:
            continue


def _call_of(request: Request) -> Call:
    headers = request.headers
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    return Call(
        target=request.path,
        host=headers.get("Host"),
        origin=headers.get("Origin"),
        authorization=headers.get("Authorization"),
        subprotocols=tuple(part.strip() for part in offered.split(",") if part.strip()),
    )


def _select_subprotocol(
    connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    for name in offered:
        if name in ("streamser.v1", "realtime", "token"):
            return name
    # A browser gives up where it has offered some and none is taken; it knows this one anyhow.
    # A token is taken, but never said again: answers are written into logs on their way.
    token = offered_token(None, {}, offered)
    return next((name for name in offered if token is None or token not in name), None)
