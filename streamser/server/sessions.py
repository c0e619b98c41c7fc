"""Streams from their beginning to their end, whatever their connections do."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from streamser import events
from streamser.cluster.records import StreamState
from streamser.server.clients import Ending
from streamser.server.cluster import ClusterNode, Repeats, SharedStream
from streamser.server.dialects.commands import Dialect
from streamser.server.handshake import Principal, SendGrant, same_secret
from streamser.server.limits import Admission, BurstBudget, MessagePace
from streamser.server.meetings.finished import SessionProgress
from streamser.server.meetings.hub import Hub
from streamser.server.outgoing import EncodedEvent, ReplayBuffer, encode_stamped
from streamser.server.stream import LiveStream, StreamResources
from streamser.server.telemetry import Metrics, log_fault, log_info


class StreamEnd(Protocol):
    """Be the other end of a stream: a client's connection, or what stands for one."""

    @property
    def peer(self) -> str | None:
        """Return who sends the sound, as ``host:port``."""
        ...

    def send_event(self, event: events.Event, told: EncodedEvent | None = None) -> None:
        """Tell it of an event; ``told`` is that as others are told of it, if they are."""
        ...

    def refuse(self, session_id: str, error: events.ErrorBody) -> None:
        """Tell it what cannot be done."""
        ...

    def replay(self, encoded: list[EncodedEvent]) -> None:
        """Tell it what it has missed."""
        ...

    def end(self, ending: Ending) -> None:
        """Let it end."""
        ...

    def fail(self, error: Exception) -> None:
        """Let it end at once, as something of ours has failed."""
        ...


class ManagedSession:
    """Keep a stream, what it speaks, and the connection that it has at the moment."""

    def __init__(
        self,
        grant: SendGrant,
        session_id: str,
        registry: SessionRegistry,
        repeats: Repeats | None = None,
    ) -> None:
        self.owner = grant.principal.name
        self.principal = grant.principal
        self.secret = grant.secret
        self.dialect: Dialect = grant.dialect
        self.connection: StreamEnd | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.failed = False
        self.has_place = True
        """Whether it takes a place, which one that has given way does no more."""
        self.vanished_at = 0.0
        self.meeting = grant.meeting
        self.peer: str | None = None
        self.reason = ""
        self.repeats = repeats
        self.progress = SessionProgress()
        may_come_back = grant.secret is not None and registry.resources.limits.resume_s > 0
        self.replay_buffer = ReplayBuffer() if may_come_back else None
        self._registry = registry
        self.stream = LiveStream(
            session_id,
            grant.meeting,
            grant.asked,
            registry.resources,
            registry.message_pace(self.owner),
            self,
        )

    def on_event(self, event: events.Event) -> None:
        """Pass an event of the stream on to everybody."""
        took_s = self.progress.count(event, time.monotonic())
        encoded = self._registry.publish(self, event)
        late = self._registry.is_late(event, took_s)
        if self.connection is not None:
            self.connection.send_event(event, encoded)
            if late:
                self.connection.send_event(self.progress.late_notice(event))

    def on_refusal(self, error: events.ErrorBody) -> None:
        """Tell the client alone: what it does wrong is no event of its session."""
        if self.connection is not None:
            self.connection.refuse(self.stream.session_id, error)

    def log(self, what: str, **fields: str | float | None) -> None:
        """Write down what happens to the stream."""
        session_id = self.stream.session_id
        log_info(what, session=session_id, meeting=self.meeting, peer=self.peer, **fields)

    def log_fault(self, error: Exception) -> None:
        """Write down what has failed."""
        session_id = self.stream.session_id
        log_fault(error, session=session_id, meeting=self.meeting, peer=self.peer)

    def on_fault(self, error: Exception) -> None:
        """End the stream and its connection, as something has failed."""
        if self.connection is not None and not self.failed:
            # It tells its client, and comes to ``release`` with the fault.
            self.connection.fail(error)
        else:
            self._registry.fail(self, error)


