"""The server, live or of a recording: one port, from its first connection to the last final."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from streamser.errors import ConfigError
from streamser.events import Limits, ModelNames
from streamser.export.replay import Playback, Playlist
from streamser.hosting.hosted import LocalHost, run_beside
from streamser.hosting.pool import WorkerProcesses, useful_workers
from streamser.hosting.records import SessionHost
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import caveats_of, endpointer_settings, name_models
from streamser.pipeline.engine import Engine
from streamser.pipeline.scheduler import SYSTEM, Timing
from streamser.server.clients import CLOSE_S, Ending, turn_away
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
from streamser.server.hub import Hub, Subscription
from streamser.server.ingest.connection import BotRegistry
from streamser.server.limits import Admission, Refusal, shared_file, short_of_files
from streamser.server.outgoing import EncodedEvent, short_of_history
from streamser.server.recorder import Retention, retention_html
from streamser.server.sessions import SessionRegistry, SubscriberRegistry
from streamser.server.stream import StreamResources, stream_settings
from streamser.server.telemetry import Metrics
from streamser.server.transport import ClientSocket
from streamser.settings import ServerSettings, Settings

_READ_S: Final = 10.0

_AT_ONCE: Final = 64
"""Events that are told before the listeners' connections get their turn."""
_TOLD_EACH: Final = 4
"""At most that many events are told for one of the recording: itself, moods and shifts."""
_NO_STREAMS: Final = Refusal(
    403, 1008, "replay", "a recording is played here: you can watch, but not take part"
)


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
        self._tokens, self._tls = _read_secrets(own)
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
        self._hub = hub = Hub(
            own.replay_events,
            own.meeting_keep_s,
            settings.mood.time_constant_s,
            int(time.time() * 1000),
        )
        _follow(self.metrics, self._admission, hub, self._is_whole)
        self._handshake = _handshake(settings, self._tokens, self._admission)
        self._sessions: SessionRegistry | None = None
        self._bots: BotRegistry | None = None
        self._subscribers = SubscriberRegistry(own, self._hub, self._admission, self.metrics)
        self._kept: list[Retention] = []
        self._routes = Routes(
            self._admission,
            self.metrics,
            self._handshake,
            retention_html(own, ()),
            lambda: hub.live_meetings(time.monotonic()),
            self._is_whole,
        )
        self._port = Port(
            own,
            self._tls,
            self._routes,
            self.metrics,
            self._decide,
            self._attend,
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
        self._sessions = SessionRegistry(resources, self._hub, self._admission, self.metrics)
        self._bots = BotRegistry(self._sessions, self._admission, self.metrics)
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
                reading = run_beside(partial(_read_secrets, own), "streamser-reloading")
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
            if self._sessions is not None and self._bots is not None:
                self._sessions.disconnect(self._tokens.knows, gone)
                self._bots.disconnect(self._tokens.knows, gone)
            self._tell("Tokens and certificate are read anew.")

    async def drain(self) -> None:
        """Take no stream more in, and let those there are end by themselves, for a while."""
        self._admission.draining = True
        if self._sessions is not None:
            within_s = self._settings.server.drain_s
            if self._admission.streams and within_s:
                self._tell(f"No stream more is let in; those here may go on for {within_s:g} s.")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sessions.wait_until_empty(), within_s)

    async def stop(self) -> None:
        """Take nobody more in, tell what is still to tell, close 1001; within the deadline."""
        self._admission.closing = True
        deadline = self._settings.server.shutdown_s
        until = time.monotonic() + deadline
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

    def _is_whole(self) -> bool:
        return all(is_whole() for is_whole in self._wholes)

    def _decide(self, request: ConnectRequest) -> Decision:
        decision = _decide(self._handshake, request)
        if isinstance(decision, Refusal | ListenGrant):
            return decision
        owner = decision.principal.name
        refusal = None
        if self._sessions is None or self._bots is None:
            refusal = self._admission.refuse_unready()
        elif isinstance(decision, IngestGrant):
            refusal = self._admission.refuse_unready() or self._bots.refuse_bot(owner)
        elif self._sessions.find(decision) is None:
            refusal = self._sessions.refuse_stream(owner)
        return decision if refusal is None else refusal.of(owner)

    async def _attend(self, socket: ClientSocket, decision: Grant) -> None:
        if not self._tokens.knows(decision.principal):
            # Read anew while it was at the door.
            gone = Refusal(401, 4401, "unauthorized", "the token is not known here any more")
            self.metrics.refused(gone.code)
            await turn_away(socket, gone)
        elif isinstance(decision, SendGrant):
            assert self._sessions is not None, "nobody is let in before the models are loaded"
            await self._sessions.serve(socket, decision)
        elif isinstance(decision, IngestGrant):
            assert self._bots is not None, "nobody is let in before the models are loaded"
            await self._bots.serve(socket, decision)
        else:
            await self._subscribers.serve(socket, decision)


