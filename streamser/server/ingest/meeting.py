"""Whom a meeting bot hears: a session for each of them, which outlives the bot's connection."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from streamser.audio.source import rate_of, usable
from streamser.events import AudioFormat, ErrorBody, Event
from streamser.server.clients import Ending
from streamser.server.dialects.openai_realtime import RealtimeDialect
from streamser.server.handshake import IngestGrant, SendGrant
from streamser.server.ingest.messages import BotParticipant, BotSound
from streamser.server.ingest.participants import LONGEST_GAP_S, ParticipantClock, Roster
from streamser.server.limits import Refusal
from streamser.server.outgoing import EncodedEvent
from streamser.server.sessions import ManagedSession, SessionRegistry
from streamser.server.stream import LiveStream
from streamser.server.telemetry import Metrics

_AT_ONCE: Final = 32
"""Participants of a bot that are heard at a time; more than any kind of meeting sends."""
_KEPT: Final = 1_000
"""Participants that are remembered, most of whom have nothing to say."""
_MISSES_NOTHING: Final = 1 << 53
"""The number of the last event that a bot knows: it is told none, and so misses none."""
_AGAIN_S: Final = 5.0
"""After a refusal or a fault: until it is tried again to hear a participant."""


class BotEnd(Protocol):
    """Be the connection of a bot, as its meeting sees it."""

    @property
    def peer(self) -> str | None:
        """Return whom it is connected to, as ``host:port``."""
        ...

    def hang_up(self, ending: Ending) -> None:
        """Let it end; the first to say so decides how."""
        ...

    def count(self, outcome: str, code: str, why: str) -> None:
        """Count what could not be heard as it came: ``code`` is a word for it."""
        ...


class _ParticipantStream:
    """Keep one participant: their session, while they have one, and its clock.

    Stands at the other end of their stream, where nothing is read.
    """

    def __init__(self, key: str | None, meeting: BotMeeting) -> None:
        self.key = key
        self.clock = ParticipantClock()
        self.session: ManagedSession | None = None
        self.grant: SendGrant | None = None
        self.heard_at = 0.0
        self.again_at = 0.0
        self._meeting = meeting

    @property
    def peer(self) -> str | None:
        bot = self._meeting.bot
        return None if bot is None else bot.peer

    def send_event(self, event: Event, told: EncodedEvent | None = None) -> None:
        return

    def refuse(self, session_id: str, error: ErrorBody) -> None:
        return

    def replay(self, encoded: list[EncodedEvent]) -> None:
        return

    def end(self, ending: Ending) -> None:
        if self._meeting.bot is not None:
            self._meeting.bot.hang_up(ending)

    def fail(self, error: Exception) -> None:
        # The stream is in the middle of telling it.
        loop, failed = asyncio.get_running_loop(), self.session
        loop.call_soon(self._drop, failed, Ending.of_fault(error))

    def _drop(self, failed: ManagedSession | None, ending: Ending) -> None:
        if failed in (None, self.session):
            self._meeting.drop(self, ending)


class BotMeeting:
    """Give everybody's sound to a session of theirs; ``name`` is the meeting's.

    ``refuse`` says why one more of an owner cannot be heard, if it cannot.
    """

    def __init__(
        self,
        grant: IngestGrant,
        name: str,
        sessions: SessionRegistry,
        refuse: Callable[[str], Refusal | None],
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.bot: BotEnd | None = None
        self._principal, self._asked = grant.principal, grant.asked
        self._sessions, self._refuse, self._metrics = sessions, refuse, metrics
        self._own = sessions.resources.settings.server
        self._participants: dict[str | None, _ParticipantStream] = {}
        self._roster = Roster()

    @property
    def is_over(self) -> bool:
        """Return whether there is nothing that a bot could come back to."""
        sessions = [each.session for each in self._participants.values()]
        return self.bot is None and all(each is None or each.stream.over for each in sessions)

    def take_over(self, bot: BotEnd) -> None:
        """Go on with a bot's new connection, and with every session that does."""
        if self.bot is not None:
            # The bot knows better than we whether its old connection is dead.
            taken = Ending(1001, "a newer connection has taken over", resumable=True)
            self.bot.hang_up(taken)
            self.let_go(self.bot, taken)
        self.bot = bot
        for participant in self._participants.values():
            self._resume(participant)

    def let_go(self, bot: BotEnd, ending: Ending) -> None:
        """Let the sessions wait for another connection, or end, as this one has."""
        if self.bot is not bot:
            return
        self.bot = None
        for participant in self._participants.values():
            if participant.session is not None:
                self._sessions.release(participant.session, participant, ending)
                if not ending.resumable:
                    participant.session = None

    def note(self, told: BotParticipant) -> None:
        """Follow what the bot says of who is there."""
        if told.left:
            self._part(told.participant)
            self._roster.leave(told.participant)
            return
        name = self._roster.call(told.participant, told.name)
        participant = self._participants.get(told.participant)
        if participant is not None and participant.session is not None:
            _rename(participant.session.stream, name)

    async def hear(self, sound: BotSound, came: float) -> float | None:
        """Hear a piece of somebody's sound; return the silence before it, in s.

        ``None`` where it could not be heard. Lags are counted from ``came``.
        """
        assert self.bot is not None, "somebody sends it"
        if sound.participant is None and any(each is not None for each in self._participants):
            why = "everybody is heard by themselves already"
            self.bot.count("unheard", "mixed", why)
            return None
        participant = self._known(sound)
        if participant.session is None:
            return None
        placed = participant.clock.place(sound)
        if placed.late:
            self.bot.count("late", "old_sound", "it is of a time that is over")
            return None
        if placed.jumped:
            self.bot.count("jumped", "clock_jumped", "the clock of its sound has jumped")
        participant.heard_at = time.monotonic()
        try:
            await self._push(participant.session.stream, sound, placed.silence_s, came)
        except Exception as error:
            self.drop(participant, Ending.of_fault(error))
            return None
        return placed.silence_s

    def look_after(self, now: float) -> None:
        """End the sessions of those who have been silent, or have gone on, for too long."""
        for participant in self._participants.values():
            session = participant.session
            if session is None:
                continue
            if now - participant.heard_at >= min(LONGEST_GAP_S, self._own.idle_s):
                self.drop(participant, Ending(1000, "silent"))
            elif now - session.stream.began >= self._own.session_s:
                self.drop(participant, Ending(1000, "session_expired"))

    def drop(self, participant: _ParticipantStream, ending: Ending) -> None:
        """End a participant's session; what they have said is still told."""
        session, participant.session = participant.session, None
        if ending.fault is not None:
            participant.again_at = time.monotonic() + _AGAIN_S
        if session is not None:
            self._sessions.release(session, participant, ending)

    # Who speaks

    def _known(self, sound: BotSound) -> _ParticipantStream:
        """Return the participant whose sound it is; with a session, if there is room for one."""
        key, everybody = sound.participant, self._participants
        name = None if key is None else self._roster.call(key, sound.name)
        participant = everybody.setdefault(key, _ParticipantStream(key, self))
        if len(everybody) > _KEPT:
            del everybody[next(each for each, of in everybody.items() if of.session is None)]
        session = participant.session
        if session is not None and session.stream.over:
            participant.session = session = None
        if session is not None:
            _rename(session.stream, name)
        elif time.monotonic() < participant.again_at:
            self._metrics.bot_message("unheard")
        else:
            self._open(participant, sound.rate, name)
        return participant

    def _open(self, participant: _ParticipantStream, rate: int, name: str | None) -> None:
        assert self.bot is not None, "somebody sends its sound"
        if participant.key is not None:
            self._part(None)
        self._make_room()
        if (refusal := self._refuse(self._principal.name)) is not None:
            participant.again_at = time.monotonic() + _AGAIN_S
            self._metrics.refused(refusal.code)
            self.bot.count("unheard", refusal.code, refusal.message)
            return
        asked = replace(self._asked, format=_format(rate), speaker=name)
        # Nobody knows the secret, so nobody else comes back to the stream; nothing is worded.
        secret = uuid.uuid4().hex
        grant = SendGrant(
            self._principal, RealtimeDialect(asked), asked, self.name, secret, _MISSES_NOTHING
        )
        participant.clock, participant.grant = ParticipantClock(), grant
        try:
            participant.session = self._sessions.open(grant, participant)
        except Exception as error:
            participant.again_at = time.monotonic() + _AGAIN_S
            self.bot.count("unheard", "internal_error", f"{error}")
            self._metrics.fault()

    def _resume(self, participant: _ParticipantStream) -> None:
        session, grant = participant.session, participant.grant
        if session is None or grant is None:
            return
        if self._sessions.find(grant) is not session:
            participant.session = None
            return
        participant.clock.resume()
        participant.heard_at = time.monotonic()
        self._sessions.resume(session, grant, participant)

    def _make_room(self) -> None:
        """Let the participant go who was silent longest, where too many are heard."""
        here = [each for each in self._participants.values() if each.session is not None]
        if len(here) >= _AT_ONCE:
            self.drop(min(here, key=lambda each: each.heard_at), Ending(1000, "gave way"))

    def _part(self, key: str | None) -> None:
        participant = self._participants.pop(key, None)
        if participant is not None:
            self.drop(participant, Ending(1000, "left"))

    async def _push(
        self, stream: LiveStream, sound: BotSound, silence_s: float, came: float
    ) -> None:
        if rate_of(stream.asked.format) != sound.rate:
            stream.configure(replace(stream.asked, format=_format(sound.rate)))
        for piece in stream.pieces(bytes(2 * round(silence_s * sound.rate))):
            await stream.wait_for_room()
            stream.push_audio(piece, came)
        for piece in stream.pieces(sound.data):
            await stream.wait_for_room()
            seconds = stream.seconds(piece)
            # Not reading on is what slows a bot down: its own socket fills, nobody's memory.
            due = stream.pace.due(seconds, came)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            stream.push_audio(piece, due)
            self._metrics.sound(seconds)


def _rename(stream: LiveStream, name: str | None) -> None:
    if stream.asked.speaker != name:
        stream.configure(replace(stream.asked, speaker=name))


def _format(rate: int) -> AudioFormat:
    return usable(AudioFormat(type="audio/pcm", rate=rate))
