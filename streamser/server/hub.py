"""Where all sessions' events come together: numbered, kept for a while, passed on to listeners."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import TypeAlias

import msgspec

from streamser.events import (
    Cleared,
    Event,
    Finished,
    ListenerEvent,
    Marker,
    MeetingState,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SessionResumed,
    SessionState,
    SessionUpdated,
    Snapshot,
    encode_event,
)
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.backlog import Letter, can_be_left_out
from streamser.server.finished import FairLog
from streamser.server.journal import note_fault
from streamser.server.room import FINALS, LiveMeeting, Room

__all__ = ["Hub", "Interest", "Subscription"]

_BYTES = 64 * 2**20
"""Most that the kept events may take, however many they are."""
_ECHOES = 8
"""Of the kept events one in so many may be an echo of what a client has asked for: it may ask
again and again, and must push out nothing that was said."""
_IDLE_ROOMS = 256
"""Meetings that are remembered though everybody has left; those that go on are not counted."""
_LOOSE = 10 * FINALS
"""Finished utterances that are remembered of all sessions without a meeting: fair shares."""


class Interest(msgspec.Struct, frozen=True):
    """Say what a listener wants: a meeting, a session, or, with neither, everything.

    ``types`` are event types, or beginnings of them with ``*``; empty: all.
    """

    meeting: str | None = None
    session: str | None = None
    types: tuple[str, ...] = ()

    def wants(self, kept: _Kept) -> bool:
        """Return whether an event is wanted."""
        if self.session is not None and kept.letter.session_id != self.session:
            return False
        if self.meeting is not None and kept.meeting != self.meeting:
            return False
        return not self.types or any(_fits(kept.kind, pattern) for pattern in self.types)


class _Kept(msgspec.Struct, frozen=True):
    cursor: int
    meeting: str | None
    kind: str
    letter: Letter


_Echo: TypeAlias = Marker | Cleared | SessionUpdated | SessionResumed


class _Live(msgspec.Struct):
    info: SessionInfo
    seq: int
    began: float
    room: Room | None


class Subscription:
    """Receive what fits an interest; ``deliver`` is called with each letter, in order.

    ``fail`` is called with what ``deliver`` raised, and nothing is delivered after that.
    """

    def __init__(
        self,
        interest: Interest,
        deliver: Callable[[Letter], None],
        fail: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.interest = interest
        self.deliver = deliver
        self.fail = fail


class Hub:
    """Number, keep and pass on the events of all sessions; knows no socket and no clock.

    ``now`` is seconds of any steady clock. Cursors begin at ``first_cursor``: give each hub a
    greater one than its predecessor ever reached, and a listener of that one is understood.
    ``playback`` is the speed at which a recording is played, and then ``now`` is its time.
    """

    def __init__(
        self,
        keep: int,
        meeting_keep_s: float,
        mood_seconds: float,
        first_cursor: int,
        playback: float | None = None,
    ) -> None:
        self._most = keep
        self._meeting_keep_s = meeting_keep_s
        self._mood_seconds = mood_seconds
        self._playback = playback
        self._cursor = first_cursor
        self._kept: deque[_Kept] = deque()
        self._echoes: deque[_Kept] = deque()
        self._size = 0
        self._lost_up_to = first_cursor
        self._rooms: dict[str, Room] = {}
        self._live: dict[str, _Live] = {}
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
        states = (room.live(now) for room in self._rooms.values())
        return tuple(state for state in states if state.streams)

    def publish(self, event: Event, now: float) -> Letter:
        """Pass on a session's event, and what it changes in its meeting; return it as told."""
        if isinstance(event, SessionCreated):
            self._live[event.session_id] = _Live(event.session, 0, now, self._room(event, now))
        live = self._live[event.session_id]
        live.seq = event.seq
        if isinstance(event, SessionUpdated):
            live.info = event.session
        room = live.room
        began = live.began if room is None else room.began
        at_ms = round((now - began) * 1000)
        meeting = live.info.meeting
        letter = self._pass_on(event, meeting, at_ms)
        finals = self._finals if room is None else room.finals
        finals.take(event, meeting, live.info.speaker, at_ms, self._cursor)
        if room is not None:
            for told in room.mood.take(event, at_ms):
                self._pass_on(told, meeting, at_ms)
        if isinstance(event, SessionClosed):
            del self._live[event.session_id]
            if room is not None:
                room.leave(now)
                self._forget_idle()
        return letter

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
            kept.letter.session_id == session_id for kept in self._kept
        )

    def is_live(self, session_id: str) -> bool:
        """Return whether a session has begun and goes on."""
        return session_id in self._live

    def subscribe(
        self, subscription: Subscription, after: int | None, now: float
    ) -> tuple[Snapshot, list[Letter]]:
        """Begin to deliver; return the state as of now, and the events since ``after``.

        ``after`` is a ``seq`` where the interest is a session, else a cursor; 0 is before any,
        and asks for all that is still kept: then nothing counts as lost.
        """
        interest = subscription.interest
        missed = [] if after is None else self._since(interest, after)
        snapshot = Snapshot(
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
        wanted = missed if not interest.types else filter(interest.wants, missed)
        return snapshot, [kept.letter for kept in wanted]

    def unsubscribe(self, subscription: Subscription) -> None:
        """Deliver no more."""
        self._subscriptions.discard(subscription)

    def _room(self, event: SessionCreated, now: float) -> Room | None:
        name = event.session.meeting
        if name is None:
            return None
        if name not in self._rooms:
            self._rooms[name] = Room(name, now, self._mood_seconds)
        self._rooms[name].enter()
        return self._rooms[name]

    def _forget_idle(self) -> None:
        """Forget the meetings that were left longest ago, where there are too many."""
        idle = [(room.left, name) for name, room in self._rooms.items() if room.left is not None]
        for _, name in sorted(idle)[: max(0, len(idle) - _IDLE_ROOMS)]:
            del self._rooms[name]

    def _pass_on(self, event: Event | ListenerEvent, meeting: str | None, at_ms: int) -> Letter:
        self._cursor += 1
        body = encode_event(event)
        place = (
            b""
            if isinstance(event, ListenerEvent)
            else b',"meeting":%b,"at_ms":%d'
            % (
                msgspec.json.encode(meeting),
                at_ms,
            )
        )
        stamp = b',"cursor":%d%b}' % (self._cursor, place)
        letter = Letter(
            session_id=event.session_id if isinstance(event, Event) else "",
            seq=event.seq if isinstance(event, Event) else 0,
            clock_ms=(event.clock_ms or 0) if isinstance(event, Event) else 0,
            droppable=can_be_left_out(event),
            bodies=(body[:-1] + stamp,),
            stamp=stamp,
            ends=isinstance(event, SessionClosed),
        )
        kind = str(type(event).__struct_config__.tag)
        kept = _Kept(self._cursor, meeting, kind, letter)
        self._keep(kept, self._echoes if isinstance(event, _Echo) else self._kept)
        for subscription in list(self._subscriptions):
            if subscription.interest.wants(kept):
                self._deliver(subscription, letter)
        return letter

    def _deliver(self, subscription: Subscription, letter: Letter) -> None:
        try:
            subscription.deliver(letter)
        except Exception as error:
            # Whoever cannot listen must not harm those who speak, nor other listeners.
            note_fault(error, session=letter.session_id or None)
            self.unsubscribe(subscription)
            subscription.fail(error)

    def _keep(self, kept: _Kept, among: deque[_Kept]) -> None:
        among.append(kept)
        self._size += kept.letter.size
        while self._echoes and self._is_too_much(len(self._echoes), self._most // _ECHOES):
            # Nobody but who has asked for it misses it.
            self._size -= self._echoes.popleft().letter.size
        while self._is_too_much(len(self._kept), self._most):
            oldest = self._kept.popleft()
            self._size -= oldest.letter.size
            self._lost_up_to = oldest.cursor

    def _is_too_much(self, count: int, most: int) -> bool:
        return count > most or self._size > _BYTES

    def _since(self, interest: Interest, after: int) -> list[_Kept]:
        """Return what is kept of any type; for thousands of events, as all wait meanwhile."""
        session, meeting = interest.session, interest.meeting
        found: list[list[_Kept]] = []
        for kept in (self._kept, self._echoes):
            if session is not None:
                found.append(
                    [
                        each
                        for each in kept
                        if each.letter.session_id == session and each.letter.seq > after
                    ]
                )
                continue
            later = islice(kept, bisect_right(kept, after, key=_cursor), None)
            found.append([each for each in later if meeting is None or each.meeting == meeting])
        return list(merge(*found, key=_cursor)) if found[1] else found[0]

    def _lost_since(self, interest: Interest, after: int) -> bool:
        if interest.session is None:
            return not self._lost_up_to <= after <= self._cursor
        of_it = (kept for kept in self._kept if kept.letter.session_id == interest.session)
        if (first := next(of_it, None)) is not None:
            return first.letter.seq > after + 1
        live = self._live.get(interest.session)
        return live is not None and live.seq > after

    def _sessions_of(self, interest: Interest) -> Iterator[SessionState]:
        for session_id, live in self._live.items():
            if interest.session in (None, session_id) and interest.meeting in (
                None,
                live.info.meeting,
            ):
                yield SessionState(session=live.info, seq=live.seq)

    def _meetings_of(self, interest: Interest, now: float) -> Iterator[MeetingState]:
        if interest.session is not None:
            return
        for name, room in self._rooms.items():
            if interest.meeting in (None, name):
                yield room.state(now)

    def _finals_of(self, interest: Interest) -> tuple[Finished, ...]:
        logs = [*self._finals.logs, *(room.finals for room in self._rooms.values())]
        latest = merge(*(log.latest() for log in logs), key=lambda each: each[0], reverse=True)
        chosen = (
            final
            for _, final in latest
            if interest.session in (None, final.session_id)
            and interest.meeting in (None, final.meeting)
        )
        return tuple(islice(chosen, FINALS))[::-1]


def _cursor(kept: _Kept) -> int:
    return kept.cursor


def _fits(kind: str, pattern: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern
