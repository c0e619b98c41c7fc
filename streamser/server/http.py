"""The port of a server: who comes in, what is answered, and how everybody is let out."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from streamser.cluster.tunnel import FORWARDED
from streamser.errors import ConfigError, StreamserError
from streamser.server.clients import (
    CLOSE_S,
    Ending,
    close_socket,
    connect_request,
    log_refusal,
    send_apology,
    turn_away,
)
from streamser.server.connections import ConnectionTable, Proxies
from streamser.server.dialects.openai_realtime import protocol_json
from streamser.server.dialects.oruk import ORUK
from streamser.server.handshake import (
    REST,
    SOCKETS,
    ConnectRequest,
    Decision,
    Grant,
    Handshake,
    IngestGrant,
    ListenGrant,
    Principal,
    SendGrant,
    offered_token,
)
from streamser.server.limits import (
    LATE_S,
    PERIOD_S,
    Admission,
    Arrivals,
    LoopWatch,
    MessagePace,
    Refusal,
    connection_bounds,
)
from streamser.server.meetings.rooms import LiveMeeting
from streamser.server.page import read_page, with_statement
from streamser.server.rest.exchange import Exchange, FirstByte
from streamser.server.telemetry import (
    CONTENT_TYPE,
    SORRY,
    LogThrottle,
    Metrics,
    log_fault,
    log_loss,
    peer_of,
)
from streamser.server.transport import ClientSocket, open_sockets
from streamser.settings import ServerSettings

# At DEBUG the library writes every header and message: tokens, and what people say; at INFO
# what our own lines say better.
_port_logger = logging.getLogger(f"{__name__}.wire")
_port_logger.setLevel(logging.WARNING)
_HANDSHAKE_S: Final = 10.0
_FRAMES: Final = 4
"""Messages that may wait unread, before a client's socket fills."""
_ONCE: Final = ("Host", "Origin", "Authorization", "Upgrade")

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

