"""The server: one port, from its first connection to the last final."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace
from websockets.asyncio.server import Server as Port
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from streamser.config import Settings
from streamser.errors import ConfigError, StreamserError
from streamser.events import ErrorRaised, Limits, ModelNames, encode_event
from streamser.runtime.analyzer import Analyzer
from streamser.runtime.engine import Engine
from streamser.runtime.timing import SYSTEM, Timing
from streamser.server.admission import Admission, Refusal
from streamser.server.auth import read_tokens
from streamser.server.backlog import Letter
from streamser.server.desk import Desk
from streamser.server.exposure import refuse_to_expose, tls_context
from streamser.server.gate import SOCKETS, Call, Gate, Listening, Sending, Visit
from streamser.server.hub import Hub, Interest, Subscription
from streamser.server.listener import Listener
from streamser.server.metrics import Metrics
from streamser.server.routes import Routes, refuse
from streamser.server.sender import Ending, Rules, Sender
from streamser.server.stream import Setting, stream_settings

__all__ = ["EmotionServer", "Fittings"]

logger = logging.getLogger(__name__)
# At DEBUG the library writes every header and message: tokens, and what people say.
_port_logger = logging.getLogger(f"{__name__}.port")
_port_logger.setLevel(logging.INFO)

_CLOSE_S = 3
_FRAMES = 4
"""Messages that may wait unread, before a client's socket fills."""


class Fittings(msgspec.Struct, frozen=True, eq=False):
    """Hold what is no setting, and other than usual in tests.

    ``build`` and ``timing`` are those of ``Analyzer``. A connection is asked every ``ping_s`` for
    a sign of life and given up where none comes in ``pong_s``; long, as a client who sends faster
    than it is listened to answers late.
    """

    build: Callable[[], Engine] | None = None
    timing: Timing = SYSTEM
    ping_s: float = 20.0
    pong_s: float = 60.0


class Connection(ServerConnection):
    """Remember what was decided about a connection before it was opened."""

    visit: Visit | None = None


