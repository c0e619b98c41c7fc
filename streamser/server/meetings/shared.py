"""A hub of one server among several: meetings that are elsewhere, were, or come here unknown."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import merge
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from streamser import events
from streamser.cluster.records import MeetingPast, ToldEvent
from streamser.server.meetings.finished import FinishedLog
from streamser.server.meetings.hub import Echo, Hub, cursor_of
from streamser.server.meetings.meeting import MeetingMood
from streamser.server.meetings.rooms import (
    FINALS,
    KeptEvent,
    LiveSession,
    MeetingRoom,
    kept_event,
)
from streamser.server.outgoing import encode_stamped

__all__ = ["SharedHub"]

_Placed: TypeAlias = tuple[KeptEvent | ToldEvent, events.Event | events.ListenerEvent]
_Final: TypeAlias = (
    events.EmotionCompleted | events.TranscriptionCompleted | events.TranscriptionFailed
)


class SharedHub(Hub):
    """Let cursors go on with the time, so that those of several servers follow each other.

    ``century_s`` is what is to be added to ``now`` for the seconds of this century; the rest is
    as a ``Hub`` has it.
    """

    def __init__(
        self,
        keep: int,
        meeting_keep_s: float,
        mood_seconds: float,
        first_cursor: int,
        century_s: float,
    ) -> None:
        super().__init__(keep, meeting_keep_s, mood_seconds, first_cursor)
        self._century_s = century_s

    # What other servers tell

    def learn_past(self, meeting: str, past: MeetingPast, now: float) -> None:
        """Take in what was told of a meeting elsewhere, as if it had been told here."""
        for line in past.sessions:
            self._introduce(meeting, line, past, now)
        for told in past.told:
            self.relay(told, now)
        self._learn_rest(meeting, past)

    def relay(self, told: ToldEvent, now: float) -> None:
        """Pass on what another server tells of a meeting, to those who listen to that one."""
        room = self._rooms.get(told.meeting)
        if room is not None and told.cursor <= room.newest:
            return
        event = self._read(told)
        if event is None:
            return
        if isinstance(event, events.SessionClosed) and event.session_id not in self._live:
            # Who takes a meeting over says so, and its server, should it come back.
            return
        room = room or self._room_elsewhere(told)
        # It may have been here until everybody had left.
        room.elsewhere = not room.here
        room.newest, room.reached_ms = told.cursor, max(room.reached_ms, told.at_ms)
        self._cursor = max(self._cursor, told.cursor)
        if isinstance(event, events.Event):
            self._follow_elsewhere(event, room, told, now)
        self._pass_on(_kept(told, event), event)

    def learn_between(
        self, meeting: str, past: MeetingPast, now: float, without: Collection[int] = ()
    ) -> None:
        """Take in what was told elsewhere before and while something was told here.

        The past is put in its places, and moods, counts and finals are those of the whole. A
        meeting that was begun here without it goes on with the clock that it had: what was told
        here is later on that. Whoever was told something newer is told nothing older, but is let
        go, to come anew and see it all. ``without`` are cursors of what nobody was told here,
        and never will be.
        """
        own = [kept for kept in self._all_kept() if kept.meeting == meeting]
        lines = {kept.encoded.line for kept in own}
        read = [(told, self._read(told)) for told in past.told if told.line not in lines]
        fresh = [(told, event) for told, event in read if event is not None]
        room = self._rooms.get(meeting)
        if room is None or not (without or any(t.cursor <= room.newest for t, _ in fresh)):
            told = tuple(told for told, _ in fresh)
            ended = {kept.encoded.session_id for kept in own if kept.encoded.ends}
            self.learn_past(meeting, self._without(ended, replace(past, told=told)), now)
            return
        own = [kept for kept in own if kept.cursor not in without]
        self._forget_kept(meeting)
        self._rebuild(room, own, fresh, past, now)
        self._learn_rest(meeting, past)
        self._tell_between(room, fresh)

    def take_over(self, meeting: str, now: float) -> bool:
        """Go on with a meeting whose server is gone: the sessions that it had are over.

        Returns whether it had any.
        """
        if (room := self._rooms.get(meeting)) is not None:
            room.come_here(now)
        gone = self._elsewhere_in(meeting)
        for session_id, live in gone:
            self.publish(live.closing(session_id), now)
        return bool(gone)

    def closings(self, meeting: str, now: float) -> list[tuple[str, ToldEvent]]:
        """Return what ends the sessions of a meeting whose server is gone, by session.

        Nobody is told of it here: it comes back from who was first to say it.
        """
        room = self._rooms.get(meeting)
        found = []
        for session_id, live in self._elsewhere_in(meeting):
            self._advance(now)
            self._cursor += 1
            began = now if room is None else room.began
            reached = 0 if room is None else room.reached_ms
            told = ToldEvent(
                cursor=self._cursor,
                meeting=meeting,
                at_ms=max(reached, round((now - began) * 1000)),
                line=events.encode_event(live.closing(session_id)),
                stays=True,
            )
            found.append((session_id, told))
        return found

    # What is here

    def known_up_to(self, meeting: str) -> int:
        """Return the last cursor of a meeting that is known; 0 where none is."""
        room = self._rooms.get(meeting)
        return 0 if room is None else room.newest

    def kept_of(self, meeting: str, after: int) -> list[tuple[KeptEvent, ToldEvent]]:
        """Return what is kept of a meeting and stays, past a cursor, in order."""
        return [
            (
                kept,
                ToldEvent(
                    cursor=kept.cursor,
                    meeting=meeting,
                    at_ms=kept.at_ms,
                    line=kept.encoded.line,
                    stays=True,
                ),
            )
            for kept in self._all_kept()
            if kept.meeting == meeting and kept.cursor > after and kept.stays
        ]

    def has_people(self, meeting: str) -> bool:
        """Return whether anybody is in a meeting, wherever."""
        room = self._rooms.get(meeting)
        return room is not None and room.left is None

    def forget_elsewhere(self, meeting: str) -> None:
        """Forget a meeting that is elsewhere, and to which nobody listens here any more."""
        room = self._rooms.get(meeting)
        if room is None or not room.elsewhere:
            return
        del self._rooms[meeting]
        for session_id in [each for each, live in self._live.items() if live.room is room]:
            del self._live[session_id]
        self._forget_kept(meeting)

    def _advance(self, now: float) -> None:
        self._cursor = max(self._cursor, round((now + self._century_s) * 1000) - 1)

    def _lost_up_to_of(self, meeting: str | None) -> int:
        room = self._rooms.get(meeting or "")
        return self._lost_up_to if room is None else room.lost_up_to

    def _read(self, told: ToldEvent) -> events.Event | events.ListenerEvent | None:
        """Return an event of another server, unless nobody here is to be told of it."""
        try:
            event = events.decode_event(told.line)
        except msgspec.DecodeError:
            # Of a newer server.
            return None
        live = self._live.get(event.session_id) if isinstance(event, events.Event) else None
        # Where two have a meeting, the other says of those here that they have left.
        return event if live is None or live.elsewhere else None

    def _elsewhere_in(self, meeting: str) -> list[tuple[str, LiveSession]]:
        return [
            (session_id, live)
            for session_id, live in self._live.items()
            if live.elsewhere and live.info.meeting == meeting
        ]

    def _all_kept(self) -> Iterator[KeptEvent]:
        return merge(self._kept, self._echoes, key=cursor_of)

    def _forget_kept(self, meeting: str) -> None:
        for among in (self._kept, self._echoes):
            left = [kept for kept in among if kept.meeting != meeting]
            among.clear()
            among.extend(left)
        self._size = sum(kept.encoded.size for kept in (*self._kept, *self._echoes))

    def _learn_rest(self, meeting: str, past: MeetingPast) -> None:
        if (room := self._rooms.get(meeting)) is not None:
            room.lost_up_to = max(room.lost_up_to, past.lost_up_to)
            for speaker, voice in past.voices.items():
                if speaker not in room.voices:
                    room.keep_voice(speaker, voice)

    def _without(self, ended: set[str], past: MeetingPast) -> MeetingPast:
        """Leave out the introductions of sessions that are known to be over."""
        return replace(
            past, sessions=tuple(line for line in past.sessions if _session_of(line) not in ended)
        )

    def _rebuild(
        self,
        room: MeetingRoom,
        own: list[KeptEvent],
        fresh: list[tuple[ToldEvent, events.Event | events.ListenerEvent]],
        past: MeetingPast,
        now: float,
    ) -> None:
        """Let a room be what it would be had all been told here, in the order of cursors."""
        shift_ms = self._correct_clock(room, own, [told for told, _ in fresh])
        room.mood, room.finals = MeetingMood(room.name, self._mood_seconds), FinishedLog(FINALS)
        moved = [_later(kept, shift_ms) for kept in own]
        begun = {e.session_id for _, e in moved if isinstance(e, events.SessionCreated)}
        for session_id, live in self._live.items():
            if live.room is room and session_id not in begun:
                room.mood.take(_beginning(session_id, live), 0)
        ended = {kept.encoded.session_id for kept in own if kept.encoded.ends}
        lines = self._without(ended, past).sessions
        if not fresh:
            lines = ()
        for line in lines:
            self._introduce(room.name, line, replace(past, told=(fresh[0][0],)), now)
        names = {
            session_id: live.info.speaker
            for session_id, live in self._live.items()
            if live.room is room
        }
        both: list[_Placed] = [*moved, *fresh]
        for place, event in sorted(both, key=_place_of):
            if isinstance(place, ToldEvent):
                room.reached_ms = max(room.reached_ms, place.at_ms)
            kept = _kept(place, event) if isinstance(place, ToldEvent) else place
            self._keep(kept, self._echoes if isinstance(event, Echo) else self._kept)
            if not isinstance(event, events.Event):
                continue
            if isinstance(place, ToldEvent):
                self._follow_elsewhere(event, room, place, now)
                continue
            if isinstance(event, events.SessionCreated | events.SessionUpdated):
                names[event.session_id] = event.session.speaker
            speaker = names.get(event.session_id)
            room.finals.take(event, room.name, speaker, kept.at_ms, kept.cursor)
            room.mood.take(event, kept.at_ms)
        room.newest = max([room.newest, *(told.cursor for told, _ in fresh)])
        self._cursor = max(self._cursor, room.newest)

    def _correct_clock(
        self, room: MeetingRoom, own: list[KeptEvent], fresh: list[ToldEvent]
    ) -> int:
        """Let a room that was begun without its past have its clock; return by how much, ms."""
        first = own[0].cursor if own else 0
        before = [told for told in fresh if told.cursor < first]
        if not before or own[0].elsewhere:
            return 0
        began = self._began_of(before[0])
        # Neither before its last event: that server's clock may have been ahead.
        reached_s = max(told.at_ms for told in before) / 1000
        began = min(room.began, began, room.began + own[0].at_ms / 1000 - reached_s)
        shift_ms = round((room.began - began) * 1000)
        room.began = began
        return shift_ms

    def _tell_between(
        self,
        room: MeetingRoom,
        fresh: list[tuple[ToldEvent, events.Event | events.ListenerEvent]],
    ) -> None:
        listening = [each for each in self._subscriptions if each.interest.meeting == room.name]
        for subscription in listening:
            if any(
                isinstance(event, _Final) and told.cursor <= subscription.after
                for told, event in fresh
            ):
                subscription.renew()
                continue
            for told, event in fresh:
                kept = _kept(told, event)
                if told.cursor > subscription.after and kept.is_for(subscription.interest):
                    subscription.after = told.cursor
                    self._deliver(subscription, kept.encoded)

    def _room_elsewhere(self, told: ToldEvent) -> MeetingRoom:
        began = self._began_of(told)
        room = self._rooms[told.meeting] = MeetingRoom(told.meeting, began, self._mood_seconds)
        room.elsewhere = True
        return room

    def _began_of(self, told: ToldEvent) -> float:
        """Return when a meeting began, by the clock of this hub, as another server has it."""
        return (told.cursor - told.at_ms) / 1000 - self._century_s

    def _introduce(self, meeting: str, line: bytes, past: MeetingPast, now: float) -> None:
        """Know a session elsewhere, of whose beginning nothing is kept."""
        try:
            event = events.decode_event(line)
        except msgspec.DecodeError:
            return
        first = past.told[0] if past.told else None
        if not isinstance(event, events.SessionCreated | events.SessionUpdated) or first is None:
            return
        if event.session_id not in self._live:
            room = self._rooms.get(meeting) or self._room_elsewhere(first)
            created = events.SessionCreated(
                event_id=event.event_id,
                session_id=event.session_id,
                seq=event.seq,
                session=event.session,
            )
            self._follow_elsewhere(created, room, first, now)

    def _follow_elsewhere(
        self, event: events.Event, room: MeetingRoom, told: ToldEvent, now: float
    ) -> None:
        if isinstance(event, events.SessionCreated) and event.session_id not in self._live:
            self._live[event.session_id] = LiveSession(
                event.session, 0, room.began, room, elsewhere=True
            )
            room.enter(here=False)
        live = self._live.get(event.session_id)
        if live is not None:
            live.seq = event.seq
            live.count(event)
            if isinstance(event, events.SessionUpdated):
                live.info = event.session
        speaker = None if live is None else live.info.speaker
        room.finals.take(event, told.meeting, speaker, told.at_ms, told.cursor)
        room.mood.take(event, told.at_ms)
        if isinstance(event, events.SessionClosed) and live is not None:
            del self._live[event.session_id]
            room.leave(now, here=not live.elsewhere)


def _place_of(each: _Placed) -> int:
    return each[0].cursor


def _kept(told: ToldEvent, event: events.Event | events.ListenerEvent) -> KeptEvent:
    encoded = encode_stamped(event, told.cursor, told.meeting, told.at_ms)
    return kept_event(told.cursor, told.meeting, event, encoded, told.at_ms, elsewhere=True)


def _later(kept: KeptEvent, shift_ms: int) -> tuple[KeptEvent, events.Event | events.ListenerEvent]:
    """Return an event that was told here, later on its meeting's clock."""
    event = events.decode_event(kept.encoded.line)
    if not shift_ms or kept.elsewhere:
        return kept, event
    at_ms = kept.at_ms + shift_ms
    if isinstance(event, events.MeetingUpdated | events.MoodShifted):
        event = replace(event, at_ms=event.at_ms + shift_ms)
    encoded = encode_stamped(event, kept.cursor, kept.meeting, at_ms)
    return replace(kept, at_ms=at_ms, encoded=replace(encoded, held_by=kept.encoded.held_by)), event


def _beginning(session_id: str, live: LiveSession) -> events.SessionCreated:
    return events.SessionCreated(
        event_id="event_introduced", session_id=session_id, seq=1, session=live.info
    )


def _session_of(line: bytes) -> str:
    try:
        event = events.decode_event(line)
    except msgspec.DecodeError:
        return ""
    return event.session_id if isinstance(event, events.Event) else ""
