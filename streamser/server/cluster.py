"""Be one server of several: what the hub tells goes out, what others tell comes in."""

from __future__ import annotations

import asyncio
import socket as sockets
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamser import events
from streamser.certificates import trusted
from streamser.cluster.member import ClusterMember
from streamser.cluster.outbox import Hold, Post
from streamser.cluster.records import (
    MeetingPast,
    NodeState,
    StreamState,
    ToldEvent,
    name_of_stream,
)
from streamser.cluster.tunnel import Way
from streamser.errors import ConfigError
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.handshake import IngestGrant, SendGrant
from streamser.server.limits import Admission
from streamser.server.meetings.rooms import LiveMeeting
from streamser.server.meetings.shared import SharedHub
from streamser.server.telemetry import log_fault
from streamser.settings import Settings

__all__ = [
    "Arrival",
    "ClusterCollector",
    "ClusterFigures",
    "ClusterNode",
    "Repeats",
    "SharedStream",
]

_SESSIONS = ("session.created", "session.updated", "streamser.session.closed")
_SLACK_MS = 150
"""An utterance is cut anew within so much of where it was cut before."""


class Arrival(msgspec.Struct, frozen=True):
    """Say where a stream is to be served, if not here, and what was left of it elsewhere."""

    home: NodeState | None = None
    state: StreamState | None = None


class SharedStream(msgspec.Struct, frozen=True, eq=False):
    """Say of a stream what others need to go on with it.

    Its session's clock begins at ``at_ms`` of its sound; ``voice`` and ``speaker`` are asked when
    an utterance is finished.
    """

    secret: str | None
    at_ms: int
    voice: Callable[[], SessionSnapshot | None]
    speaker: Callable[[], str | None]


class Repeats:
    """Know the utterances that listeners were told of by a server that is gone; pure.

    Its client may not have heard of them, and has sent their sound again: they are told to it
    alone. ``until_ms`` is how far of the session's clock all was told.
    """

    def __init__(self, until_ms: int) -> None:
        self._until_ms = until_ms
        self._open: set[str] = set()
        """Known utterances whose finals are still to come: others may have begun by then."""
        self._beyond = until_ms <= 0
        self._last_known = not self._beyond

    def covers(self, event: events.Event) -> bool:
        """Return whether an event is of such an utterance; a mood is that of the last final's."""
        if isinstance(event, events.MoodUpdated):
            return self._last_known
        item_id = getattr(event, "item_id", None)
        if item_id is None:
            return False
        known = item_id in self._open or self._is_known(event)
        if isinstance(event, events.EmotionCompleted | events.TranscriptionFailed):
            self._last_known = known
            self._open.discard(item_id)
        elif known:
            self._open.add(item_id)
        return known

    def _is_known(self, event: events.Event) -> bool:
        """Say it of an utterance of which this is the first event with its place."""
        start_ms = None if self._beyond else _start_of(event)
        if start_ms is None:
            return False
        self._beyond = start_ms + _SLACK_MS >= self._until_ms
        return not self._beyond


class ClusterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a server does as one of several.

    ``waiting`` events wait for Redis, ``left_out`` were too many. ``taken_over`` meetings go on
    here whose server was gone, ``carried`` streams were carried on to that of their meeting.
    """

    redis_away: bool
    waiting: int
    left_out: int
    taken_over: int
    carried: int


class ClusterCollector(Collector):
    """Ask how it does as one of several only when somebody asks us."""

    def __init__(self, ask: Callable[[], ClusterFigures]) -> None:
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Yield the figures as they are now."""
        now = self._ask()
        yield GaugeMetricFamily(
            "streamser_cluster_redis_away", "1 while Redis cannot be reached.", now.redis_away
        )
        yield GaugeMetricFamily(
            "streamser_cluster_waiting_events", "Events that wait for Redis.", now.waiting
        )
        for name, about, value in (
            ("left_out_events", "Events that Redis never got: too many waited.", now.left_out),
            ("taken_over_meetings", "Meetings gone on with; their server died.", now.taken_over),
            ("carried_connections", "Streams carried on to their meeting's server.", now.carried),
        ):
            yield CounterMetricFamily(f"streamser_cluster_{name}", about, value)


