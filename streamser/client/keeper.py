"""Keep what the server has not settled yet, and send it again where need be.

Pure: it knows no socket and no clock. Whoever drives it tells it what the user wants, what the
server says and when a connection is cut, and sends what ``next`` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamser.client.requests import Kind, Requests
from streamser.client.sound import Sound
from streamser.client.tape import Tape
from streamser.events import (
    Cleared,
    EmotionCompleted,
    ErrorRaised,
    Marker,
    Overload,
    SessionClosed,
    SessionCreated,
    SessionEvent,
    SessionInfo,
    SessionResumed,
    SessionUpdated,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
)

__all__ = ["Astray", "FinalsLost", "Keeper", "Told"]

_MESSAGE_BYTES = 32_768
_LONGEST_MS = 600_000
"""No server has longer utterances, whatever one says: they are kept in memory."""
_PROBE = "streamser.client."
_PROBES_A_WINDOW = 4
_ONSET_MS = 1000
"""Speech that began so shortly before a silent place may not have been noticed there."""


class Told(msgspec.Struct, frozen=True):
    """Hold an event for the user, and where its session's clock begins on the whole stream."""

    event: SessionEvent
    offset_ms: int


class Astray(Exception):  # noqa: N818 - a turn of the protocol, no fault
    """Say that the server speaks of a session whose beginning we missed: connect once more."""


class FinalsLost(Exception):  # noqa: N818 - a turn of the protocol, no fault
    """Say that the server cannot tell finals again: begin a new stream, which hears it anew."""


