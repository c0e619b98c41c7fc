"""Listeners from their beginning to their end."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamser.server.clients import (
    Ending,
    ListenerConnection,
    close_socket,
    send_apology,
    turn_away,
)
from streamser.server.cluster import ClusterNode
from streamser.server.handshake import ListenGrant, Principal
from streamser.server.limits import Admission, MessagePace, Refusal
from streamser.server.meetings.hub import Hub
from streamser.server.telemetry import Metrics, log_fault, log_info, peer_of
from streamser.server.transport import ClientSocket
from streamser.settings import ServerSettings


class SubscriberRegistry:
    """Let listeners hear what a hub passes on; ``now`` is the clock by which that is told."""

    def __init__(
        self,
        own: ServerSettings,
        hub: Hub,
        admission: Admission,
        metrics: Metrics,
        now: Callable[[], float] = time.monotonic,
        cluster: ClusterNode | None = None,
    ) -> None:
        self._own = own
        self._cluster = cluster
        self._hub = hub
        self._admission = admission
        self._metrics = metrics
        self._now = now
        self._listeners: dict[ListenerConnection, Principal] = {}

    async def serve(self, socket: ClientSocket, grant: ListenGrant) -> None:
        """Serve a listener until it is gone."""
        refusal = self._admission.refuse_listener(grant.principal.name)
        if refusal is not None:
            self._metrics.refused(refusal.code)
            await turn_away(socket, refusal)
            return
        interest = grant.interest
        if interest.session is not None and not self._hub.knows_session(interest.session):
            message = f"there is no session {interest.session[:80]!r}, or its events are forgotten"
            await turn_away(socket, Refusal(404, 4404, "unknown_session", message))
            return
        own = self._own
        pace = MessagePace(own.message_rate, own.message_burst)
        listener = ListenerConnection(
            socket, own.backlog_events, self._metrics.drops, self._now, pace
        )
        self._listeners[listener] = grant.principal
        peer, owner = peer_of(socket), grant.principal.name
        self._admission.enter_listener(owner)
        to = {"meeting": interest.meeting, "session": interest.session}
        log_info("listening", **to, peer=peer, owner=owner)
        try:
            if self._cluster is None or interest.meeting is None:
                ending = await listener.run(self._hub, interest, grant.after)
            else:
                async with self._cluster.listening(interest.meeting):
                    ending = await listener.run(self._hub, interest, grant.after)
        finally:
            del self._listeners[listener]
            self._admission.leave_listener(owner)
        if ending.fault is not None:
            log_fault(ending.fault, **to, peer=peer)
            self._metrics.fault()
            await send_apology(socket)
        if ending.code == 1013:
            self._metrics.lost_listener()
        log_info("left", **to, peer=peer, owner=owner, code=ending.code, reason=ending.why)
        await close_socket(socket, ending)

    def disconnect(self, may_stay: Callable[[Principal], bool], ending: Ending) -> None:
        """Let those go who may stay no more."""
        for listener, principal in list(self._listeners.items()):
            if not may_stay(principal):
                listener.end(ending)

    def disconnect_all(self) -> None:
        """Tell everybody that the server is going away."""
        for listener in list(self._listeners):
            listener.end(Ending(1001, "the server is going away"))
