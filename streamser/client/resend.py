"""Keep what the server has not settled yet, and send it again where need be.

Pure: it knows no socket and no clock. Whoever drives it tells it what the user wants, what the
server says and when a connection is cut, and sends what ``next_message`` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from streamser import events
from streamser.client.wire import SoundFormat

_MESSAGE_BYTES = 32_768
_LONGEST_MS = 600_000
"""No server has longer utterances, whatever one says: they are kept in memory."""

_PROBE = "streamser.client."
_PROBES_A_WINDOW = 4
_ONSET_MS = 1000
"""Speech that began so shortly before a silent place may not have been noticed there."""

RequestKind: TypeAlias = Literal[
    "session.update",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "streamser.marker",
    "streamser.finish",
    "streamser.speaker.rename",
    "streamser.speaker.merge",
    "streamser.speaker.assign",
    "streamser.speaker.forget",
]
_BOUND_TO_SOUND: tuple[RequestKind, ...] = ("input_audio_buffer.commit", "input_audio_buffer.clear")
_OF_SPEAKERS = "streamser.speaker."
"""How requests begin that speak of one session's labels and utterances."""
_GROUPS = ("audio", "input", "streamser")
"""What lies below, such as ``turn_detection``, is replaced as a whole."""


class PlacedEvent(msgspec.Struct, frozen=True):
    """Hold an event for the user, and where its session's clock begins on the whole stream."""

    event: events.SessionEvent
    offset_ms: int


class UnknownSession(Exception):  # noqa: N818 - a turn of the protocol, no fault
    """Say that the server speaks of a session whose beginning we missed: connect once more."""


class FinalsLost(Exception):  # noqa: N818 - a turn of the protocol, no fault
    """Say that the server cannot tell finals again: begin a new stream, which hears it anew."""


