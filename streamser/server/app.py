"""The server: one port, from its first connection to the last final."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from streamser.cluster.tunnel import carry
from streamser.errors import ConfigError
from streamser.events import Limits, ModelNames
from streamser.hosting.hosted import LocalHost, run_beside
from streamser.hosting.pool import WorkerProcesses, useful_workers
from streamser.hosting.records import SessionHost
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import caveats_of, endpointer_settings, name_models
from streamser.pipeline.engine import Engine
from streamser.pipeline.scheduler import SYSTEM, Timing
from streamser.server.clients import (
    CLOSE_S,
    Ending,
    StreamConnection,
    StreamLimits,
    close_socket,
    turn_away,
)
from streamser.server.cluster import Arrival, ClusterCollector, ClusterNode
from streamser.server.dialects.commands import Interest, LanguageSupport
from streamser.server.exposure import read_origins, refuse_to_expose, tls_context
from streamser.server.handshake import (
    ConnectRequest,
    Decision,
    Grant,
    Handshake,
    IngestGrant,
    ListenGrant,
    SendGrant,
    Tokens,
    read_tokens,
)
from streamser.server.http import Port, Routes
from streamser.server.ingest.connection import NAMELESS, BotRegistry
from streamser.server.limits import FULL, Admission, Refusal, shared_file, short_of_files
from streamser.server.meetings.hub import Hub, Subscription
from streamser.server.meetings.rooms import LiveMeeting
from streamser.server.meetings.shared import SharedHub
from streamser.server.outgoing import EncodedEvent, short_of_history
from streamser.server.recorder import Retention, retention_html, shared_by_redis
from streamser.server.rest.door import UploadDoor
from streamser.server.sessions import SessionRegistry
from streamser.server.stream import StreamResources, stream_settings
from streamser.server.subscribers import SubscriberRegistry
from streamser.server.telemetry import Metrics, log_info
from streamser.server.transport import ClientSocket
from streamser.settings import ServerSettings, Settings

_READ_S: Final = 10.0


class ServerOptions(msgspec.Struct, frozen=True, eq=False):
    """Hold what is no setting, and other than usual in tests.

    ``build`` and ``timing`` are those of ``Analyzer``. A connection is asked every ``ping_s`` for
    a sign of life and given up where none comes in ``pong_s``; long, as a client who sends faster
    than it is listened to answers late.
    """

    build: Callable[[], Engine] | None = None
    timing: Timing = SYSTEM
    ping_s: float = 20.0
    pong_s: float = 60.0


class EmotionServer:
    """Serve streams and listeners on one port with one set of models.

    Raises ``ConfigError`` where the settings cannot be, or must not be, served with: other
    machines without tokens and TLS, unless ``server.insecure``. ``tell`` gets lines for people.
    """

    def __init__(
        self, settings: Settings, tell: Callable[[str], None], options: ServerOptions | None = None
    ) -> None:
        own = settings.server
        options = options or ServerOptions()
        self._settings = settings
        self._tell = tell
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self._tokens, self._tls = read_secrets(own)
        refuse_to_expose(own, self._tokens, self._tls)
        for warning in (shared_file(own.token_file), short_of_files(own), short_of_history(own)):
            if warning is not None:
                tell(warning)
        self._wholes: list[Callable[[], bool]] = []
        self.metrics = Metrics()
        self._host = _host(settings, tell, self.metrics, options)
        self._admission = Admission(own)
        self._admission.shares = self._tokens.owners > 1
        # Milliseconds of this century: more than a server before this one has ever counted.
        first = int(time.time() * 1000)
        bounds = (own.replay_events, own.meeting_keep_s, settings.mood.time_constant_s, first)
        self._hub: Hub
        self._kept: list[Retention] = []
        self.leave_asked = asyncio.Event()
        """Set once the cluster has asked this server to leave, within ``leave_s``."""
        self.leave_s: float | None = None
        self._cluster: ClusterNode | None = None
        if settings.cluster.redis is not None:
            self._hub = shared = SharedHub(*bounds, time.time() - time.monotonic())
            self._cluster = ClusterNode(settings, shared, self._admission, self._on_leave_asked)
            self._kept.append(shared_by_redis(settings.cluster.keep_s))
            self.metrics.registry.register(ClusterCollector(self._cluster.figures))
        else:
            self._hub = Hub(*bounds)
        follow_server(self.metrics, self._admission, self._hub, self._is_whole)
        self._handshake = make_handshake(settings, self._tokens, self._admission)
        self._sessions: SessionRegistry | None = None
        self._bots: BotRegistry | None = None
        self._subscribers = SubscriberRegistry(
            own, self._hub, self._admission, self.metrics, cluster=self._cluster
        )
        self._uploads = UploadDoor(own, self._handshake, self._admission, self.metrics)
        self._routes = Routes(
            self._admission,
            self.metrics,
            self._handshake,
            retention_html(own, self._kept),
            self._live_meetings,
            self._is_whole,
            self._cluster_away,
            self._uploads.read,
        )
        self._port = Port(
            own,
            self._tls,
            self._routes,
            self.metrics,
            self._decide,
            self._attend,
            self._uploads.serve,
            ping_s=options.ping_s,
            pong_s=options.pong_s,
        )

    @property
    def url(self) -> str:
        """Return the address of the page, with the port that was found."""
        return self._port.url

    @property
    def local_url(self) -> str:
        """Return the address for clients on this machine."""
        scheme, _, rest = self.url.partition("://")
        host, _, port = rest.rstrip("/").rpartition(":")
        everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
        return f"{scheme}://{everywhere.get(host, host)}:{port}"

    def listen_in(
        self,
        deliver: Callable[[EncodedEvent], None],
        *kept: Retention,
        is_whole: Callable[[], bool] = lambda: True,
    ) -> None:
        """Let ``deliver`` have every event of every session from now on, in their order.

        ``kept`` is what becomes of them, which the page tells people before they consent;
        ``is_whole`` says whether all of it was kept so far, which ``/readyz`` and the metrics tell.
        """
        self._kept += kept
        self._wholes.append(is_whole)
        self._routes.restate(retention_html(self._settings.server, self._kept))
        self._hub.subscribe(Subscription(Interest(), deliver), None, time.monotonic())

    async def start(self) -> None:
        """Open the port; streams are refused until ``load`` is done. Raises ``ConfigError``."""
        self._loop = asyncio.get_running_loop()
        await self._port.open()
        if self._cluster is not None:
            await self._cluster.member.start()

    async def load(self) -> ModelNames:
        """Load the models and let streams in; raises ``ModelError`` where one cannot be had."""
        hosted = await self._host.start()
        abilities, models = hosted.abilities, name_models(hosted.vad, hosted.abilities)
        self.metrics.watch(self._host)
        own, asr = self._settings.server, self._settings.asr
        limits = Limits(
            message_bytes=own.max_message_kib * 1024,
            idle_s=own.idle_s,
            session_s=own.session_s,
            resume_s=own.resume_s,
            speed=own.speed,
        )
        if models.asr is not None:
            self._handshake.languages = LanguageSupport(models.asr, abilities.languages)
        resources = StreamResources(
            settings=self._settings,
            host=self._host,
            models=models,
            modalities=abilities.modalities,
            limits=limits,
            language=self._handshake.languages.usual(asr.language),
        )
        self._uploads.resources = resources
        self._sessions = SessionRegistry(
            resources, self._hub, self._admission, self.metrics, self._cluster
        )
        self._bots = BotRegistry(self._sessions, self._admission, self._refuse, self.metrics)
        self._admission.gives_way = self._sessions.gives_way
        self._admission.has_models = lambda: self._host.is_ready
        self._admission.waiting_s = lambda: self._host.load().oldest_final_s
        self._admission.ready = True
        return models

    def reload_soon(self) -> None:
        """Let ``reload`` begin, also from a handler of signals; before the start do nothing."""
        if self._loop is None:
            return

        def begin() -> None:
            task = asyncio.ensure_future(self.reload())
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(begin)

    async def reload(self) -> None:
        """Read tokens and certificate anew, and close the connections of tokens that have gone.

        Where they cannot be, or must not be, served with, those there are stay, and a line says
        why.
        """
        own = self._settings.server
        if own.token_file is None and own.tls_cert is None:
            self._tell(
                "There is nothing to read anew: neither --token-file nor --tls-cert is given."
            )
            return
        async with self._reloading:
            try:
                reading = run_beside(partial(read_secrets, own), "streamser-reloading")
                # A pipe, or a disk that hangs, must not keep the next time from being better.
                async with asyncio.timeout(_READ_S):
                    tokens, tls = await reading
                refuse_to_expose(own, tokens, tls)
                if self._tls is not None:
                    # Those who are here keep what they have agreed on; newcomers get the new one.
                    assert own.tls_cert is not None
                    self._tls.load_cert_chain(own.tls_cert, own.tls_key)
            except TimeoutError:
                why = f"their files cannot be read within {_READ_S:g} s."
                self._tell(f"Tokens and certificate stay as they were: {why}")
                return
            except (ConfigError, OSError) as error:
                self._tell(f"Tokens and certificate stay as they were: {error}")
                return
            self._tokens = self._handshake.tokens = tokens.instead_of(self._tokens)
            self._admission.shares = self._tokens.owners > 1
            if (warning := shared_file(own.token_file)) is not None:
                self._tell(warning)
            gone = Ending(1008, "unauthorized")
            self._subscribers.disconnect(self._tokens.knows, gone)
            self._uploads.disconnect(self._tokens.knows)
            if self._sessions is not None and self._bots is not None:
                self._sessions.disconnect(self._tokens.knows, gone)
                self._bots.disconnect(self._tokens.knows, gone)
            self._tell("Tokens and certificate are read anew.")

    async def drain(self) -> None:
        """Take no stream more in, and let those there are end by themselves, for a while."""
        self._admission.draining = True
        if self._sessions is not None:
            asked_s, usual_s = self.leave_s, self._settings.server.drain_s
            within_s = usual_s if asked_s is None else asked_s
            if (self._admission.streams or self._uploads.uploads) and within_s:
                self._tell(f"No stream more is let in; those here may go on for {within_s:g} s.")
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._sessions.wait_until_empty()
                    await self._uploads.wait_until_empty()

    async def stop(self) -> None:
        """Take nobody more in, tell what is still to tell, close 1001; within the deadline."""
        self._admission.closing = True
        deadline = self._settings.server.shutdown_s
        until = time.monotonic() + deadline
        await self._uploads.stop()
        if self._sessions is not None:
            try:
                await asyncio.wait_for(self._sessions.finish_all(), deadline)
            except TimeoutError:
                # What the models have not answered by now fails, so that no final is missing.
                await self._let_models_go(0.0)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._sessions.finish_all(), CLOSE_S)
        self._subscribers.disconnect_all()
        if self._bots is not None:
            self._bots.disconnect(lambda _: False, Ending(1001, "the server is going away"))
        if self._cluster is not None:
            self._cluster.way.leaving.set()
            # Before the port is closed: clients that come back find what was told.
            await self._cluster.member.stop()
        if self._sessions is not None:
            # A connection waits for its stream, and the port for its connections.
            self._sessions.abandon_all()
        await self._port.close()
        # Models that are still on their way have nothing to tell.
        await self._let_models_go(
            0.0 if self._sessions is None else max(0.0, until - time.monotonic())
        )

    async def _let_models_go(self, within_s: float) -> None:
        # A library that hangs while it loads may hold what closing waits for.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._host.close(within_s), within_s + CLOSE_S)

    def _on_leave_asked(self, within_s: float) -> None:
        self.leave_s = within_s
        self.leave_asked.set()

    def _live_meetings(self) -> list[LiveMeeting]:
        here = list(self._hub.live_meetings(time.monotonic()))
        return here if self._cluster is None else here + self._cluster.meetings_elsewhere()

    def _cluster_away(self) -> str | None:
        return None if self._cluster is None else self._cluster.member.away

    def _is_whole(self) -> bool:
        return all(is_whole() for is_whole in self._wholes)

    def _decide(self, request: ConnectRequest) -> Decision:
        decision = decide(self._handshake, request)
        if isinstance(decision, Refusal | ListenGrant):
            return decision
        owner, refusal = decision.principal.name, None
        if self._sessions is None or self._bots is None:
            refusal = self._admission.refuse_unready()
        elif isinstance(decision, IngestGrant):
            nameless = self._cluster is not None and decision.meeting is None
            refusal = NAMELESS if nameless else self._bots.refuse_bot(owner)
        elif self._sessions.find(decision) is None:
            refusal = self._refuse(owner)
        return decision if refusal is None else refusal.of(owner)

    def _refuse(self, owner: str) -> Refusal | None:
        """Say why there is no room for a stream, also where one that waits gives way."""
        refusal = self._admission.refuse_stream(owner)
        lacking = refusal is not None and refusal.code in FULL
        if lacking and self._sessions is not None and self._sessions.make_room(owner):
            refusal = self._admission.refuse_stream(owner)
        return refusal

    async def _attend(self, socket: ClientSocket, decision: Grant) -> None:
        if not self._tokens.knows(decision.principal):
            # Read anew while it was at the door.
            gone = Refusal(401, 4401, "unauthorized", "the token is not known here any more")
            self.metrics.refused(gone.code)
            await turn_away(socket, gone)
        elif isinstance(decision, ListenGrant):
            await self._subscribers.serve(socket, decision)
        else:
            await self._serve_sender(socket, decision)

    async def _serve_sender(self, socket: ClientSocket, decision: SendGrant | IngestGrant) -> None:
        sessions, node = self._sessions, self._cluster
        assert sessions is not None, "nobody is let in before the models are loaded"
        known = isinstance(decision, SendGrant) and sessions.find(decision) is not None
        if node is None or known:
            await self._serve_here(socket, decision, Arrival())
            return
        with node.attending(decision.meeting):
            arrival = await node.arrive(decision)
            if arrival.home is None:
                await self._serve_here(socket, decision, arrival)
                return
            log_info("carried", to=arrival.home.name, meeting=decision.meeting)
            client = socket.client_address or (socket.remote_address or (None,))[0]
            code, why = await carry(socket, arrival.home.address, node.way, client)
            await close_socket(socket, Ending(code, why))

    async def _serve_here(
        self, socket: ClientSocket, decision: SendGrant | IngestGrant, arrival: Arrival
    ) -> None:
        sessions, bots = self._sessions, self._bots
        assert sessions is not None, "nobody is let in before the models are loaded"
        assert bots is not None, "they come with the sessions"
        if isinstance(decision, IngestGrant):
            await bots.serve(socket, decision)
            return
        own = self._settings.server
        limits = StreamLimits(own.idle_s, own.session_s, own.backlog_events)
        session = sessions.find(decision)
        if session is None:
            # Others may have come in since the door was passed.
            refusal = self._refuse(decision.principal.name)
            if refusal is not None:
                self.metrics.refused(refusal.code)
                await turn_away(socket, refusal)
                return
        dialect = decision.dialect if session is None else session.dialect
        connection = StreamConnection(socket, dialect, limits, self.metrics)
        if session is None:
            try:
                session = sessions.open(decision, connection, arrival.state)
            except Exception:
                await connection.drop()
                raise
        else:
            sessions.resume(session, decision, connection)
        ending = Ending(1011, "internal_error")
        try:
            ending = await connection.run(session.stream)
        finally:
            sessions.release(session, connection, ending)
        if ending.code == 1013:
            self.metrics.lost_listener()
        await close_socket(socket, ending)


def read_secrets(own: ServerSettings) -> tuple[Tokens, ssl.SSLContext | None]:
    """Read tokens and certificate; raises ``ConfigError``."""
    return read_tokens(own.token_file, os.environ), tls_context(own.tls_cert, own.tls_key)


def _host(
    settings: Settings, tell: Callable[[str], None], metrics: Metrics, options: ServerOptions
) -> SessionHost:
    """Host sessions in worker processes, unless something else is asked for."""
    processes = settings.worker.processes
    if options.build is not None or processes == 0:
        return LocalHost(
            Analyzer(
                settings,
                tell=tell,
                watch=metrics.batch,
                build=options.build,
                timing=options.timing,
            )
        )
    # Before any process begins: settings that do not go together are no fault of a worker's.
    endpointer_settings(settings.endpointing)
    for caveat in caveats_of(settings):
        tell(caveat)
    size = processes or useful_workers(settings)
    return WorkerProcesses(settings, size, tell, metrics.batch)


def follow_server(
    metrics: Metrics, admission: Admission, hub: Hub, is_whole: Callable[[], bool]
) -> None:
    """Let metrics tell who is there, and what is kept."""
    metrics.follow(
        streams=lambda: admission.streams,
        places=lambda: admission.places,
        listeners=lambda: admission.listeners,
        meetings=lambda: hub.meetings,
        kept=lambda: hub.kept,
        late_s=lambda: admission.late_s,
        incomplete=lambda: not is_whole(),
    )


def make_handshake(settings: Settings, tokens: Tokens, admission: Admission) -> Handshake:
    """Return what decides who may come in."""
    own = settings.server
    origins, hosts = read_origins(own.origins)
    names = (own.host, *hosts)
    known = (*names, "*") if own.insecure else names
    return Handshake(tokens, admission, stream_settings(settings), origins, known)


def decide(handshake: Handshake, request: ConnectRequest) -> Decision:
    """Decide about a request, now."""
    return handshake.decide(request, str(uuid.uuid4()), datetime.now(UTC).isoformat())