class EmotionServer:
    """Serve streams and listeners on one port with one set of models.

    Raises ``ConfigError`` where the settings cannot be, or must not be, served with: other
    machines without tokens and TLS, unless ``server.insecure``. ``tell`` gets lines for people.
    """

    def __init__(
        self, settings: Settings, tell: Callable[[str], None], fittings: Fittings | None = None
    ) -> None:
        own = settings.server
        self._fittings = fittings = fittings or Fittings()
        self._settings = settings
        self._tokens = read_tokens(own.token_file, os.environ)
        self._tls = tls_context(own.tls_cert, own.tls_key)
        refuse_to_expose(own, self._tokens, self._tls)
        self.metrics = Metrics()
        self._analyzer = Analyzer(
            _with_processes(settings, fittings),
            tell=tell,
            watch=self.metrics.batch,
            build=fittings.build,
            timing=fittings.timing,
        )
        self._admission = Admission(own)
        # Milliseconds of this century: more than a server before this one has ever counted.
        self._hub = Hub(
            own.replay_events,
            own.meeting_keep_s,
            settings.mood.time_constant_s,
            int(time.time() * 1000),
        )
        admission, hub = self._admission, self._hub
        self.metrics.follow(
            lambda: admission.streams,
            lambda: admission.listeners,
            lambda: hub.meetings,
            lambda: hub.kept,
        )
        origins = tuple(part.strip() for part in own.origins.split(",") if part.strip())
        names = (own.host, *(urlsplit(origin).hostname or "" for origin in origins))
        self._gate = Gate(
            self._tokens,
            self._admission,
            stream_settings(settings),
            origins,
            (*names, "*") if own.insecure else names,
        )
        self._routes = Routes(self._admission, self.metrics)
        self._desk: Desk | None = None
        self._listeners: set[Listener] = set()
        self._server: Port | None = None

    @property
    def url(self) -> str:
        """Return the address of the page, with the port that was found."""
        assert self._server is not None, "the server has not been started"
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' if self._tls else ''}://{shown}:{port}/"

    @property
    def local_url(self) -> str:
        """Return the address for clients on this machine."""
        scheme, _, rest = self.url.partition("://")
        host, _, port = rest.rstrip("/").rpartition(":")
        everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
        return f"{scheme}://{everywhere.get(host, host)}:{port}"

    def listen_in(self, deliver: Callable[[Letter], None]) -> None:
        """Let ``deliver`` have every event of every session from now on, in their order."""
        self._hub.subscribe(Subscription(Interest(), deliver), None, time.monotonic())

    async def start(self) -> None:
        """Open the port; streams are refused until ``load`` is done. Raises ``ConfigError``."""
        own = self._settings.server
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
                ping_interval=self._fittings.ping_s,
                ping_timeout=self._fittings.pong_s,
                close_timeout=_CLOSE_S,
                server_header=None,
                logger=_port_logger,
            )
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(f"cannot listen on {own.host}:{own.port}: {why}.") from None
        self.metrics.run_by(asyncio.get_running_loop())

    async def load(self) -> ModelNames:
        """Load the models and let streams in; raises ``ModelError`` where one cannot be had."""
        models = await asyncio.to_thread(self._analyzer.models)
        make_vad, worker = self._analyzer.equipment()
        self.metrics.watch(worker)
        own, asr = self._settings.server, self._settings.asr
        limits = Limits(
            message_bytes=own.max_message_kib * 1024,
            idle_s=own.idle_s,
            session_s=own.session_s,
            resume_s=own.resume_s,
            speed=own.speed,
        )
        english = models.asr is not None and models.asr.startswith("pocketsphinx")
        if english and self._settings.worker.processes is None and not self._fittings.build:
            worker.grow(_usable_cores())
            await asyncio.to_thread(worker.engine)
        setting = Setting(
            settings=self._settings,
            make_vad=make_vad,
            make_listener=worker.listener,
            models=models,
            worker=worker,
            limits=limits,
            language="en" if english else asr.language,
        )
        self._desk = Desk(setting, self._hub, self._admission, self.metrics)
        self._admission.has_models = lambda: worker.is_ready
        self._admission.ready = True
        return models

    async def stop(self) -> None:
        """Take nobody more in, tell what is still to tell, close 1001; within the deadline."""
        self._admission.closing = True
        deadline = self._settings.server.shutdown_s
        if self._desk is not None:
            try:
                await asyncio.wait_for(self._desk.finish_all(), deadline)
            except TimeoutError:
                # What the models have not answered by now fails, so that no final is missing.
                await asyncio.to_thread(self._analyzer.close, 0.0)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._desk.finish_all(), _CLOSE_S)
        for listener in list(self._listeners):
            listener.end(Ending(1001, "the server is going away"))
        if self._server is not None:
            self._server.close(close_connections=False)
            connections = list(self._server.connections)
            if connections:
                waiting = [asyncio.ensure_future(each.wait_closed()) for each in connections]
                await asyncio.wait(waiting, timeout=_CLOSE_S + 1)
            # Whoever has not left by now does not read.
            for connection in self._server.connections:
                connection.transport.abort()
            await self._server.wait_closed()
        if self._desk is not None:
            self._desk.abandon_all()
        await asyncio.to_thread(self._analyzer.close, deadline)

    def _process_request(self, connection: Any, request: Request) -> Response | None:
        call = _call_of(request)
        if call.path not in SOCKETS:
            return self._routes.answer(call.path)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return refuse(Refusal(426, 1002, "websocket_expected", "connect with a websocket"))
        visit = self._gate.decide(call, str(uuid.uuid4()), datetime.now(UTC).isoformat())
        if isinstance(visit, Sending) and (self._desk is None or self._desk.find(visit) is None):
            visit = self._admission.refuse_stream(visit.principal.name) or visit
        if isinstance(visit, Refusal):
            self.metrics.refused(visit.code)
            if call.origin is None:
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
                case Sending() as visit:
                    await self._serve_sender(connection, visit)
                case Listening() as visit:
                    await self._serve_listener(connection, visit)
                case Refusal() as refusal:
                    await _turn_away(connection, refusal)
        except ConnectionClosed:
            return
        except StreamserError as error:
            await connection.close(1011, error.code)
        except Exception:
            logger.exception("a connection broke")
            await connection.close(1011, "internal_error")

    async def _serve_sender(self, connection: Connection, visit: Sending) -> None:
        desk = self._desk
        assert desk is not None, "nobody is let in before the models are loaded"
        own = self._settings.server
        rules = Rules(own.idle_s, own.session_s, own.backlog_events)
        held = desk.find(visit)
        if held is None:
            # Others may have come in since the door was passed.
            refusal = self._admission.refuse_stream(visit.principal.name)
            if refusal is not None:
                self.metrics.refused(refusal.code)
                await _turn_away(connection, refusal)
                return
        dialect = visit.dialect if held is None else held.dialect
        sender = Sender(connection, dialect, rules, self.metrics)
        if held is None:
            held = desk.open(visit, sender)
        else:
            desk.give_back(held, sender, visit.after)
        ending = Ending(1011, "internal_error")
        try:
            ending = await sender.run(held.stream)
        finally:
            desk.release(held, sender, resumable=ending.resumable)
        if ending.code == 1013:
            self.metrics.lost_listener()
        await _close(connection, ending)

    async def _serve_listener(self, connection: Connection, visit: Listening) -> None:
        refusal = self._admission.refuse_listener()
        if refusal is not None:
            self.metrics.refused(refusal.code)
            await _turn_away(connection, refusal)
            return
        interest = visit.interest
        if interest.session is not None and not self._hub.knows_session(interest.session):
            message = f"there is no session {interest.session[:80]!r}, or its events are forgotten"
            await _turn_away(connection, Refusal(404, 4404, "unknown_session", message))
            return
        listener = Listener(connection, self._settings.server.backlog_events, self.metrics.drops)
        self._listeners.add(listener)
        self._admission.listeners += 1
        try:
            ending = await listener.run(self._hub, interest, visit.after)
        finally:
            self._listeners.discard(listener)
            self._admission.listeners -= 1
        if ending.code == 1013:
            self.metrics.lost_listener()
        await _close(connection, ending)


def _with_processes(settings: Settings, fittings: Fittings) -> Settings:
    """Keep models out of the process that talks to clients, unless something else is asked for."""
    if settings.worker.processes is not None or fittings.build is not None:
        return settings
    return replace(settings, worker=replace(settings.worker, processes=1))


def _usable_cores() -> int:
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return len(there) if there else os.cpu_count() or 1


async def _turn_away(connection: Connection, refusal: Refusal) -> None:
    # Deepgram's clients know no such message.
    if connection.request is not None and not connection.request.path.startswith("/v1/listen"):
        error = ErrorRaised(event_id="event_refused", session_id="", seq=0, error=refusal.error)
        await connection.send(encode_event(error), text=True)
    await connection.close(refusal.close_code, refusal.reason)


async def _close(connection: ServerConnection, ending: Ending) -> None:
    if ending.code not in (1005, 1006):
        # What the client has still sent stands before its goodbye.
        ignoring = asyncio.create_task(_ignore(connection))
        # One who does not read keeps us from saying ours.
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.close(ending.code, ending.reason), 2 * _CLOSE_S)
        ignoring.cancel()
    connection.transport.abort()


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
    return offered[0] if offered else None
