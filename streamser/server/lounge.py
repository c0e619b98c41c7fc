"""Where listeners are: each served until it leaves, all told when the server goes."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamser.server.admission import Admission, Refusal
from streamser.server.auth import Principal
from streamser.server.connection import Connection
from streamser.server.gate import Listening
from streamser.server.hub import Hub
from streamser.server.journal import note, note_fault, peer_of
from streamser.server.listener import Listener
from streamser.server.metrics import Metrics
from streamser.server.pace import MessagePace
from streamser.server.port import apologise, close, turn_away
from streamser.server.sender import Ending
from streamser.settings import ServerSettings

__all__ = ["Lounge"]


class Lounge:
    """Let listeners hear what a hub passes on; ``now`` is the clock by which that is told."""

    def __init__(
        self,
        own: ServerSettings,
        hub: Hub,
        admission: Admission,
        metrics: Metrics,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own
        self._hub = hub
        self._admission = admission
        self._metrics = metrics
        self._now = now
        self._listeners: dict[Listener, Principal] = {}

    async def attend(self, connection: Connection, visit: Listening) -> None:
        """Serve a listener until it is gone."""
        refusal = self._admission.refuse_listener(visit.principal.name)
        if refusal is not None:
            self._metrics.refused(refusal.code)
            await turn_away(connection, refusal)
            return
        interest = visit.interest
        if interest.session is not None and not self._hub.knows_session(interest.session):
            message = f"there is no session {interest.session[:80]!r}, or its events are forgotten"
            await turn_away(connection, Refusal(404, 4404, "unknown_session", message))
            return
        own = self._own
        pace = MessagePace(own.message_rate, own.message_burst)
        listener = Listener(connection, own.backlog_events, self._metrics.drops, self._now, pace)
        self._listeners[listener] = visit.principal
        peer, owner = peer_of(connection), visit.principal.name
        self._admission.enter_listener(owner)
        to = {"meeting": interest.meeting, "session": interest.session}
        note("listening", **to, peer=peer, owner=owner)
        try:
            ending = await listener.run(self._hub, interest, visit.after)
        finally:
            del self._listeners[listener]
            self._admission.leave_listener(owner)
        if ending.fault is not None:
            note_fault(ending.fault, **to, peer=peer)
            self._metrics.fault()
            await apologise(connection)
        if ending.code == 1013:
            self._metrics.lost_listener()
        note("left", **to, peer=peer, owner=owner, code=ending.code, reason=ending.why)
        await close(connection, ending)

    def show_out(self, may_stay: Callable[[Principal], bool], ending: Ending) -> None:
        """Let those go who may stay no more."""
        for listener, principal in list(self._listeners.items()):
            if not may_stay(principal):
                listener.end(ending)

    def send_home(self) -> None:
        """Tell everybody that the server is going away."""
        for listener in list(self._listeners):
            listener.end(Ending(1001, "the server is going away"))