class Keeper:
    """Follow one stream of sound over any number of connections and sessions.

    Every frame is sent, and sent again to a server that has lost it, until a final event has
    settled it: finals come in order, so that all before the end of the last finished
    utterance is done. No event is told twice, and the two finals of one utterance only
    together: a server that dies between them tells both again.

    At most ``keep_s`` seconds, and twice the longest utterance, are kept. While that is
    ``full`` nothing more should be heard; where it must be, the oldest is let go, silence
    takes its place, and ``lost`` counts it. Long silence settles by markers of our own.
    """

    def __init__(self, sound: Sound, keep_s: float = 60.0) -> None:
        self.session_id = ""
        self.seen = 0
        self.info: SessionInfo | None = None
        self.closed = False
        self._rate = sound.rate
        self._width = sound.width
        self._step = _MESSAGE_BYTES // sound.width
        self._tape = Tape(sound.silence)
        self._requests = Requests()
        self._keep = self._limit = round(keep_s * sound.rate)
        self._held: TranscriptionCompleted | None = None
        # All in frames of the whole stream. The session's clock begins at ``_base``; on this
        # connection ``_sent`` is next.
        self._base = 0
        self._settled = 0
        self._sent = 0
        self._placed = False
        self._lost = 0
        self._probed = 0
        self._probes = 0
        # What a server sends again is taken in once it has said that no final is missing.
        self._again: list[SessionEvent] = []
        self.strays = 0
        self._missing = 0

    @property
    def placed(self) -> bool:
        """Return whether the server has said, on this connection, where to send on."""
        return self._placed

    @property
    def full(self) -> bool:
        """Return whether another quarter of a second would be too much to keep."""
        return self._tape.end - self._tape.start + self._rate // 4 > self._limit

    @property
    def lost(self) -> int:
        """Return the frames that no server will ever hear; an estimate while there is none."""
        unsure = 0 if self._placed else self._tape.start - max(self._settled, self._sent)
        return self._lost + max(0, unsure)

    @property
    def missing(self) -> int:
        """Return the events that were told and never came here, nor will; none is a final.

        But for gaps in a connection that holds, in which anything may have been.
        """
        return self._missing

    @property
    def offset_ms(self) -> int:
        """Return where the session's clock begins on the clock of the whole stream."""
        return self._base * 1000 // self._rate

    @property
    def done(self) -> bool:
        """Return whether the server was told of the end and has told everything up to it."""
        # Places in ms are rounded, and resamplers give or take a sample.
        near = self._settled + self._rate // 500 >= self._tape.end
        return self.closed and near and self._requests.complete

    def hear(self, data: bytes) -> None:
        """Take whole frames of sound to be sent."""
        self._tape.append(data)
        self._tape.forget(self._tape.end - self._limit)

    def ask(self, kind: Kind, body: Mapping[str, Any] | None = None) -> None:
        """Take a request to be sent behind all sound so far."""
        self._requests.add(kind, body or {}, self._tape.end)

    def next(self) -> bytes | str | None:
        """Return the next message and count it as sent; ``None``: there is nothing to send."""
        if not self._placed:
            return None
        request = self._requests.next()
        if request is not None and request.at <= self._sent:
            request.sent = True
            return request.text()
        if self._probe_is_due():
            self._probed = self._sent
            self._probes += 1
            probe = {"type": "streamser.marker", "id": f"{_PROBE}{self._probes}"}
            return msgspec.json.encode(probe).decode()
        until = self._tape.end if request is None else request.at
        if self._sent >= until:
            return None
        at, self._sent = self._sent, min(until, self._sent + self._step)
        return self._tape.read(at, self._sent)

    def cut(self) -> None:
        """Note that the connection is gone; send nothing until the next one has its place."""
        self._placed = False
        self._again.clear()

    def begin_anew(self) -> None:
        """Leave the stream for a new one, which is sent all that is not settled."""
        self.strays += 1
        self.stray()

    def stray(self) -> None:
        """Forget the session, so that the next connection introduces it from its beginning."""
        self.session_id, self.seen, self._held = "", 0, None

    def take(self, event: SessionEvent) -> list[Told]:
        """Take an event; return what of it, and of one held back, is to be told.

        Raises ``Astray`` for an event of a session that never introduced itself, and
        ``FinalsLost`` where a server that we came back to has no finals any more that we need.
        """
        if event.session_id != self.session_id:
            if not isinstance(event, SessionCreated):
                raise Astray
            self._begin(event.session_id)
        elif isinstance(event, SessionResumed):
            if event.lost_finals and not self._placed:
                raise FinalsLost
            again, self._again = self._again, []
            told = [each for one in again for each in self._follow(one)]
            self._missing += event.lost_events
            self._go_on(event.received_frames)
            return [*told, *self._follow(event)]
        elif not event.seq:
            # A refusal of a message: it is of the connection, and has no number.
            return self._follow(event)
        elif isinstance(event, Overload) and event.kind == "finals":
            # Told beside a final, whose number it has.
            return [Told(event, self.offset_ms)]
        elif not self._placed:
            self._again.append(event)
            return []
        elif event.seq <= self.seen:
            return []
        elif not isinstance(event, Overload):
            # An overload stands for events that were left out, with the number of the last.
            self._missing += event.seq - self.seen - 1
        return self._follow(event)

    def _follow(self, event: SessionEvent) -> list[Told]:
        if event.seq and event.seq <= self.seen and not isinstance(event, SessionResumed):
            return []
        self.seen = max(self.seen, event.seq)
        told = self.release(event)
        if isinstance(event, TranscriptionCompleted):
            self._held = event
        elif self._heed(event):
            told.append(Told(event, self.offset_ms))
        return told

    def skip(self, session_id: str, seq: int) -> None:
        """Note an event of a type that nobody here knows."""
        if session_id == self.session_id:
            self.seen = max(self.seen, seq)

    def release(self, after: SessionEvent | None = None) -> list[Told]:
        """Return what was held back: its other half has come with ``after``, or never will."""
        held, self._held = self._held, None
        if held is None:
            return []
        if not (isinstance(after, EmotionCompleted) and after.item_id == held.item_id):
            self._settle(held.audio_end_ms)
        return [Told(held, self.offset_ms)]

    def _begin(self, session_id: str) -> None:
        """Start on a session that knows nothing of us."""
        start = max(self._settled, self._tape.start)
        self._lost += start - self._settled
        self._base = self._settled = self._sent = self._probed = start
        self._requests.restart(start)
        self.session_id, self.seen, self._held = session_id, 0, None
        self.closed = False
        self._placed = True

    def _go_on(self, received: int) -> None:
        if self._placed:
            # It has just introduced itself, and has no more than what was sent since.
            return
        # Less than nothing would have to be sent again for ever.
        at = min(self._base + max(0, received), self._tape.end)
        self._lost += max(0, self._tape.start - at)
        self._sent = self._probed = at
        self._requests.resume(at)
        self._placed = True

    def _heed(self, event: SessionEvent) -> bool:
        """Draw the consequences of an event; return whether it is news to the user."""
        match event:
            case SessionCreated():
                self._learn(event.session)
            case SessionUpdated():
                self._learn(event.session)
                self._requests.answered("session.update")
            case SpeechStopped(reason="commit"):
                self._requests.answered("input_audio_buffer.commit")
            case Cleared():
                self._requests.answered("input_audio_buffer.clear")
            case Marker() if event.id.startswith(_PROBE):
                self._settle(event.audio_ms - self._onset_ms)
            case Marker():
                return self._requests.answered("streamser.marker", event.id)
            case ErrorRaised():
                return self._requests.refused(event.error.event_id)
            case EmotionCompleted() | TranscriptionFailed():
                self._settle(event.clock_ms)
            case SessionClosed():
                self._settle(event.audio_ms)
                self.closed = True
        return True

    def _learn(self, info: SessionInfo) -> None:
        self.info = info
        longest_ms = min(info.max_utterance_ms, _LONGEST_MS)
        self._limit = max(self._keep, 2 * longest_ms * self._rate // 1000)
        if info.limits is not None:
            self._step = max(1, min(_MESSAGE_BYTES, info.limits.message_bytes) // self._width)

    def _settle(self, ms: int) -> None:
        frame = min(self._base + ms * self._rate // 1000, self._tape.end)
        self._settled = max(self._settled, frame)
        self._tape.forget(self._settled)
        self._requests.settled(self._settled)

    def _probe_is_due(self) -> bool:
        unsettled = self._sent - max(self._settled, self._probed)
        # Where the client commits, nothing is settled before it does; the end settles all.
        useless = self._manual or self._requests.finishing
        return unsettled >= self._limit // _PROBES_A_WINDOW and not useless

    @property
    def _manual(self) -> bool:
        audio = None if self.info is None else self.info.audio
        return audio is not None and audio.input.turn_detection is None

    @property
    def _onset_ms(self) -> int:
        audio = None if self.info is None else self.info.audio
        turns = None if audio is None else audio.input.turn_detection
        return _ONSET_MS + (0 if turns is None else turns.prefix_padding_ms)
