"""The connections of meeting bots: one socket each, which is read and never written to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from websockets.exceptions import ConnectionClosed

from streamser.errors import ConfigError
from streamser.server.clients import Ending, close_socket
from streamser.server.handshake import IngestGrant, Principal
from streamser.server.ingest import attendee, messages, recall
from streamser.server.ingest.meeting import BotMeeting
from streamser.server.limits import Admission, MessagePace, Refusal
from streamser.server.sessions import SessionRegistry
from streamser.server.telemetry import Metrics, log_fault, log_info, peer_of, supervised
from streamser.server.transport import ClientSocket
from streamser.text import read_name

_READ: Final[dict[str, messages.ReadMessage]] = {
    "attendee": attendee.read_attendee,
    "recall": recall.read_recall,
}
_LEFT: Final = (1000, 1001)
"""Close codes of a bot that has left of its own will."""
NAMELESS: Final = Refusal(
    400, 1008, "invalid_query", "where there are several servers a bot is given meeting=NAME"
)
"""Else nobody knows which of them has the meeting before its sound has come to one."""
_LOOK_S: Final = 1.0
_HOPELESS: Final = 50
"""Messages of which none can be used, after which a bot is not one for this address."""
_REASON: Final = 80


class BotRegistry:
    """Serve meeting bots, and know whom each of them hears.

    ``refuse_stream`` says why an owner's stream cannot be taken in, if it cannot.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        admission: Admission,
        refuse_stream: Callable[[str], Refusal | None],
        metrics: Metrics,
    ) -> None:
        self.metrics = metrics
        self._refuse_stream = refuse_stream
        self._sessions = sessions
        self._admission = admission
        self._connections: dict[BotConnection, Principal] = {}
        self._meetings: dict[tuple[Principal, str, str, str], BotMeeting] = {}

    def refuse_bot(self, owner: str) -> Refusal | None:
        """Return why a bot of this owner cannot be let in, if it cannot."""
        if (unready := self._admission.refuse_unready()) is not None:
            return unready
        most = self._sessions.resources.settings.server.max_sessions
        share = self._admission.share_of(most)
        owned = sum(principal.name == owner for principal in self._connections.values())
        if len(self._connections) < most and owned < share:
            return None
        message = f"as many bots are here as may be ({most}, {share} of one token)"
        return Refusal(503, 1013, "too_many_bots", message, 5)

    async def serve(self, socket: ClientSocket, grant: IngestGrant) -> None:
        """Serve a bot until it is gone."""
        pace = self._sessions.message_pace(grant.principal.name)
        session_s = self._sessions.resources.settings.server.session_s
        connection = BotConnection(socket, grant, self, pace, session_s)
        self._connections[connection] = grant.principal
        try:
            ending = await connection.run()
        finally:
            del self._connections[connection]
        await close_socket(socket, ending)

    def meeting_of(self, grant: IngestGrant, bot: str, name: str) -> BotMeeting:
        """Return whom a bot hears in a meeting, by its own id and the owner of its token."""
        for known, meeting in list(self._meetings.items()):
            if meeting.is_over:
                del self._meetings[known]
        key = (grant.principal, grant.kind, bot, name)
        if key not in self._meetings:
            self._meetings[key] = BotMeeting(
                grant, name, self._sessions, self._refuse_participant, self.metrics
            )
        return self._meetings[key]

    def _refuse_participant(self, owner: str) -> Refusal | None:
        return self._admission.refuse_visit(owner) or self._refuse_stream(owner)

    def disconnect(self, may_stay: Callable[[Principal], bool], ending: Ending) -> None:
        """Let the bots go whose owners may stay no more; what they have sent is still told."""
        for connection, principal in list(self._connections.items()):
            if not may_stay(principal):
                connection.hang_up(ending)


