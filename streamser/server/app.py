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
from msgspec.structs import replace

from streamser.config import ServerSettings, Settings
from streamser.errors import ConfigError
from streamser.events import Limits, ModelNames
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.engine import Engine
from streamser.pipeline.scheduler import SYSTEM, Timing
from streamser.server.actions import Tongues
from streamser.server.admission import FULL, Admission, Refusal
from streamser.server.aside import aside
from streamser.server.auth import Tokens, read_tokens
from streamser.server.backlog import Letter
from streamser.server.connection import Connection
from streamser.server.desk import Desk
from streamser.server.entrance import short_of_files
from streamser.server.exposure import read_origins, refuse_to_expose, shared_file, tls_context
from streamser.server.gate import Call, Gate, Listening, Sending, Visit
from streamser.server.history import short_of_history
from streamser.server.hub import Hub, Interest, Subscription
from streamser.server.lounge import Lounge
from streamser.server.metrics import Metrics
from streamser.server.port import CLOSE_S, Port, close, turn_away
from streamser.server.routes import Routes
from streamser.server.sender import Ending, Rules, Sender
from streamser.server.statement import Kept, state
from streamser.server.stream import Setting, stream_settings

__all__ = ["EmotionServer", "Fittings"]


_READ_S: Final = 10.0


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


