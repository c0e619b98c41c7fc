"""Where all sessions' events come together: numbered, kept for a while, passed on to listeners.

What was finished is remembered longer, for whoever comes late.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import TypeAlias

from msgspec.structs import replace

from streamser import events
from streamser.cluster.outbox import Hold
from streamser.cluster.records import ToldEvent
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.finished import FairLog
from streamser.server.meetings.rooms import (
    FINALS,
    KeptEvent,
    LiveMeeting,
    LiveSession,
    MeetingRoom,
    kept_event,
)
from streamser.server.outgoing import EncodedEvent, encode_stamped
from streamser.server.telemetry import log_fault

_BYTES = 64 * 2**20
"""Most that the kept events may take, however many they are."""
_ECHOES = 8
"""Of the kept events one in so many may be an echo of what a client has asked for: it may ask
again and again, and must push out nothing that was said."""
_IDLE_ROOMS = 256
"""Meetings that are remembered though everybody has left; those that go on are not counted."""
_LOOSE = 10 * FINALS
"""Finished utterances that are remembered of all sessions without a meeting: fair shares."""

OnTold: TypeAlias = Callable[[ToldEvent, events.Event | events.ListenerEvent], Hold | None]
Echo: TypeAlias = events.Marker | events.Cleared | events.SessionUpdated | events.SessionResumed


class Subscription:
    """Receive what fits an interest; ``deliver`` is called with each event, in order.

    ``fail`` is called with what ``deliver`` raised, and nothing is delivered after that. ``renew``
    is called where something is learnt that came before what was delivered.
    """

    def __init__(
        self,
        interest: Interest,
        deliver: Callable[[EncodedEvent], None],
        fail: Callable[[Exception], None] = lambda error: None,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self.interest = interest
        self.deliver = deliver
        self.fail = fail
        self.renew = renew
        self.after = 0
        """What was told up to this cursor is known: of what is learnt late only newer is told."""


class Hub:
    """Number, keep and pass on the events of all sessions; knows no socket and no clock.

    ``now`` is seconds of any steady clock. Cursors begin at ``first_cursor``: give each hub a
    greater one than its predecessor ever reached, and a listener of that one is understood.
    ``playback`` is the speed at which a recording is played, and then ``now`` is its time.
    ``on_told``, where it is set, gets every event with its place; nobody is told of it before
    what it returns is set.
    """

    def __init__(
        self,
        keep: int,
        meeting_keep_s: float,
        mood_seconds: float,
        first_cursor: int,
        playback: float | None = None,
    ) -> None:
        self.on_told: OnTold | None = None
        self._most = keep
        self._meeting_keep_s = meeting_keep_s
        self._mood_seconds = mood_seconds
        self._playback = playback
        self._cursor = first_cursor
        self._kept: deque[KeptEvent] = deque()
        self._echoes: deque[KeptEvent] = deque()
        self._size = 0
        self._lost_up_to = first_cursor
        self._rooms: dict[str, MeetingRoom] = {}
        self._live: dict[str, LiveSession] = {}
        self._finals = FairLog(_LOOSE, FINALS)
        self._subscriptions: set[Subscription] = set()

    @property
    def meetings(self) -> int:
        """Return how many meetings are known."""
        return len(self._rooms)

    @property
    def kept(self) -> int:
        """Return how many events are kept."""
        return len(self._kept) + len(self._echoes)

    def live_meetings(self, now: float) -> tuple[LiveMeeting, ...]:
        """Return the meetings in which somebody is, as they began."""
        states = (room.live(now) for room in self._rooms.values() if room.here)
        return tuple(state for state in states if state.streams)

    def publish(self, event: events.Event, now: float) -> EncodedEvent:
        """Pass on a session's event, and what it changes in its meeting; return it as told."""
        if isinstance(event, events.SessionCreated):
            self._live[event.session_id] = LiveSession(
                event.session, 0, now, self._room(event, now)
            )
        live = self._live[event.session_id]
        live.seq = event.seq
        if isinstance(event, events.SessionUpdated):
            live.info = event.session
        room = live.room
        began = live.began if room is None else room.began
        at_ms = round((now - began) * 1000)
        meeting = live.info.meeting
        self._advance(now)
        live.count(event)
        encoded = self._deliver_all(event, meeting, at_ms, elsewhere=live.elsewhere)
        finals = self._finals if room is None else room.finals
        finals.take(event, meeting, live.info.speaker, at_ms, self._cursor)
        if room is not None:
            for told in room.mood.take(event, at_ms):
                self._deliver_all(told, meeting, at_ms)
        if isinstance(event, events.SessionClosed):
            del self._live[event.session_id]
            if room is not None:
                room.leave(now, here=not live.elsewhere)
                self._forget_idle()
        return encoded

    def tidy(self, now: float) -> None:
        """Forget meetings that everybody has left long ago."""
        for name, room in list(self._rooms.items()):
            if room.is_over(now, self._meeting_keep_s):
                del self._rooms[name]

    def known_voice(self, meeting: str | None, speaker: str | None) -> SessionSnapshot | None:
        """Return what an earlier session in the same meeting has learnt of the same speaker."""
        room = self._rooms.get(meeting or "")
        return None if room is None or speaker is None else room.voices.get(speaker)

    def keep_voice(self, session_id: str, voice: SessionSnapshot) -> None:
        """Keep what a session has learnt of its speaker, should they come back to the meeting."""
        live = self._live.get(session_id)
        if live is not None and live.room is not None and live.info.speaker is not None:
            live.room.keep_voice(live.info.speaker, voice)

    def knows_session(self, session_id: str) -> bool:
        """Return whether a session goes on, or some of its events are still kept."""
        return session_id in self._live or any(
            kept.encoded.session_id == session_id for kept in self._kept
        )

    def is_live(self, session_id: str) -> bool:
        """Return whether a session has begun and goes on."""
        return session_id in self._live

    def subscribe(
        self, subscription: Subscription, after: int | None, now: float
    ) -> tuple[events.Snapshot, list[EncodedEvent]]:
        """Begin to deliver; return the state as of now, and the events since ``after``.

        ``after`` is a ``seq`` where the interest is a session, else a cursor; 0 is before any,
        and asks for all that is still kept: then nothing counts as lost.
        """
        interest = subscription.interest
        room = self._rooms.get(interest.meeting or "")
        seen = 0 if after is None or interest.session is not None else after
        subscription.after = max(seen, 0 if room is None else room.newest)
        missed = [] if after is None else self._since(interest, after)
        snapshot = events.Snapshot(
            event_id=f"event_snapshot_{self._cursor}",
            cursor=self._cursor,
            replay_from=missed[0].cursor if missed else None,
            lost=after is not None and after > 0 and self._lost_since(interest, after),
            playback=self._playback,
            sessions=tuple(self._sessions_of(interest)),
            meetings=tuple(self._meetings_of(interest, now)),
            finals=self._finals_of(interest),
        )
        self._subscriptions.add(subscription)
        return snapshot, [
            kept.encoded for kept in missed if not interest.types or kept.is_for(interest)
        ]

    def unsubscribe(self, subscription: Subscription) -> None:
        """Deliver no more."""
        self._subscriptions.discard(subscription)

    def _advance(self, now: float) -> None:
        """Let cursors go on with the time, where they are to."""

    def _room(self, event: events.SessionCreated, now: float) -> MeetingRoom | None:
        name = event.session.meeting
        if name is None:
            return None
        if name not in self._rooms:
            self._rooms[name] = MeetingRoom(name, now, self._mood_seconds)
        self._rooms[name].come_here(now)
        self._rooms[name].enter(here=True)
        return self._rooms[name]

    def _forget_idle(self) -> None:
        """Forget the meetings that were left longest ago, where there are too many."""
        idle = [(room.left, name) for name, room in self._rooms.items() if room.left is not None]
        for _, name in sorted(idle)[: max(0, len(idle) - _IDLE_ROOMS)]:
            del self._rooms[name]

    def _deliver_all(
        self,
        event: events.Event | events.ListenerEvent,
        meeting: str | None,
        at_ms: int,
        *,
        elsewhere: bool = False,
    ) -> EncodedEvent:
        self._cursor += 1
        encoded = encode_stamped(event, self._cursor, meeting, at_ms)
        kept = kept_event(self._cursor, meeting, event, encoded, at_ms, elsewhere=elsewhere)
        if (room := self._rooms.get(meeting or "")) is not None:
            room.newest = self._cursor
        if self.on_told is not None:
            told = ToldEvent(
                cursor=kept.cursor,
                meeting=meeting or "",
                at_ms=at_ms,
                line=encoded.line,
                stays=kept.stays and meeting is not None,
            )
            held_by = self.on_told(told, event)
            encoded = replace(encoded, held_by=held_by)
            kept = replace(kept, encoded=encoded)
        self._pass_on(kept, event)
        return encoded

    def _pass_on(self, kept: KeptEvent, event: events.Event | events.ListenerEvent) -> None:
        self._keep(kept, self._echoes if isinstance(event, Echo) else self._kept)
        for subscription in list(self._subscriptions):
            known = kept.elsewhere and kept.cursor <= subscription.after
            if not known and kept.is_for(subscription.interest):
                subscription.after = max(subscription.after, kept.cursor)
                self._deliver(subscription, kept.encoded)

    def _deliver(self, subscription: Subscription, encoded: EncodedEvent) -> None:
        try:
            subscription.deliver(encoded)
        except Exception as error:
            # Whoever cannot listen must not harm those who speak, nor other listeners.
            log_fault(error, session=encoded.session_id or None)
            self.unsubscribe(subscription)
            subscription.fail(error)

    def _keep(self, kept: KeptEvent, among: deque[KeptEvent]) -> None:
        if among and among[-1].cursor > kept.cursor:
            # What comes from elsewhere comes later.
            among.insert(bisect_right(among, kept.cursor, key=cursor_of), kept)
        else:
            among.append(kept)
        self._size += kept.encoded.size
        while self._echoes and self._is_too_much(len(self._echoes), self._most // _ECHOES):
            # Nobody but who has asked for it misses it.
            self._size -= self._echoes.popleft().encoded.size
        while self._is_too_much(len(self._kept), self._most):
            oldest = self._kept.popleft()
            self._size -= oldest.encoded.size
            self._lost_up_to = max(self._lost_up_to, oldest.cursor)
            if (room := self._rooms.get(oldest.meeting or "")) is not None:
                room.lost_up_to = oldest.cursor

    def _is_too_much(self, count: int, most: int) -> bool:
        return count > most or self._size > _BYTES

    def _since(self, interest: Interest, after: int) -> list[KeptEvent]:
        """Return what is kept of any type; for thousands of events, as all wait meanwhile."""
        session, meeting = interest.session, interest.meeting
        found: list[list[KeptEvent]] = []
        for kept in (self._kept, self._echoes):
            if session is not None:
                found.append(
                    [
                        each
                        for each in kept
                        if each.encoded.session_id == session and each.encoded.seq > after
                    ]
                )
                continue
            later = islice(kept, bisect_right(kept, after, key=cursor_of), None)
            found.append([each for each in later if meeting is None or each.meeting == meeting])
        return list(merge(*found, key=cursor_of)) if found[1] else found[0]

    def _lost_since(self, interest: Interest, after: int) -> bool:
        if interest.session is None:
            lost_up_to = self._lost_up_to_of(interest.meeting)
            return not lost_up_to <= after <= self._cursor
        of_it = (kept for kept in self._kept if kept.encoded.session_id == interest.session)
        if (first := next(of_it, None)) is not None:
            return first.encoded.seq > after + 1
        live = self._live.get(interest.session)
        return live is not None and live.seq > after

    def _lost_up_to_of(self, meeting: str | None) -> int:
        """Return the last cursor of which something is kept no more."""
        return self._lost_up_to

    def _sessions_of(self, interest: Interest) -> Iterator[events.SessionState]:
        for session_id, live in self._live.items():
            if live.elsewhere and interest.meeting is None:
                continue
            if interest.session in (None, session_id) and interest.meeting in (
                None,
                live.info.meeting,
            ):
                yield events.SessionState(session=live.info, seq=live.seq)

    def _meetings_of(self, interest: Interest, now: float) -> Iterator[events.MeetingState]:
        if interest.session is not None:
            return
        for name, room in self._rooms.items():
            if interest.meeting == name or (interest.meeting is None and not room.elsewhere):
                yield room.state(now)

    def _finals_of(self, interest: Interest) -> tuple[events.Finished, ...]:
        wanted = (
            room
            for room in self._rooms.values()
            if not room.elsewhere or interest.meeting is not None
        )
        logs = [*self._finals.logs, *(room.finals for room in wanted)]
        latest = merge(*(log.latest() for log in logs), key=lambda each: each[0], reverse=True)
        chosen = (
            final
            for _, final in latest
            if interest.session in (None, final.session_id)
            and interest.meeting in (None, final.meeting)
        )
        return tuple(islice(chosen, FINALS))[::-1]


def cursor_of(kept: KeptEvent) -> int:
    """Return the place of an event, to sort by."""
    return kept.cursor
