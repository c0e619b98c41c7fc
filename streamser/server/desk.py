"""Streams from their beginning to their end, whatever becomes of their connections."""

from __future__ import annotations

import asyncio
import time
import uuid

from streamser.events import Event, SessionClosed
from streamser.server.actions import Dialect
from streamser.server.admission import Admission
from streamser.server.gate import Sending
from streamser.server.hub import Hub
from streamser.server.metrics import Metrics
from streamser.server.sender import Ending, Sender
from streamser.server.stream import LiveStream, Setting

__all__ = ["Desk", "Held"]


class Held:
    """Keep a stream, what it speaks, and the connection that it has at the moment."""

    def __init__(self, visit: Sending, session_id: str, desk: Desk) -> None:
        self.owner = visit.principal.name
        self.secret = visit.secret
        self.dialect: Dialect = visit.dialect
        self.sender: Sender | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self._desk = desk
        self.stream = LiveStream(session_id, visit.meeting, visit.asked, desk.setting, self.tell)

    def tell(self, event: Event) -> None:
        """Pass an event of the stream on to everybody."""
        self._desk.publish(self, event)
        if self.sender is not None:
            self.sender.tell(event)


class Desk:
    """Open streams, hold those whose clients have vanished, and give them back."""

    def __init__(
        self,
        setting: Setting,
        hub: Hub,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self.setting = setting
        self._hub = hub
        self._admission = admission
        self._metrics = metrics
        self._held: set[Held] = set()

    def find(self, visit: Sending) -> Held | None:
        """Return the stream that a client has come back for, if it goes on."""
        if visit.secret is None:
            return None
        for held in self._held:
            same = (held.owner, held.secret) == (visit.principal.name, visit.secret)
            if same and not held.stream.over:
                return held
        return None

    def open(self, visit: Sending, sender: Sender) -> Held:
        """Begin a stream."""
        self._hub.tidy(time.monotonic())
        held = Held(visit, f"sess_{uuid.uuid4().hex[:12]}", self)
        held.sender = sender
        self._held.add(held)
        self._admission.enter_stream(held.owner)
        held.stream.begin(self._hub.known_voice(visit.meeting, visit.asked.speaker))
        return held

    def give_back(self, held: Held, sender: Sender, after: int) -> None:
        """Let a stream go on with a new connection, telling it what it has missed."""
        if held.expiry is not None:
            held.expiry.cancel()
            held.expiry = None
        if held.sender is not None:
            # The client knows better than we whether its old connection is dead.
            held.sender.end(Ending(1001, "a newer connection has taken over", resumable=True))
        sender.replay(self._hub.events_since(held.stream.session_id, after))
        held.sender = sender
        held.stream.away = False
        held.stream.welcome_back()

    def release(self, held: Held, sender: Sender, *, resumable: bool) -> None:
        """Take note that a connection has ended: hold its stream for a while, or finish it."""
        if held.sender is not sender:
            return
        held.sender = None
        keep_s = self.setting.limits.resume_s
        if resumable and held.secret is not None and keep_s > 0 and not self._admission.closing:
            loop = asyncio.get_running_loop()
            held.expiry = loop.call_later(keep_s, held.stream.finish)
            held.stream.away = True
        else:
            held.stream.finish()

    async def finish_all(self) -> None:
        """End every stream and wait until all is told."""
        for held in list(self._held):
            if held.sender is not None:
                held.sender.end(Ending(1001, "the server is going away"))
            else:
                held.stream.finish()
        await asyncio.gather(*(held.stream.wait_until_over() for held in list(self._held)))

    def abandon_all(self) -> None:
        """Wait for nothing any more."""
        for held in list(self._held):
            held.stream.leave()

    def publish(self, held: Held, event: Event) -> None:
        """Pass an event of a stream on to the listeners."""
        if isinstance(event, SessionClosed):
            voice = held.stream.voice()
            if voice is not None:
                self._hub.keep_voice(event.session_id, voice)
        self._hub.publish(event, time.monotonic())
        self._metrics.event(event)
        if isinstance(event, SessionClosed):
            self._held.discard(held)
            self._admission.leave_stream(held.owner)
