"""Play a recording to listeners, as if it happened now; nobody can send."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from streamser.export.replay import Playback, Playlist
from streamser.server.admission import Admission, Refusal
from streamser.server.auth import read_tokens
from streamser.server.connection import Connection
from streamser.server.exposure import read_origins, refuse_to_expose, tls_context
from streamser.server.gate import Call, Gate, Listening, Sending, Visit
from streamser.server.hub import Hub
from streamser.server.lounge import Lounge
from streamser.server.metrics import Metrics
from streamser.server.port import Port
from streamser.server.routes import Routes
from streamser.server.statement import state
from streamser.server.stream import stream_settings
from streamser.settings import Settings

__all__ = ["ReplayServer"]

_AT_ONCE: Final = 64
"""Events that are told before the listeners' connections get their turn."""
_TOLD_EACH: Final = 4
"""At most that many events are told for one of the recording: itself, moods and shifts."""
_NO_STREAMS: Final = Refusal(
    403, 1008, "replay", "a recording is played here: you can watch, but not take part"
)


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
        tokens = read_tokens(own.token_file, os.environ)
        tls = tls_context(own.tls_cert, own.tls_key)
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
        metrics.follow(
            lambda: 0,
            lambda: admission.listeners,
            lambda: hub.meetings,
            lambda: hub.kept,
            lambda: 0.0,
        )
        origins, hosts = read_origins(own.origins)
        names = (own.host, *hosts)
        self._gate = Gate(
            tokens,
            admission,
            stream_settings(settings),
            origins,
            (*names, "*") if own.insecure else names,
        )
        self._lounge = Lounge(own, hub, admission, metrics, lambda: playback.at_ms / 1000.0)
        routes = Routes(
            admission,
            metrics,
            self._gate,
            state(own, ()),
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
        self._lounge.send_home()
        await self._port.close()

    def _decide(self, call: Call) -> Visit:
        visit = self._gate.decide(call, str(uuid.uuid4()), datetime.now(UTC).isoformat())
        return _NO_STREAMS if isinstance(visit, Sending) else visit

    async def _attend(self, connection: Connection, visit: Sending | Listening) -> None:
        assert isinstance(visit, Listening), "nobody is let in to send"
        await self._lounge.attend(connection, visit)