class ReplayServer:
    """Serve a score on one port: the page, and what listeners of a live server hear.

    The hub goes by the recording's clock, so moods are those that were told live. No models are
    loaded. ``now`` and ``sleep`` are the time that it is played by. Raises ``ConfigError`` as
    ``EmotionServer`` does.
    """

    def __init__(
        self,
        settings: Settings,
        score: Playlist,
        speed: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        own = settings.server
        tokens, tls = _read_secrets(own)
        refuse_to_expose(own, tokens, tls)
        self._now = now
        self._sleep = sleep
        self._playback = playback = Playback(score, speed)
        admission, metrics = Admission(own), Metrics()
        admission.ready = True
        admission.shares = tokens.owners > 1
        self._hub = hub = Hub(
            # Who comes late sees it from its beginning, with what is told of the meeting.
            max(own.replay_events, _TOLD_EACH * len(score.cues)),
            own.meeting_keep_s,
            settings.mood.time_constant_s,
            int(time.time() * 1000),
            playback=speed,
        )
        _follow(metrics, admission, hub, lambda: True)
        self._handshake = _handshake(settings, tokens, admission)
        self._subscribers = SubscriberRegistry(
            own, hub, admission, metrics, lambda: playback.at_ms / 1000.0
        )
        routes = Routes(
            admission,
            metrics,
            self._handshake,
            retention_html(own, ()),
            lambda: hub.live_meetings(playback.at_ms / 1000.0),
        )
        self._port = Port(own, tls, routes, metrics, self._decide, self._attend)

    @property
    def url(self) -> str:
        """Return the address of the page, with the port that was found."""
        return self._port.url

    async def start(self) -> None:
        """Open the port; raises ``ConfigError``."""
        await self._port.open()

    async def play(self) -> None:
        """Tell everything in its time; then the state stays for whoever still comes."""
        began, playback = self._now(), self._playback
        while not playback.is_over:
            for cue in playback.advance(self._now() - began, _AT_ONCE):
                self._hub.publish(cue.event, cue.at_ms / 1000.0)
            if not playback.is_over:
                await self._sleep(playback.wait_s(self._now() - began))

    async def stop(self) -> None:
        """Send everybody home, and close the port."""
        self._subscribers.disconnect_all()
        await self._port.close()

    def _decide(self, request: ConnectRequest) -> Decision:
        decision = _decide(self._handshake, request)
        sends = isinstance(decision, SendGrant | IngestGrant)
        return _NO_STREAMS if sends else decision

    async def _attend(self, socket: ClientSocket, decision: Grant) -> None:
        assert isinstance(decision, ListenGrant), "nobody is let in to send"
        await self._subscribers.serve(socket, decision)


def _read_secrets(own: ServerSettings) -> tuple[Tokens, ssl.SSLContext | None]:
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


def _follow(metrics: Metrics, admission: Admission, hub: Hub, is_whole: Callable[[], bool]) -> None:
    metrics.follow(
        streams=lambda: admission.streams,
        listeners=lambda: admission.listeners,
        meetings=lambda: hub.meetings,
        kept=lambda: hub.kept,
        late_s=lambda: admission.late_s,
        incomplete=lambda: not is_whole(),
    )


def _handshake(settings: Settings, tokens: Tokens, admission: Admission) -> Handshake:
    own = settings.server
    origins, hosts = read_origins(own.origins)
    names = (own.host, *hosts)
    known = (*names, "*") if own.insecure else names
    return Handshake(tokens, admission, stream_settings(settings), origins, known)


def _decide(handshake: Handshake, request: ConnectRequest) -> Decision:
    return handshake.decide(request, str(uuid.uuid4()), datetime.now(UTC).isoformat())