class BotConnection:
    """Read what a bot sends, and hand it to its meeting.

    What cannot be used is counted, and written into the log once of each kind.
    """

    def __init__(
        self,
        socket: ClientSocket,
        grant: IngestGrant,
        registry: BotRegistry,
        pace: MessagePace,
        session_s: float,
    ) -> None:
        self._socket = socket
        self._grant = grant
        self._registry = registry
        self._pace = pace
        self._until = time.monotonic() + session_s
        self._read = _READ[grant.kind]
        self._held_until = 0.0
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._bot: str | None = None
        self._meeting: BotMeeting | None = None
        self._name = grant.meeting
        self._counts: Counter[str] = Counter()
        self._codes: set[str] = set()
        self._heard_s = self._silence_s = 0.0

    @property
    def peer(self) -> str | None:
        """Return whom it is connected to, as ``host:port``."""
        return peer_of(self._socket)

    def hang_up(self, ending: Ending) -> None:
        """Let the connection end; the first to say so decides how."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def count(self, outcome: str, code: str, why: str) -> None:
        """Count what could not be heard as it came: ``code`` is a word for it."""
        self._registry.metrics.bot_message(outcome)
        self._counts[outcome] += 1
        if code not in self._codes:
            self._codes.add(code)
            self._log(f"bot_{outcome}", code=code, reason=why[:_REASON])

    async def run(self) -> Ending:
        """Serve until the bot is gone; the socket stays to be closed."""
        self._log("bot_here", owner=self._grant.principal.name, kind=self._grant.kind)
        works = (self._listen, self._watch)
        tasks = [supervised(work, lambda e: self.hang_up(Ending.of_fault(e))) for work in works]
        ending = Ending(1011, "internal_error")
        try:
            ending = await self._ended
        finally:
            for task in tasks:
                task.cancel()
            # They are supervised: nothing comes out of them.
            await asyncio.wait(tasks)
            self._leave(ending)
        return ending

    async def _listen(self) -> None:
        try:
            async for message in self._socket:
                if self._ended.done():
                    return
                told = self._understand(message)
                if not await self._wait_turn(told):
                    return
                if told is not None:
                    # Who is made to wait for sending too much is not heard late.
                    await self._follow(told, max(self._socket.came, self._held_until))
            self.hang_up(Ending(1000))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            self.hang_up(Ending(code, resumable=code not in _LEFT))

    def _understand(self, message: str | bytes) -> messages.BotMessage | None:
        """Read a message, and note whose it is; ``None`` for one that asks for nothing."""
        try:
            told = self._read(message)
            if told is not None:
                self._enter(told.bot)
        except messages.UnusableError as error:
            self.count("unusable", error.code, str(error))
            if self._meeting is None and self._counts["unusable"] >= _HOPELESS:
                why = f"none of {_HOPELESS} messages can be used: {error}"
                self.hang_up(Ending(1008, why[:_REASON]))
            return None
        return told

    def _enter(self, bot: str | None) -> None:
        """Go on with the meeting of a bot that says for the first time who it is."""
        # One that never does so is the one of the meeting that it was sent to.
        bot = bot or self._name
        if bot is None:
            raise messages.UnusableError(
                "no_bot", "it does not say which bot it is of: give ?meeting=NAME"
            )
        if self._meeting is not None:
            if bot != self._bot:
                raise messages.UnusableError(
                    "another_bot", "it is of another bot than those before it"
                )
            return
        try:
            self._name = self._name or read_name(bot, "bot")
        except ConfigError as error:
            raise messages.UnusableError("no_bot", f"{error}: give ?meeting=NAME") from None
        self._bot = bot
        self._meeting = self._registry.meeting_of(self._grant, bot, self._name)
        self._meeting.take_over(self)
        self._log("bot_known")

    async def _wait_turn(self, told: messages.BotMessage | None) -> bool:
        """Let others have their turn, and wait for this message's; or end the connection."""
        now = time.monotonic()
        wait = self._pace.wait_s(told.seconds if isinstance(told, messages.BotSound) else 0.0, now)
        if wait is None:
            most = f"at most {self._pace.rate:g} messages without sound a second"
            self.hang_up(Ending(1008, f"too many messages: {most}"))
            return False
        if wait:
            self._held_until = now + wait
        await asyncio.sleep(wait)
        return not self._ended.done()

    async def _follow(self, told: messages.BotMessage, came: float) -> None:
        assert self._meeting is not None, "whose message it is has been noted"
        match told:
            case messages.BotParticipant():
                self._registry.metrics.bot_message("event")
                self._meeting.note(told)
            case messages.BotSound():
                silence_s = await self._meeting.hear(told, came)
                if silence_s is not None:
                    self._registry.metrics.bot_message("heard")
                    self._registry.metrics.bot_silence(silence_s)
                    self._heard_s += told.seconds
                    self._silence_s += silence_s

    async def _watch(self) -> None:
        """Look after the participants, and end a connection that has gone on for too long."""
        while (now := time.monotonic()) < self._until:
            if self._meeting is not None:
                self._meeting.look_after(now)
            await asyncio.sleep(min(_LOOK_S, self._until - now))
        self.hang_up(Ending(4408, "session_expired", resumable=True))

    def _leave(self, ending: Ending) -> None:
        if self._meeting is not None:
            self._meeting.let_go(self, ending)
        if ending.fault is not None:
            log_fault(ending.fault, meeting=self._name, peer=self.peer)
            self._registry.metrics.fault()
        sound = {"heard_s": round(self._heard_s, 1), "silence_s": round(self._silence_s, 1)}
        self._log("bot_left", code=ending.code, reason=ending.why, **sound, **self._counts)

    def _log(self, what: str, **fields: str | float | None) -> None:
        log_info(what, meeting=self._name, peer=self.peer, **fields)
