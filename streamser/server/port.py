"""The port of a server: who comes in, what is answered, and how everybody is let out."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from streamser.config import ServerSettings
from streamser.errors import ConfigError, StreamserError
from streamser.events import ErrorBody, ErrorRaised, encode_event
from streamser.server.admission import Refusal
from streamser.server.faults import SORRY
from streamser.server.gate import SOCKETS, Call, Listening, Sending, Visit
from streamser.server.journal import note, note_fault, peer_of
from streamser.server.metrics import Metrics
from streamser.server.routes import Routes, refuse, without_body
from streamser.server.sender import Ending

__all__ = ["CLOSE_S", "Connection", "Port", "apologise", "close", "turn_away"]

# At DEBUG the library writes every header and message: tokens, and what people say; at INFO
# what our own lines say better.
_port_logger = logging.getLogger(f"{__name__}.wire")
_port_logger.setLevel(logging.WARNING)

CLOSE_S = 3
_METHOD_BYTES = 16
_FRAMES = 4
"""Messages that may wait unread, before a client's socket fills."""


class Connection(ServerConnection):
    """Remember what was decided about a connection before it was opened.

    The library hangs up without a word on what it cannot read; here that gets an HTTP answer.
    """

    visit: Visit | None = None
    _head = b""
    _told = False

    @property
    def method(self) -> str:
        """Return the method of the request, as far as it has come."""
        return self._head.split(b" ")[0].decode("ascii", "replace")

    def data_received(self, data: bytes) -> None:
        """Take what the other side sends."""
        if len(self._head) < _METHOD_BYTES:
            self._head = (self._head + data)[:_METHOD_BYTES]
        super().data_received(data)

    def send_data(self) -> None:
        """Send what is to be sent, before it an answer to what cannot be read."""
        fault = self.protocol.handshake_exc
        # Who has left in the middle of a request wants none.
        unread = isinstance(fault, InvalidMessage) and not isinstance(fault.__cause__, EOFError)
        if unread and not self._told:
            self._told = True
            self.transport.write(without_body(_unreadable(self.method), self.method).serialize())
        super().send_data()


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
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Return the address of the page, with the port that was found."""
        assert self._server is not None, "the server has not been started"
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' if self._tls else ''}://{shown}:{port}/"

    async def open(self) -> None:
        """Let people in; raises ``ConfigError`` where the port cannot be had."""
        own = self._own
        try:
            self._server = await serve(
                self._handle,
                own.host,
                own.port,
                process_request=self._process_request,
                select_subprotocol=_select_subprotocol,
                create_connection=Connection,
                ssl=self._tls,
                compression=None,
                max_size=own.max_message_kib * 1024,
                max_queue=_FRAMES,
                ping_interval=self._ping_s,
                ping_timeout=self._pong_s,
                close_timeout=CLOSE_S,
                server_header=None,
                logger=_port_logger,
            )
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(f"cannot listen on {own.host}:{own.port}: {why}.") from None
        self._metrics.run_by(asyncio.get_running_loop())

    async def close(self) -> None:
        """Take nobody more in, and wait for those who are leaving, but not for long."""
        if self._server is None:
            return
        self._server.close(close_connections=False)
        connections = list(self._server.connections)
        if connections:
            waiting = [asyncio.ensure_future(each.wait_closed()) for each in connections]
            await asyncio.wait(waiting, timeout=CLOSE_S + 1)
        # Whoever has not left by now does not read.
        for connection in self._server.connections:
            connection.transport.abort()
        await self._server.wait_closed()

    def _process_request(self, connection: Any, request: Request) -> Response | None:
        call = _call_of(request)
        method = connection.method
        if method not in ("GET", "HEAD"):
            return _unreadable(method)
        if call.path not in SOCKETS:
            return without_body(self._routes.answer(call, peer_of(connection)), method)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return refuse(Refusal(426, 1002, "websocket_expected", "connect with a websocket"))
        visit = self._decide(call)
        if isinstance(visit, Refusal):
            self._metrics.refused(visit.code)
            if call.origin is None:
                _note_refusal(visit, call.target, peer_of(connection))
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
                    await turn_away(connection, refusal)
                case Sending() | Listening() as visit:
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
    _note_refusal(refusal, target, peer_of(connection))
    if not _speaks_deepgram(connection):
        error = ErrorRaised(event_id="event_refused", session_id="", seq=0, error=refusal.error)
        await connection.send(encode_event(error), text=True)
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


async def close(connection: ServerConnection, ending: Ending) -> None:
    """Say goodbye, unless the other side is gone, and let go of the socket."""
    if ending.code not in (1005, 1006):
        # What the client has still sent stands before its goodbye.
        ignoring = asyncio.create_task(_ignore(connection))
        # One who does not read keeps us from saying ours.
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.close(ending.code, ending.reason), 2 * CLOSE_S)
        ignoring.cancel()
    connection.transport.abort()


def _note_refusal(refusal: Refusal, target: str, peer: str | None) -> None:
    call = Call(target)
    try:
        meeting = call.query.get("meeting", [""])[-1][:80] or None
    except ValueError:
        meeting = None
    code, status = refusal.code, refusal.status
    # The code alone: the message may quote what the client has sent.
    note("refused", meeting=meeting, peer=peer, path=call.path, status=status, reason=code)


async def _ignore(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in connection:
            continue


def _unreadable(method: str) -> Response:
    """Answer a request that is not a plain one to read something."""
    if method in ("GET", "HEAD"):
        return refuse(Refusal(400, 1002, "invalid_request", "send plain HTTP/1.1, and no body"))
    why = "there is only reading here (GET); sound is sent by websocket"
    return refuse(Refusal(405, 1002, "method_not_allowed", why))


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
    return offered[0] if offered else None