class EmotionServer:
    """Serve streams and listeners on one port with one set of models.

    Raises ``ConfigError`` where the settings cannot be, or must not be, served with: other
    machines without tokens and TLS, unless ``server.insecure``. ``tell`` gets lines for people.
    """

    def __init__(
        self, settings: Settings, tell: Callable[[str], None], fittings: Fittings | None = None
    ) -> None:
        own = settings.server
        fittings = fittings or Fittings()
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
        self._analyzer = Analyzer(
            _with_processes(settings, fittings),
            tell=tell,
            watch=self.metrics.batch,
            build=fittings.build,
            timing=fittings.timing,
        )
        self._admission = Admission(own)
        self._admission.shares = self._tokens.owners > 1
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
            lambda: admission.late_s,
            lambda: not self._is_whole(),
        )
        origins, hosts = read_origins(own.origins)
        names = (own.host, *hosts)
        self._gate = Gate(
            self._tokens,
            self._admission,
            stream_settings(settings),
            origins,
            (*names, "*") if own.insecure else names,
        )
        self._desk: Desk | None = None
        self._lounge = Lounge(own, self._hub, self._admission, self.metrics)
        self._kept: list[Kept] = []
        self._routes = Routes(
            self._admission,
            self.metrics,
            self._gate,
            state(own, ()),
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
            ping_s=fittings.ping_s,
            pong_s=fittings.pong_s,
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
        deliver: Callable[[Letter], None],
        *kept: Kept,
        is_whole: Callable[[], bool] = lambda: True,
    ) -> None:
        """Let ``deliver`` have every event of every session from now on, in their order.

        ``kept`` is what becomes of them, which the page tells people before they consent;
        ``is_whole`` says whether all of it was kept so far, which ``/readyz`` and the metrics tell.
        """
        self._kept += kept
        self._wholes.append(is_whole)
        self._routes.state(state(self._settings.server, self._kept))
        self._hub.subscribe(Subscription(Interest(), deliver), None, time.monotonic())

    async def start(self) -> None:
        """Open the port; streams are refused until ``load`` is done. Raises ``ConfigError``."""
        self._loop = asyncio.get_running_loop()
        await self._port.open()

    async def load(self) -> ModelNames:
        """Load the models and let streams in; raises ``ModelError`` where one cannot be had."""
        models = await aside(self._analyzer.models, "streamser-loading")
        make_vad, workers = self._analyzer.equipment()
        abilities = await aside(workers.wait, "streamser-loading")
        self.metrics.watch(workers)
        own, asr = self._settings.server, self._settings.asr
        limits = Limits(
            message_bytes=own.max_message_kib * 1024,
            idle_s=own.idle_s,
            session_s=own.session_s,
            resume_s=own.resume_s,
            speed=own.speed,
        )
        if models.asr is not None:
            self._gate.tongues = Tongues(models.asr, abilities.languages)
        setting = Setting(
            settings=self._settings,
            make_vad=make_vad,
            new_speaker=workers.new_speaker,
            models=models,
            modalities=abilities.modalities,
            workers=workers,
            limits=limits,
            language=self._gate.tongues.usual(asr.language),
        )
        self._desk = Desk(setting, self._hub, self._admission, self.metrics)
        self._admission.gives_way = self._desk.gives_way
        self._admission.has_models = lambda: workers.is_ready
        self._admission.waiting_s = lambda: workers.load().oldest_final_s
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
                reading = aside(partial(_read_secrets, own), "streamser-reloading")
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
            self._tokens = self._gate.tokens = tokens.instead_of(self._tokens)
            self._admission.shares = self._tokens.owners > 1
            if (warning := shared_file(own.token_file)) is not None:
                self._tell(warning)
            gone = Ending(1008, "unauthorized")
            self._lounge.show_out(self._tokens.knows, gone)
            if self._desk is not None:
                self._desk.show_out(self._tokens.knows, gone)
            self._tell("Tokens and certificate are read anew.")

    async def drain(self) -> None:
        """Take no stream more in, and let those there are end by themselves, for a while."""
        self._admission.draining = True
        if self._desk is not None:
            within_s = self._settings.server.drain_s
            if self._admission.streams and within_s:
                self._tell(f"No stream more is let in; those here may go on for {within_s:g} s.")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._desk.wait_until_empty(), within_s)

    async def stop(self) -> None:
        """Take nobody more in, tell what is still to tell, close 1001; within the deadline."""
        self._admission.closing = True
        deadline = self._settings.server.shutdown_s
        until = time.monotonic() + deadline
        if self._desk is not None:
            try:
                await asyncio.wait_for(self._desk.finish_all(), deadline)
            except TimeoutError:
                # What the models have not answered by now fails, so that no final is missing.
                await self._let_models_go(0.0)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._desk.finish_all(), CLOSE_S)
        self._lounge.send_home()
        await self._port.close()
        if self._desk is not None:
            self._desk.abandon_all()
        # Models that are still on their way have nothing to tell.
        await self._let_models_go(0.0 if self._desk is None else max(0.0, until - time.monotonic()))

    async def _let_models_go(self, within_s: float) -> None:
        # A library that hangs while it loads may hold what closing waits for.
        with suppress(TimeoutError):
            close_models = partial(self._analyzer.close, within_s)
            await asyncio.wait_for(aside(close_models, "streamser-closing"), within_s + CLOSE_S)

    def _is_whole(self) -> bool:
        return all(is_whole() for is_whole in self._wholes)

    def _decide(self, call: Call) -> Visit:
        visit = self._gate.decide(call, str(uuid.uuid4()), datetime.now(UTC).isoformat())
        if isinstance(visit, Sending) and (self._desk is None or self._desk.find(visit) is None):
            owner = visit.principal.name
            refusal = self._refuse(owner)
            return visit if refusal is None else refusal.of(owner)
        return visit

    def _refuse(self, owner: str) -> Refusal | None:
        """Say why there is no room for a stream, also where one that waits gives way."""
        refusal = self._admission.refuse_stream(owner)
        lacking = refusal is not None and refusal.code in FULL
        if lacking and self._desk is not None and self._desk.make_room(owner):
            refusal = self._admission.refuse_stream(owner)
        return refusal

    async def _attend(self, connection: Connection, visit: Sending | Listening) -> None:
        if not self._tokens.knows(visit.principal):
            # Read anew while it was at the door.
            gone = Refusal(401, 4401, "unauthorized", "the token is not known here any more")
            self.metrics.refused(gone.code)
            await turn_away(connection, gone)
        elif isinstance(visit, Sending):
            await self._serve_sender(connection, visit)
        else:
            await self._lounge.attend(connection, visit)

    async def _serve_sender(self, connection: Connection, visit: Sending) -> None:
        desk = self._desk
        assert desk is not None, "nobody is let in before the models are loaded"
        own = self._settings.server
        rules = Rules(own.idle_s, own.session_s, own.backlog_events)
        held = desk.find(visit)
        if held is None:
            # Others may have come in since the door was passed.
            refusal = self._refuse(visit.principal.name)
            if refusal is not None:
                self.metrics.refused(refusal.code)
                await turn_away(connection, refusal)
                return
        dialect = visit.dialect if held is None else held.dialect
        sender = Sender(connection, dialect, rules, self.metrics)
        if held is None:
            try:
                held = desk.open(visit, sender)
            except Exception:
                await sender.abandon()
                raise
        else:
            desk.give_back(held, visit, sender)
        ending = Ending(1011, "internal_error")
        try:
            ending = await sender.run(held.stream)
        finally:
            desk.release(held, sender, ending)
        if ending.code == 1013:
            self.metrics.lost_listener()
        await close(connection, ending)


def _read_secrets(own: ServerSettings) -> tuple[Tokens, ssl.SSLContext | None]:
    return read_tokens(own.token_file, os.environ), tls_context(own.tls_cert, own.tls_key)


def _with_processes(settings: Settings, fittings: Fittings) -> Settings:
    """Keep models out of the process that talks to clients, unless something else is asked for."""
    if settings.worker.processes is not None or fittings.build is not None:
        return settings
    return replace(settings, worker=replace(settings.worker, processes=1))