_POLICY: Final = (
    "default-src 'self'; connect-src 'self'{sockets}; img-src 'self' data: blob:;"
    " style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; frame-ancestors 'self';"
    " base-uri 'none'; form-action 'none'"
)
_SECURITY: Final = {
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class Port:
    """Open one port for websockets and plain HTTP.

    ``decide`` says what a request gets, ``attend`` serves who is let in until they leave;
    ``uploads`` answers requests with a body, which are refused without it. A connection is asked
    every ``ping_s`` for a sign of life and given up where none comes in ``pong_s``.
    """

    def __init__(
        self,
        own: ServerSettings,
        tls: ssl.SSLContext | None,
        routes: Routes,
        metrics: Metrics,
        decide: Callable[[ConnectRequest], Decision],
        attend: Callable[[ClientSocket, Grant], Awaitable[None]],
        uploads: Callable[[Exchange], Coroutine[Any, Any, None]] | None = None,
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
        self._uploads = uploads
        self._outside: set[FirstByte | Exchange] = set()
        self._ping_s = ping_s
        self._pong_s = pong_s
        self._servers: list[Server] = []
        self._table = ConnectionTable(connection_bounds(own), Proxies(own.proxies))
        self._throttle = LogThrottle(time.monotonic)
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
            listening_sockets = open_sockets(own.host, own.port, self._table, self._refuse_socket)
        except OSError as error:
            why = error.strerror or str(error)
            taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            hint = "; choose another port with --port" if taken else ""
            raise ConfigError(f"cannot listen on {own.host}:{own.port}: {why}{hint}.") from None
        for listening in listening_sockets:
            server = await serve(
                self._handle,
                sock=listening,
                process_request=self._process_request,
                select_subprotocol=_select_subprotocol,
                create_connection=cast("type[ServerConnection]", self._accept),
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
        for other in list(self._outside):
            other.abort()
        for server in self._servers:
            await server.wait_closed()
        if self._watching is not None:
            self._watching.cancel()
            self._watch.stop()

    def _connections(self) -> list[ServerConnection]:
        return [connection for server in self._servers for connection in server.connections]

    def _accept(self, *given: Any, **options: Any) -> ClientSocket | FirstByte:
        websocket = partial(self._make_socket, *given, **options)
        if self._uploads is None:
            return websocket()
        exchange = partial(Exchange, self._uploads, self._table, self._outside)
        return FirstByte(given[0], websocket, exchange, self._outside)

    def _make_socket(self, *given: Any, **options: Any) -> ClientSocket:
        socket = ClientSocket(*given, **options)
        socket.connections, socket.throttle = self._table, self._throttle
        socket.unreadable = lambda method: without_body(unreadable(method), method).serialize()
        socket.arrivals = Arrivals(self._watch)
        socket.frames = MessagePace(self._own.message_rate, self._own.message_burst)
        return socket

    async def _watch_loop(self) -> None:
        """Look again and again how late the loop is; tell where that holds somebody up."""
        while True:
            late = self._watch.tick(time.monotonic())
            if late > LATE_S and self._connections():
                left_out = self._throttle.admit("loop_late")
                if left_out is not None:
                    log_loss("loop_late", seconds=round(late, 3), left_out=left_out or None)
            await asyncio.sleep(PERIOD_S)

    def _refuse_socket(self, why: str) -> None:
        """Write down that a connection is closed without an answer, now and then."""
        self._metrics.refused(why)
        self._throttle.log_info("refused", why, reason=why)

    def _process_request(self, socket: Any, request: Request) -> Response | None:
        assert isinstance(socket, ClientSocket)
        try:
            return self._answer(socket, request)
        except Exception as error:
            left_out = self._throttle.admit("fault")
            if left_out is not None:
                log_fault(error, peer=peer_of(socket), left_out=left_out or None)
            self._metrics.fault()
            return refuse(Refusal(500, 1011, "internal_error", SORRY))

    def _answer(self, socket: ClientSocket, given: Request) -> Response | None:
        socket.identify(given.headers.get_all(FORWARDED))
        method = socket.method
        if method not in ("GET", "HEAD"):
            return unreadable(method)
        if any(len(given.headers.get_all(name)) > 1 for name in _ONCE):
            return unreadable(method)
        request = connect_request(given)
        if request.path not in SOCKETS:
            answer = self._routes.answer(request)
            if isinstance(answer, Refusal):
                self._metrics.refused(answer.code)
                log_refusal(socket, answer, request.target)
                answer = refuse(answer)
            return without_body(answer, method)
        if given.headers.get("Upgrade", "").lower() != "websocket":
            return refuse(Refusal(426, 1002, "websocket_expected", "connect with a websocket"))
        if socket.early:
            why = "send nothing before the answer"
            return refuse(Refusal(400, 1002, "invalid_request", why))
        decision = self._decide(request)
        if isinstance(decision, Refusal):
            self._metrics.refused(decision.code)
            if request.origin is None:
                log_refusal(socket, decision, request.target)
                return refuse(decision)
        if request.path == "/v1/listen":
            # Deepgram's client dies of a ping while it waits to send; it has KeepAlive instead.
            socket.ping_interval = None
        else:
            # Through the door at once: many of one proxy's clients may come in the same turn.
            socket.settle()
        # A browser shows a page no status: its socket is opened, and closed with the reason.
        socket.decision = decision
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        assert isinstance(socket, ClientSocket)
        try:
            match socket.decision:
                case Refusal() as refusal:
                    await turn_away(socket, refusal)
                case SendGrant() | ListenGrant() | IngestGrant() as decision:
                    await self._attend(socket, decision)
        except ConnectionClosed:
            return
        except Exception as error:
            log_fault(error, peer=peer_of(socket))
            self._metrics.fault()
            code = error.code if isinstance(error, StreamserError) else "internal_error"
            await send_apology(socket, code)
            await close_socket(socket, Ending(1011, code))


def _select_subprotocol(
    connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    for name in offered:
        if name in ("streamser.v1", "realtime", "token", ORUK):
            return name
    # A browser gives up where it has offered some and none is taken; it knows this one anyhow.
    # A token is taken, but never said again: answers are written into logs on their way.
    token = offered_token(None, {}, offered)
    return next((name for name in offered if token is None or token not in name), None)


def unreadable(method: str) -> Response:
    """Answer a request that is not a plain one to read something."""
    if method in ("GET", "HEAD"):
        return refuse(Refusal(400, 1002, "invalid_request", "send plain HTTP/1.1, and no body"))
    told = f"there is only reading here (GET): files go to POST {REST[0]}, live sound by websocket"
    return refuse(Refusal(405, 1002, "method_not_allowed", told))


class Routes:
    """Answer requests to read; each costs little, and none waits.

    ``handshake`` says whose requests are answered; health is told to everybody, the metrics, which
    tell how much is going on, to those who may listen or read them, and the ``meetings`` that are
    held to those who may listen, each of a bound token its own. ``is_whole`` says whether all was
    kept so far that is to be, ``cluster_away`` why other servers hear nothing of this one;
    ``statement`` is what the page says of the server before the consent
    (HTML). ``others`` is asked for what is nowhere here.
    """

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        handshake: Handshake,
        statement: str,
        meetings: Callable[[], Sequence[LiveMeeting]],
        is_whole: Callable[[], bool] = lambda: True,
        cluster_away: Callable[[], str | None] = lambda: None,
        others: Callable[[ConnectRequest], Response | Refusal | None] = lambda _: None,
    ) -> None:
        self._is_whole = is_whole
        self._cluster_away = cluster_away
        self._others = others
        self._handshake = handshake
        self._admission = admission
        self._metrics = metrics
        self._meetings = meetings
        self._unstated = read_page()
        self.restate(statement)
        self._protocol = protocol_json()

    def restate(self, statement: str) -> None:
        """Let the page say something else of the server from now on."""
        self._page = with_statement(self._unstated, statement)

    def answer(self, request: ConnectRequest) -> Response | Refusal:
        """Answer a request, by its path."""
        path = request.path
        match path:
            case "/healthz":
                return respond(200, _TEXT, b"ok\n")
            case "/readyz":
                return self._ready()
        if (stranger := self._handshake.check_host(request)) is not None:
            return stranger
        match path:
            case "/metrics":
                return self._guarded(request, CONTENT_TYPE, lambda _: self._metrics.render())
            case "/v1/meetings":
                return self._guarded(request, _JSON, self._list_meetings)
            case "/v1/protocol.json":
                return respond(200, _JSON, self._protocol)
        asset = self._page.get(path)
        if asset is None and (answer := self._others(request)) is not None:
            return answer
        if asset is None:
            return refuse(Refusal(404, 1008, "not_found", f"there is nothing at {path[:80]}"))
        return respond(200, asset.media_type, asset.body, host=request.host)

    def _list_meetings(self, principal: Principal) -> bytes:
        own = principal.meeting
        meetings = [each for each in self._meetings() if own in (None, each.meeting)]
        return msgspec.json.encode({"meetings": meetings}) + b"\n"

    def _guarded(
        self, request: ConnectRequest, media_type: str, write: Callable[[Principal], bytes]
    ) -> Response | Refusal:
        """Answer those alone who may read it."""
        visitor = self._handshake.authenticate(request)
        if isinstance(visitor, Refusal):
            return visitor
        return respond(200, media_type, write(visitor))

    def _ready(self) -> Response:
        admission = self._admission
        for hindered, why in (
            (admission.leaving, "shutting_down"),
            (not admission.serving, "not_ready"),
            (admission.crowded, "too_many_sessions"),
            (admission.late, "overloaded"),
        ):
            if hindered:
                return respond(503, _TEXT, f"{why}\n".encode(), retry_s=5)
        # No reason to send clients elsewhere: who is there is heard and answered.
        known = "ready\n" if self._is_whole() else "ready\nexport_incomplete\n"
        if (away := self._cluster_away()) is not None:
            known += f"redis_away: {away}\n"
        return respond(200, _TEXT, known.encode())


def refuse(refusal: Refusal) -> Response:
    """Answer with a refusal, for programs."""
    body = json.dumps({"error": msgspec.to_builtins(refusal.error)}).encode() + b"\n"
    return respond(refusal.status, _JSON, body, retry_s=refusal.retry_s)


def without_body(response: Response, method: str) -> Response:
    """Return an answer as the method wants it: that to ``HEAD`` is a head alone."""
    if method == "HEAD":
        response.body = b""
    return response


def respond(
    status: int,
    media_type: str,
    body: bytes | None,
    *,
    retry_s: int | None = None,
    host: str | None = None,
    allow: str | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """Make an answer, after which the connection ends; ``None``: its body is still to come."""
    headers = Headers({"Content-Type": media_type, "Connection": "close", **security(host), **more})
    if body is not None:
        headers["Content-Length"] = str(len(body))
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="streamser"'
    if status == 405:
        headers["Allow"] = allow or "GET, HEAD"
    if status == 426:
        headers["Upgrade"] = "websocket"
    return Response(status, HTTPStatus(status).phrase, headers, body or b"")


def security(host: str | None = None) -> dict[str, str]:
    """Return the headers that tell a browser what a page from here may do.

    It may connect to the ``host`` that it came from, and nowhere else. Not every browser counts
    the websockets of a host to what is its own, so they are named.
    """
    known = host is not None and _HOST.fullmatch(host)
    sockets = f" ws://{host} wss://{host}" if known else ""
    return {"Content-Security-Policy": _POLICY.format(sockets=sockets), **_SECURITY}