class ResendBuffer:
    """Follow one stream of sound over any number of connections and sessions.

    Every frame is sent, and sent again to a server that has lost it, until a final event has
    settled it: finals come in order, so that all before the end of the last finished
    utterance is done. No event is told twice, and the two finals of one utterance only
    together: a server that dies between them tells both again.

    At most ``keep_s`` seconds, and twice the longest utterance, are kept. While that is
    ``full`` nothing more should be heard; where it must be, the oldest is let go, silence
    takes its place, and ``lost`` counts it. Long silence settles by markers of our own.
    """

    def __init__(self, sound: SoundFormat, keep_s: float = 60.0) -> None:
        self.session_id = ""
        self.seen = 0
        self.info: events.SessionInfo | None = None
        self.closed = False
        self._rate = sound.rate
        self._width = sound.width
        self._step = _MESSAGE_BYTES // sound.width
        self._buffer = AudioBuffer(sound.silence)
        self._requests = UnsettledRequests()
        self._keep = self._limit = round(keep_s * sound.rate)
        self._held: events.TranscriptionCompleted | None = None
        # All in frames of the whole stream. The session's clock begins at ``_base``; on this
        # connection ``_sent`` is next.
        self._base = 0
        self._settled = 0
        self._sent = 0
        self._synced = False
        self._lost = 0
        self._probed = 0
        self._probes = 0
        # What a server sends again is taken in once it has said that no final is missing.
        self._again: list[events.SessionEvent] = []
        self.restarts = 0
        self._missing = 0

    @property
    def synced(self) -> bool:
        """Return whether the server has said, on this connection, where to send on."""
        return self._synced

    @property
    def full(self) -> bool:
        """Return whether another quarter of a second would be too much to keep."""
        return self._buffer.end - self._buffer.start + self._rate // 4 > self._limit

    @property
    def lost(self) -> int:
        """Return the frames that no server will ever hear; an estimate while there is none."""
        unsure = 0 if self._synced else self._buffer.start - max(self._settled, self._sent)
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
    def begins_ms(self) -> int:
        """Return where the clock of a session would begin that is introduced now."""
        return max(self._settled, self._buffer.start) * 1000 // self._rate

    @property
    def done(self) -> bool:
        """Return whether the server was told of the end and has told everything up to it."""
        # Places in ms are rounded, and resamplers give or take a sample.
        near = self._settled + self._rate // 500 >= self._buffer.end
        return self.closed and near and self._requests.complete

    def push_audio(self, data: bytes) -> None:
        """Take whole frames of sound to be sent."""
        self._buffer.append(data)
        self._buffer.forget(self._buffer.end - self._limit)

    def request(self, kind: RequestKind, body: Mapping[str, Any] | None = None) -> None:
        """Take a request to be sent behind all sound so far."""
        self._requests.add(kind, body or {}, self._buffer.end)

    def next_message(self) -> bytes | str | None:
        """Return the next message and count it as sent; ``None``: there is nothing to send."""
        if not self._synced:
            return None
        request = self._requests.next_unsent()
        if request is not None and request.at <= self._sent:
            request.sent = True
            return request.text()
        if self._probe_is_due():
            self._probed = self._sent
            self._probes += 1
            probe = {"type": "streamser.marker", "id": f"{_PROBE}{self._probes}"}
            return msgspec.json.encode(probe).decode()
        until = self._buffer.end if request is None else request.at
        if self._sent >= until:
            return None
        at, self._sent = self._sent, min(until, self._sent + self._step)
        return self._buffer.read(at, self._sent)

    def disconnected(self) -> None:
        """Note that the connection is gone; send nothing until the next one has its place."""
        self._synced = False
        self._again.clear()

    def restart_stream(self) -> None:
        """Leave the stream for a new one, which is sent all that is not settled."""
        self.restarts += 1
        self.forget_session()

    def forget_session(self) -> None:
        """Forget the session, so that the next connection introduces it from its beginning."""
        self.session_id, self.seen, self._held = "", 0, None

    def on_event(self, event: events.SessionEvent) -> list[PlacedEvent]:
        """Take an event; return what of it, and of one held back, is to be told.

        Raises ``UnknownSession`` for an event of a session that never introduced itself, and
        ``FinalsLost`` where a server that we came back to has no finals any more that we need.
        """
        if event.session_id != self.session_id:
            if not isinstance(event, events.SessionCreated):
                raise UnknownSession
            self._begin(event.session_id)
        elif isinstance(event, events.SessionResumed):
            if event.lost_finals and not self._synced:
                raise FinalsLost
            again, self._again = self._again, []
            told = [each for one in again for each in self._follow(one)]
            self._missing += event.lost_events
            self._go_on(event.received_frames)
            return [*told, *self._follow(event)]
        elif not event.seq:
            # A refusal of a message: it is of the connection, and has no number.
            return self._follow(event)
        elif isinstance(event, events.Overload) and event.kind == "finals":
            # Told beside a final, whose number it has.
            return [PlacedEvent(event, self.offset_ms)]
        elif not self._synced:
            self._again.append(event)
            return []
        elif event.seq <= self.seen:
            return []
        elif not isinstance(event, events.Overload):
            # An overload stands for events that were left out, with the number of the last.
            self._missing += event.seq - self.seen - 1
        return self._follow(event)

    def _follow(self, event: events.SessionEvent) -> list[PlacedEvent]:
        if event.seq and event.seq <= self.seen and not isinstance(event, events.SessionResumed):
            return []
        self.seen = max(self.seen, event.seq)
        told = self.release(event)
        if isinstance(event, events.TranscriptionCompleted):
            self._held = event
        elif self._apply(event):
            told.append(PlacedEvent(event, self.offset_ms))
        return told

    def skip(self, session_id: str, seq: int) -> None:
        """Note an event of a type that nobody here knows."""
        if session_id == self.session_id:
            self.seen = max(self.seen, seq)

    def release(self, after: events.SessionEvent | None = None) -> list[PlacedEvent]:
        """Return what was held back: its other half has come with ``after``, or never will."""
        held, self._held = self._held, None
        if held is None:
            return []
        if not (isinstance(after, events.EmotionCompleted) and after.item_id == held.item_id):
            self._settle(held.audio_end_ms)
        return [PlacedEvent(held, self.offset_ms)]

    def _begin(self, session_id: str) -> None:
        """Start on a session that knows nothing of us."""
        start = max(self._settled, self._buffer.start)
        self._lost += start - self._settled
        self._base = self._settled = self._sent = self._probed = start
        self._requests.restart(start)
        self.session_id, self.seen, self._held = session_id, 0, None
        self.closed = False
        self._synced = True

    def _go_on(self, received: int) -> None:
        if self._synced:
            # It has just introduced itself, and has no more than what was sent since.
            return
        # Less than nothing would have to be sent again for ever.
        at = min(self._base + max(0, received), self._buffer.end)
        self._lost += max(0, self._buffer.start - at)
        self._sent = self._probed = at
        self._requests.resume(at)
        self._synced = True

    def _apply(self, event: events.SessionEvent) -> bool:
        """Draw the consequences of an event; return whether it is news to the user."""
        match event:
            case events.SessionCreated():
                self._learn(event.session)
            case events.SessionUpdated():
                self._learn(event.session)
                self._requests.answered("session.update")
            case events.SpeechStopped(reason="commit"):
                self._requests.answered("input_audio_buffer.commit")
            case events.Cleared():
                self._requests.answered("input_audio_buffer.clear")
            case events.SpeakersChanged():
                self._requests.answered_by(event)
            case events.Marker() if event.id.startswith(_PROBE):
                self._settle(event.audio_ms - self._onset_ms)
            case events.Marker():
                return self._requests.answered("streamser.marker", event.id)
            case events.ErrorRaised():
                return self._requests.refused(event.error.event_id)
            case events.EmotionCompleted() | events.TranscriptionFailed():
                self._settle(event.clock_ms)
            case events.SessionClosed():
                self._settle(event.audio_ms)
                self.closed = True
        return True

    def _learn(self, info: events.SessionInfo) -> None:
        self.info = info
        longest_ms = min(info.max_utterance_ms, _LONGEST_MS)
        self._limit = max(self._keep, 2 * longest_ms * self._rate // 1000)
        if info.limits is not None:
            self._step = max(1, min(_MESSAGE_BYTES, info.limits.message_bytes) // self._width)

    def _settle(self, ms: int) -> None:
        frame = min(self._base + ms * self._rate // 1000, self._buffer.end)
        self._settled = max(self._settled, frame)
        self._buffer.forget(self._settled)
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


class ClientRequest(msgspec.Struct, kw_only=True):
    """Hold one request: it belongs behind the frame ``at`` of the stream.

    ``repeated``: it was answered before, by a session that is no more.
    """

    event_id: str
    kind: RequestKind
    at: int
    body: Mapping[str, Any]
    sent: bool = False
    answered: bool = False
    repeated: bool = False

    def text(self) -> str:
        """Write it as a message."""
        message = {"type": self.kind, "event_id": self.event_id, **self.body}
        return msgspec.json.encode(message).decode()


class UnsettledRequests:
    """Keep requests in their order until nothing can make them necessary again.

    An answered commit is needed for as long as its utterance has no final: a restarted server
    gets the sound again, and must cut it at the same place. Settings are needed for ever.
    """

    def __init__(self) -> None:
        self._all: list[ClientRequest] = []
        self._settings: dict[str, Any] = {}
        self._count = 0

    @property
    def finishing(self) -> bool:
        """Return whether the end of the stream was asked for."""
        return any(request.kind == "streamser.finish" for request in self._all)

    @property
    def complete(self) -> bool:
        """Return whether the end was sent, and everything before it was answered."""
        return self.finishing and all(
            request.sent if request.kind == "streamser.finish" else request.answered
            for request in self._all
        )

    def add(self, kind: RequestKind, body: Mapping[str, Any], at: int) -> None:
        """Ask for something behind a frame, which is not before that of the last request."""
        self._all.append(self._request(kind, body, at))

    def next_unsent(self) -> ClientRequest | None:
        """Return the first request that is to be sent."""
        return next((request for request in self._all if not request.sent), None)

    def answered(self, kind: RequestKind, marker: str | None = None) -> bool:
        """Note that the oldest open request of a kind was answered; ``False``: there is none."""
        for request in self._all:
            same = request.kind == kind and (marker is None or request.body.get("id") == marker)
            if same and request.sent and not request.answered:
                self._close(request)
                return True
        return False

    def answered_by(self, event: events.SpeakersChanged) -> None:
        """Note that the oldest open request about speakers was answered, if this is its answer."""
        of_speakers = (each for each in self._all if each.kind.startswith(_OF_SPEAKERS))
        oldest = next((each for each in of_speakers if each.sent), None)
        if oldest is not None and _is_answer(event, oldest.body):
            self._close(oldest)

    def refused(self, event_id: str | None) -> bool:
        """Note that a request was refused; return whether that is news to the user."""
        for request in self._all:
            if request.event_id == event_id:
                self._all.remove(request)
                return not request.repeated
        return True

    def settled(self, frame: int) -> None:
        """Note that nothing before a frame will be sent again."""
        self._all = [
            request for request in self._all if not (request.answered and request.at <= frame)
        ]

    def resume(self, frame: int) -> None:
        """Send again what was not answered and stands behind a frame, the last one received."""
        for request in self._all:
            if not request.answered and request.at >= frame:
                request.sent = False

    def restart(self, frame: int) -> None:
        """Send again what a new session, whose sound begins at a frame, needs: settings first."""
        again = []
        if self._settings:
            again.append(self._request("session.update", {"session": self._settings}, frame))
        for request in self._all:
            over = request.kind in _BOUND_TO_SOUND and request.sent and request.at <= frame
            # Labels begin anew there: what was said of one would be of somebody else.
            if over or request.kind.startswith(_OF_SPEAKERS):
                continue
            request.at = max(request.at, frame)
            request.repeated |= request.answered
            request.sent = request.answered = False
            again.append(request)
        self._all = again

    def _request(self, kind: RequestKind, body: Mapping[str, Any], at: int) -> ClientRequest:
        self._count += 1
        return ClientRequest(event_id=f"client_{self._count}", kind=kind, at=at, body=body)

    def _close(self, request: ClientRequest) -> None:
        if request.kind in _BOUND_TO_SOUND:
            request.answered = True
            return
        self._all.remove(request)
        if request.kind == "session.update":
            self._settings = _joined(self._settings, request.body["session"])


def _is_answer(event: events.SpeakersChanged, asked: Mapping[str, Any]) -> bool:
    """Return whether an event answers what was said of speakers, and is no correction besides."""
    if not event.renamed and not event.changes:
        # A session that corrects itself has something to say.
        return True
    named = asked.get("speaker") in event.renamed
    return named or any(change.item_id == asked.get("item_id") for change in event.changes)


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Lay new settings over old ones, as a server does: only groups are joined."""
    joined = dict(old)
    for key, value in new.items():
        before = joined.get(key)
        if key in _GROUPS and isinstance(before, Mapping) and isinstance(value, Mapping):
            joined[key] = _joined(before, value)
        else:
            joined[key] = value
    return joined


class AudioBuffer:
    """Hold raw sound from frame ``start`` to frame ``end``; ``silence`` is one silent frame."""

    def __init__(self, silence: bytes) -> None:
        self.start = 0
        self._silence = silence
        self._data = bytearray()

    @property
    def end(self) -> int:
        """Return the frame just past the last one."""
        return self.start + len(self._data) // len(self._silence)

    def append(self, data: bytes) -> None:
        """Add whole frames."""
        self._data += data

    def forget(self, before: int) -> None:
        """Let go of the frames before one."""
        frames = min(before, self.end) - self.start
        if frames > 0:
            # CPython moves nothing here: a bytearray may begin anywhere in its memory.
            del self._data[: frames * len(self._silence)]
            self.start += frames

    def read(self, at: int, until: int) -> bytes:
        """Return the frames from ``at`` to ``until``; silence stands for those let go."""
        width = len(self._silence)
        missing = max(0, min(until, self.start) - at)
        first, last = max(at, self.start) - self.start, max(until, self.start) - self.start
        return self._silence * missing + bytes(self._data[first * width : last * width])