class ClusterNode:
    """Let a server take part in a cluster; ``on_drain`` is called where it is asked to leave.

    Raises ``ConfigError`` where it cannot: others must know how to reach it.
    """

    def __init__(
        self,
        settings: Settings,
        hub: SharedHub,
        admission: Admission,
        on_drain: Callable[[float], None],
    ) -> None:
        own = settings.cluster
        if own.address is None or not own.address.startswith(("ws://", "wss://")):
            raise ConfigError(
                "cluster.address: say how other servers reach this one, such as ws://10.0.0.5:8377."
            )
        self._address = own.address
        self._hub = hub
        self._admission = admission
        self._on_drain = on_drain
        self.on_meeting_taken: Callable[[str], None] = lambda meeting: None
        """Called with a meeting that was here, and that another server has now."""
        self._streams: dict[str, SharedStream] = {}
        self._attending: Counter[str] = Counter()
        self._taken_over = 0
        self._carried = 0
        name = f"{own.node or sockets.gethostname()}-{uuid.uuid4().hex[:6]}"
        tls = None if own.tls_ca is None else trusted(own.tls_ca, "cluster.tls_ca")
        self.way = Way(name, tls, asyncio.Event())
        """How streams are carried on; they end once its ``leaving`` is set."""
        self.member = ClusterMember(own, name, self)
        hub.on_told = self.on_hub_told

    def figures(self) -> ClusterFigures:
        """Return how this server does as one of several."""
        return ClusterFigures(
            redis_away=self.member.away is not None,
            waiting=self.member.waiting,
            left_out=self.member.left_out,
            taken_over=self._taken_over,
            carried=self._carried,
        )

    # Streams

    async def arrive(self, grant: SendGrant | IngestGrant) -> Arrival:
        """Say where a stream is to be served."""
        meeting = grant.meeting
        state = None
        if meeting is not None:
            home = await self.member.place(meeting)
            if home is not None:
                self._carried += 1
                return Arrival(home)
        if grant.secret is not None:
            state = await self.member.stream_state(name_of_stream(grant.secret))
        return Arrival(None, state)

    @contextmanager
    def attending(self, meeting: str | None) -> Iterator[None]:
        """Keep a meeting here while a client is there that sends, until the block ends."""
        if meeting is None:
            yield
            return
        self._attending[meeting] += 1
        try:
            yield
        finally:
            self._attending[meeting] -= 1
            if not self._attending[meeting]:
                del self._attending[meeting]
            self._let_go(meeting)

    def share(self, session_id: str, stream: SharedStream) -> None:
        """Let others know of a stream, as far as they need to."""
        self._streams[session_id] = stream

    def unshare(self, session_id: str) -> None:
        """Let them know no more of a stream that is over."""
        self._streams.pop(session_id, None)

    # Listeners

    @asynccontextmanager
    async def listening(self, meeting: str) -> AsyncIterator[None]:
        """Have what is told of a meeting elsewhere, and was told before, until the block ends."""
        try:
            await self.member.follow(meeting)
            yield
        finally:
            if not self.member.unfollow(meeting) and not self.member.has(meeting):
                self._hub.forget_elsewhere(meeting)

    def meetings_elsewhere(self) -> list[LiveMeeting]:
        """Return the meetings that go on at other servers, as they were a moment ago."""
        return [
            LiveMeeting(name, streams, at_ms)
            for node in self.member.list_others()
            for name, streams, at_ms in node.meetings
        ]

    # What the hub tells

    def on_hub_told(
        self, told: ToldEvent, event: events.Event | events.ListenerEvent
    ) -> Hold | None:
        """Let the others have an event; return what is set once they have it.

        Nobody is told of a final before: where this server dies, either nobody knows of it, and
        its sound is heard again elsewhere, or everybody will.
        """
        match event:
            case events.EmotionCompleted() | events.TranscriptionFailed():
                return self.member.post(self._with_state(told, event), held=bool(told.meeting))
            case events.TranscriptionCompleted() | events.SpeakersChanged() if told.meeting:
                return self.member.post(Post(event=told), held=True)
            case events.SessionCreated() | events.SessionUpdated():
                if told.meeting:
                    self.member.post(Post(event=told, session=event.session_id))
                return None
            case events.SessionClosed():
                if told.meeting:
                    self.member.post(Post(event=told, session=event.session_id, ends=True))
                    # The hub counts it after it has told of it.
                    asyncio.get_running_loop().call_soon(self._let_go, told.meeting)
                return None
        if told.meeting:
            self.member.post(Post(event=told))
        return None

    def _with_state(
        self, told: ToldEvent, event: events.EmotionCompleted | events.TranscriptionFailed
    ) -> Post:
        stream = self._streams.get(event.session_id)
        if stream is None:
            return Post(event=told)
        try:
            voice = stream.voice()
        except Exception as error:
            # Worth less than the final: it is learnt anew.
            log_fault(error, session=event.session_id)
            voice = None
        speaker = stream.speaker()
        named = bool(told.meeting and speaker is not None and voice is not None)
        name = None if stream.secret is None else name_of_stream(stream.secret)
        return Post(
            event=told,
            stream=name,
            state=None
            if name is None
            else StreamState(
                told_ms=stream.at_ms + (event.clock_ms or 0), voice=None if named else voice
            ),
            speaker=speaker if named else None,
            voice=voice if named else None,
        )

    def _let_go(self, meeting: str) -> None:
        if not self._attending.get(meeting) and not self._hub.has_people(meeting):
            self.member.release(meeting)

    # What a member asks, and tells

    def state(self) -> NodeState:
        """Return how this server does."""
        live = self._hub.live_meetings(time.monotonic())
        return NodeState(
            name=self.member.name,
            address=self._address,
            streams=self._admission.streams,
            most_streams=self._admission.places,
            listeners=self._admission.listeners,
            draining=self._admission.leaving,
            meetings=tuple((each.meeting, each.streams, each.at_ms) for each in live),
        )

    def kept(self, meeting: str, after: int) -> Sequence[Post]:
        """Return what is kept of a meeting that is here, with the sessions that it introduces."""
        return [
            Post(
                event=told,
                session=kept.encoded.session_id if kept.kind in _SESSIONS else None,
                ends=kept.encoded.ends,
            )
            for kept, told in self._hub.kept_of(meeting, after)
        ]

    def known_up_to(self, meeting: str) -> int:
        """Return the last cursor of a meeting that is known here."""
        return self._hub.known_up_to(meeting)

    def closings(self, meeting: str) -> Sequence[Post]:
        """Return what ends the sessions of a meeting whose server is gone."""
        ended = self._hub.closings(meeting, time.monotonic())
        return [Post(event=told, session=session, ends=True) for session, told in ended]

    def on_past(self, meeting: str, past: MeetingPast) -> None:
        """Take in what was told of a meeting elsewhere."""
        self._hub.learn_past(meeting, past, time.monotonic())

    def on_home(self, meeting: str, past: MeetingPast) -> None:
        """Take in what was told of a meeting that is here now; its sessions elsewhere are over."""
        now = time.monotonic()
        self._hub.learn_between(meeting, past, now)
        self._taken_over += self._hub.take_over(meeting, now)

    def on_told(self, told: ToldEvent) -> None:
        """Take in what is told of a meeting elsewhere."""
        self._hub.relay(told, time.monotonic())

    def on_lost(self, meeting: str, past: MeetingPast, untold: Collection[int]) -> None:
        """Send those who speak to where their meeting is, and tell who listens what was told."""
        self._hub.learn_between(meeting, past, time.monotonic(), untold)
        self.on_meeting_taken(meeting)

    def on_drain(self, within_s: float) -> None:
        """End all streams within some seconds, and the server."""
        self._on_drain(within_s)


def _start_of(event: events.Event) -> int | None:
    match event:
        case events.EmotionCompleted(emotion=emotion):
            return emotion.window.start_ms
        case (
            events.SpeechStarted() | events.TranscriptionCompleted() | events.TranscriptionFailed()
        ):
            return event.audio_start_ms
    return None
