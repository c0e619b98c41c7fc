"""The server of a recording: the page, and what listeners of a live server heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from streamser.export.replay import Playback, Playlist
from streamser.server.app import decide, follow_server, make_handshake, read_secrets
from streamser.server.exposure import refuse_to_expose
from streamser.server.handshake import (
    ConnectRequest,
    Decision,
    Grant,
    IngestGrant,
    ListenGrant,
    SendGrant,
)
from streamser.server.http import Port, Routes
from streamser.server.limits import Admission, Refusal
from streamser.server.meetings.hub import Hub
from streamser.server.recorder import retention_html
from streamser.server.subscribers import SubscriberRegistry
from streamser.server.telemetry import Metrics
from streamser.server.transport import ClientSocket
from streamser.settings import Settings

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
        tokens, tls = read_secrets(own)
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
        follow_server(metrics, admission, hub, lambda: True)
        self._handshake = make_handshake(settings, tokens, admission)
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
        decision = decide(self._handshake, request)
        return _NO_STREAMS if isinstance(decision, SendGrant | IngestGrant) else decision

    async def _attend(self, socket: ClientSocket, decision: Grant) -> None:
        assert isinstance(decision, ListenGrant), "nobody is let in to send"
        await self._subscribers.serve(socket, decision)