class SessionRegistry:
    """Open streams, hold those whose clients have vanished, and give them back."""

    def __init__(
        self,
        resources: StreamResources,
        hub: Hub,
        admission: Admission,
        metrics: Metrics,
        cluster: ClusterNode | None = None,
    ) -> None:
        self.resources = resources
        self._cluster = cluster
        self._hub = hub
        self._admission = admission
        self._metrics = metrics
        self._sessions: set[ManagedSession] = set()
        if cluster is not None:
            cluster.on_meeting_taken = self.hand_over
        own = resources.settings.server
        self._bursts = BurstBudget(own.message_burst, own.max_sessions)

    def find(self, grant: SendGrant) -> ManagedSession | None:
        """Return the stream that a client has come back for, if it goes on."""
        if grant.secret is None:
            return None
        found = None
        for session in self._sessions:
            # All are looked at: how long it takes tells nothing of where the secret was found.
            if session.secret is None or not same_secret(session.secret, grant.secret):
                continue
            own = session.principal == grant.principal
            if own and session.has_place and not session.stream.over and not session.failed:
                found = session
        return found

    def open(
        self,
        grant: SendGrant,
        connection: StreamEnd,
        left: StreamState | None = None,
    ) -> ManagedSession:
        """Begin a stream; ``left`` is what a server that is gone has left of it."""
        self._hub.tidy(time.monotonic())
        repeats = None if left is None else Repeats(left.told_ms - grant.at_ms)
        session = ManagedSession(grant, f"sess_{uuid.uuid4().hex[:12]}", self, repeats)
        session.connection, session.peer = connection, connection.peer
        self._sessions.add(session)
        self._admission.enter_stream(session.owner)
        session.log("opened", owner=session.owner)
        if self._cluster is not None:
            shared = SharedStream(
                grant.secret,
                grant.at_ms,
                session.stream.voice,
                lambda: session.stream.asked.speaker,
            )
            self._cluster.share(session.stream.session_id, shared)
        try:
            voice = self._hub.known_voice(grant.meeting, grant.asked.speaker)
            session.stream.open(voice or (None if left is None else left.voice))
        except Exception:
            session.connection, session.reason = None, "internal_error"
            self._drop(session)
            raise
        return session

    def message_pace(self, owner: str) -> MessagePace:
        """Return how fast a new stream of an owner may send messages without sound."""
        own = self.resources.settings.server
        at_once = self._bursts.grant(owner, time.monotonic())
        return MessagePace(own.message_rate, own.message_burst, at_once)

    def resume(self, session: ManagedSession, grant: SendGrant, connection: StreamEnd) -> None:
        """Let a stream go on with a new connection, telling it what it has missed."""
        if session.expiry is not None:
            session.expiry.cancel()
            session.expiry = None
        if session.connection is not None:
            # The client knows better than we whether its old connection is dead.
            session.connection.end(
                Ending(1001, "a newer connection has taken over", resumable=True)
            )
        session.connection, session.peer = connection, connection.peer
        session.principal = grant.principal
        session.stream.away = False
        assert session.replay_buffer is not None, "without a secret nobody comes back"
        missed = session.replay_buffer.since(grant.after)
        connection.replay(list(missed.events))
        lost = {"lost_events": missed.lost_events, "lost_finals": missed.lost_finals}
        session.log("resumed", owner=session.owner, **(lost if missed.lost_events else {}))
        try:
            session.stream.welcome_back(missed)
        except Exception as error:
            connection.fail(error)

    def release(self, session: ManagedSession, connection: StreamEnd, ending: Ending) -> None:
        """Take note that a connection has ended: hold its stream for a while, or finish it."""
        if session.connection is not connection:
            which = {"session": session.stream.session_id, "meeting": session.meeting}
            if ending.fault is not None:
                log_fault(ending.fault, **which, peer=connection.peer)
            log_info("left", **which, peer=connection.peer, reason=ending.why)
            return
        session.connection, session.reason = None, ending.why
        if session.stream.over:
            if ending.fault is not None:
                session.log_fault(ending.fault)
                self._metrics.fault()
            session.log("closed", reason=session.reason)
            return
        if ending.fault is not None:
            self.fail(session, ending.fault)
            return
        keep_s = self.resources.limits.resume_s
        closing = self._admission.closing
        if ending.resumable and session.secret is not None and keep_s > 0 and not closing:
            loop = asyncio.get_running_loop()
            session.log("left", reason=session.reason, kept_s=keep_s)
            session.vanished_at = loop.time()
            session.expiry = loop.call_later(keep_s, self._finish, session)
            session.stream.away = True
        else:
            self._finish(session)

    def fail(self, session: ManagedSession, error: Exception) -> None:
        """End a stream that has failed: what it has heard is told to listeners, if it can be."""
        session.log_fault(error)
        self._metrics.fault()
        if session.failed:
            # A second time: nothing good is to be expected of it any more.
            self._drop(session)
            return
        session.failed = True
        try:
            session.stream.fail()
        except Exception as another:
            session.log_fault(another)
            self._drop(session)
        if session in self._sessions:
            patience_s = self.resources.settings.server.shutdown_s
            session.expiry = asyncio.get_running_loop().call_later(patience_s, self._drop, session)

    def disconnect(self, may_stay: Callable[[Principal], bool], ending: Ending) -> None:
        """End the streams of those who may stay no more: what they have said is still told."""
        for session in [session for session in self._sessions if not may_stay(session.principal)]:
            if session.connection is not None:
                session.connection.end(ending)
            else:
                session.reason = ending.why
                self._finish(session)

    def hand_over(self, meeting: str) -> None:
        """Let the streams of a meeting go on at the server that has it now.

        Who can come back sends again what had no final: that is told there, and not here, too.
        """
        moved = Ending(1001, "this meeting is at another server now")
        for session in [each for each in self._sessions if each.meeting == meeting]:
            connection, session.reason = session.connection, moved.why
            if session.secret is not None:
                if session.expiry is not None:
                    session.expiry.cancel()
                self._drop(session)
            if connection is not None:
                connection.end(moved)

    async def wait_until_empty(self) -> None:
        """Wait until every stream there is has ended, or has lost its client for good."""
        await asyncio.gather(
            *(session.stream.wait_until_over() for session in list(self._sessions))
        )

    async def finish_all(self) -> None:
        """End every stream and wait until all is told."""
        for session in list(self._sessions):
            if session.connection is not None:
                session.connection.end(Ending(1001, "the server is going away"))
            else:
                self._finish(session)
        await asyncio.gather(
            *(session.stream.wait_until_over() for session in list(self._sessions))
        )

    def abandon_all(self) -> None:
        """Wait for nothing any more."""
        for session in list(self._sessions):
            session.stream.abandon()

    def gives_way(self) -> bool:
        """Return whether a stream waits for a client that may not come back."""
        return bool(self._vanished())

    def make_room(self, owner: str) -> bool:
        """End the stream that has waited longest for its client; of this owner's, or of all.

        Its place is free at once, though what it has heard is still told.
        """
        waiting = self._vanished()
        own = [session for session in waiting if session.owner == owner]
        if not (waiting := waiting if self._admission.full and not own else own):
            return False
        session = min(waiting, key=lambda session: session.vanished_at)
        if session.expiry is not None:
            session.expiry.cancel()
        session.reason = "gave way"
        self._free_place(session)
        self._finish(session)
        return True

    def publish(self, session: ManagedSession, event: events.Event) -> EncodedEvent:
        """Pass an event of a stream on to the listeners; returns it as they are told."""
        if isinstance(event, events.SessionClosed) and not session.failed:
            try:
                voice = session.stream.voice()
            except Exception as error:
                # Worth less than a session that is closed: the voice is learnt anew.
                session.log_fault(error)
                voice = None
            if voice is not None:
                self._hub.keep_voice(event.session_id, voice)
        if session.repeats is not None and session.repeats.covers(event):
            encoded = encode_stamped(event, 0, None, 0)
        else:
            encoded = self._hub.publish(event, time.monotonic())
        if session.replay_buffer is not None:
            session.replay_buffer.add(event, encoded)
        self._metrics.event(event)
        if isinstance(event, events.SessionClosed):
            self._leave(session)
        return encoded

    def is_late(self, event: events.Event, took_s: float | None) -> bool:
        """Return whether an event is a final that took too long; ``took_s`` is what it has taken.

        Ordered sessions, which nobody hurries, tell no lag.
        """
        if took_s is None or event.lag_ms is None:
            return False
        late = self._admission.record_lag(took_s)
        if late:
            self._metrics.late_final()
        return late

    def _vanished(self) -> list[ManagedSession]:
        vanished = [
            session
            for session in self._sessions
            if session.connection is None and session.has_place
        ]
        return [session for session in vanished if not session.failed and not session.stream.over]

    def _free_place(self, session: ManagedSession) -> None:
        if session.has_place:
            session.has_place = False
            self._admission.leave_stream(session.owner)

    def _finish(self, session: ManagedSession) -> None:
        try:
            session.stream.finish()
        except Exception as error:
            self.fail(session, error)

    def _drop(self, session: ManagedSession) -> None:
        """Close a stream that cannot close itself."""
        if session not in self._sessions:
            return
        session.failed = True
        session.stream.abandon()
        session_id = session.stream.session_id
        if self._hub.is_live(session_id):
            self.publish(
                session, session.progress.closing_event(session_id, session.stream.reached_ms)
            )
        self._leave(session)

    def _leave(self, session: ManagedSession) -> None:
        if session not in self._sessions:
            return
        if session.failed and session.expiry is not None:
            session.expiry.cancel()
        self._sessions.discard(session)
        self._free_place(session)
        if self._cluster is not None:
            self._cluster.unshare(session.stream.session_id)
        if session.connection is None:
            session.log("closed", reason=session.reason)
