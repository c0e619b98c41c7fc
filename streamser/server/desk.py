"""Streams from their beginning to their end, whatever becomes of their connections."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from streamser.events import (
    Committed,
    EmotionCompleted,
    Event,
    Overload,
    SessionClosed,
    SpeechStarted,
    SpeechStopped,
    TranscriptionFailed,
)
from streamser.server.actions import Dialect
from streamser.server.admission import Admission
from streamser.server.auth import Principal, same_secret
from streamser.server.gate import Sending
from streamser.server.history import History
from streamser.server.hub import Hub
from streamser.server.journal import note, note_fault
from streamser.server.metrics import Metrics
from streamser.server.pace import Bursts, MessagePace
from streamser.server.sender import Ending, Sender
from streamser.server.stream import LiveStream, Setting

__all__ = ["Desk", "Held"]


class Held:
    """Keep a stream, what it speaks, and the connection that it has at the moment."""

    def __init__(self, visit: Sending, session_id: str, desk: Desk) -> None:
        self.owner = visit.principal.name
        self.principal = visit.principal
        self.secret = visit.secret
        self.dialect: Dialect = visit.dialect
        self.sender: Sender | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.failed = False
        self.seated = True
        """Whether it takes a place, which one that has given way does no more."""
        self.vanished_at = 0.0
        self.meeting = visit.meeting
        self.peer: str | None = None
        self.reason = ""
        self.so_far = _SoFar()
        may_come_back = visit.secret is not None and desk.setting.limits.resume_s > 0
        self.history = History() if may_come_back else None
        self._desk = desk
        self.stream = LiveStream(
            session_id,
            visit.meeting,
            visit.asked,
            desk.setting,
            desk.message_pace(self.owner),
            self.tell,
            self.fail,
        )

    def tell(self, event: Event) -> None:
        """Pass an event of the stream on to everybody."""
        took_s = self.so_far.take(event, time.monotonic())
        late = self._desk.publish(self, event, took_s)
        if self.sender is not None:
            self.sender.tell(event)
            if late:
                self.sender.tell(self.so_far.late(event))

    def note(self, what: str, **fields: str | float | None) -> None:
        """Write down what happens to the stream."""
        session_id = self.stream.session_id
        note(what, session=session_id, meeting=self.meeting, peer=self.peer, **fields)

    def note_fault(self, error: Exception) -> None:
        """Write down what has failed."""
        session_id = self.stream.session_id
        note_fault(error, session=session_id, meeting=self.meeting, peer=self.peer)

    def fail(self, error: Exception) -> None:
        """End the stream and its connection, as something has failed."""
        if self.sender is not None and not self.failed:
            # It tells its client, and comes to ``release`` with the fault.
            self.sender.fail(error)
        else:
            self._desk.fail(self, error)


class _SoFar:
    """Count what has been told of a session, should it be unable to say so itself."""

    def __init__(self) -> None:
        self._seq = self._utterances = self._completed = self._speech_ms = 0
        self._lost = {"partials": 0, "audio": 0}
        self._late = 0
        self._starts: dict[str, int] = {}
        self._over: dict[str, float] = {}

    def take(self, event: Event, now: float) -> float | None:
        """Count an event; return how long a final has taken since its utterance was over (s).

        Not since its sound came: a client may commit when it likes, fall silent, or vanish.
        """
        self._seq = event.seq
        match event:
            case SpeechStarted():
                self._starts = {event.item_id: event.audio_start_ms}
            case SpeechStopped():
                start = self._starts.pop(event.item_id, event.audio_end_ms)
                self._speech_ms += event.audio_end_ms - start
            case Committed():
                self._utterances += 1
                self._over[event.item_id] = now
            case EmotionCompleted():
                self._completed += 1
                return now - self._over.pop(event.item_id, now)
            case TranscriptionFailed():
                self._over.pop(event.item_id, None)
            case Overload(kind="partials" | "audio"):
                self._lost[event.kind] = event.total
        return None

    def late(self, event: Event) -> Overload:
        """Return what tells a client that this final of its stream came late."""
        self._late += 1
        return Overload(
            event_id=f"event_{event.session_id}_{event.seq}_late",
            session_id=event.session_id,
            seq=event.seq,
            kind="finals",
            dropped=1,
            total=self._late,
            since_ms=event.clock_ms or 0,
            reason="late",
        )

    def closed(self, session_id: str, audio_ms: int) -> SessionClosed:
        """Return the last event: finals that were never told have failed."""
        return SessionClosed(
            event_id=f"event_{session_id}_{self._seq + 1}",
            session_id=session_id,
            seq=self._seq + 1,
            audio_ms=audio_ms,
            speech_ms=self._speech_ms,
            utterances=self._utterances,
            failed=self._utterances - self._completed,
            partials_dropped=self._lost["partials"],
            audio_dropped_ms=self._lost["audio"],
        )


class Desk:
    """Open streams, hold those whose clients have vanished, and give them back."""

    def __init__(
        self,
        setting: Setting,
        hub: Hub,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self.setting = setting
        self._hub = hub
        self._admission = admission
        self._metrics = metrics
        self._held: set[Held] = set()
        own = setting.settings.server
        self._bursts = Bursts(own.message_burst, own.max_sessions)

    def find(self, visit: Sending) -> Held | None:
        """Return the stream that a client has come back for, if it goes on."""
        if visit.secret is None:
            return None
        found = None
        for held in self._held:
            # All are looked at: how long it takes tells nothing of where the secret was found.
            if held.secret is None or not same_secret(held.secret, visit.secret):
                continue
            own = held.principal == visit.principal
            if own and held.seated and not held.stream.over and not held.failed:
                found = held
        return found

    def open(self, visit: Sending, sender: Sender) -> Held:
        """Begin a stream."""
        self._hub.tidy(time.monotonic())
        held = Held(visit, f"sess_{uuid.uuid4().hex[:12]}", self)
        held.sender, held.peer = sender, sender.peer
        self._held.add(held)
        self._admission.enter_stream(held.owner)
        held.note("opened", owner=held.owner)
        try:
            held.stream.begin(self._hub.known_voice(visit.meeting, visit.asked.speaker))
        except Exception:
            held.sender, held.reason = None, "internal_error"
            self._drop(held)
            raise
        return held

    def message_pace(self, owner: str) -> MessagePace:
        """Return how fast a new stream of an owner may send messages without sound."""
        own = self.setting.settings.server
        at_once = self._bursts.grant(owner, time.monotonic())
        return MessagePace(own.message_rate, own.message_burst, at_once)

    def give_back(self, held: Held, visit: Sending, sender: Sender) -> None:
        """Let a stream go on with a new connection, telling it what it has missed."""
        if held.expiry is not None:
            held.expiry.cancel()
            held.expiry = None
        if held.sender is not None:
            # The client knows better than we whether its old connection is dead.
            held.sender.end(Ending(1001, "a newer connection has taken over", resumable=True))
        held.sender, held.peer = sender, sender.peer
        held.principal = visit.principal
        held.stream.away = False
        assert held.history is not None, "without a secret nobody comes back"
        missed = held.history.since(visit.after)
        sender.replay(list(missed.letters))
        lost = {"lost_events": missed.lost_events, "lost_finals": missed.lost_finals}
        held.note("resumed", owner=held.owner, **(lost if missed.lost_events else {}))
        try:
            held.stream.welcome_back(missed)
        except Exception as error:
            sender.fail(error)

    def release(self, held: Held, sender: Sender, ending: Ending) -> None:
        """Take note that a connection has ended: hold its stream for a while, or finish it."""
        if held.sender is not sender:
            which = {"session": held.stream.session_id, "meeting": held.meeting}
            if ending.fault is not None:
                note_fault(ending.fault, **which, peer=sender.peer)
            note("left", **which, peer=sender.peer, reason=ending.why)
            return
        held.sender, held.reason = None, ending.why
        if held.stream.over:
            if ending.fault is not None:
                held.note_fault(ending.fault)
                self._metrics.fault()
            held.note("closed", reason=held.reason)
            return
        if ending.fault is not None:
            self.fail(held, ending.fault)
            return
        keep_s = self.setting.limits.resume_s
        closing = self._admission.closing
        if ending.resumable and held.secret is not None and keep_s > 0 and not closing:
            loop = asyncio.get_running_loop()
            held.note("left", reason=held.reason, kept_s=keep_s)
            held.vanished_at = loop.time()
            held.expiry = loop.call_later(keep_s, self._finish, held)
            held.stream.away = True
        else:
            self._finish(held)

    def fail(self, held: Held, error: Exception) -> None:
        """End a stream that has failed: what it has heard is told to listeners, if it can be."""
        held.note_fault(error)
        self._metrics.fault()
        if held.failed:
            # A second time: nothing good is to be expected of it any more.
            self._drop(held)
            return
        held.failed = True
        try:
            held.stream.fail()
        except Exception as another:
            held.note_fault(another)
            self._drop(held)
        if held in self._held:
            patience_s = self.setting.settings.server.shutdown_s
            held.expiry = asyncio.get_running_loop().call_later(patience_s, self._drop, held)

    def show_out(self, may_stay: Callable[[Principal], bool], ending: Ending) -> None:
        """End the streams of those who may stay no more: what they have said is still told."""
        for held in [held for held in self._held if not may_stay(held.principal)]:
            if held.sender is not None:
                held.sender.end(ending)
            else:
                held.reason = ending.why
                self._finish(held)

    async def wait_until_empty(self) -> None:
        """Wait until every stream there is has ended, or has lost its client for good."""
        await asyncio.gather(*(held.stream.wait_until_over() for held in list(self._held)))

    async def finish_all(self) -> None:
        """End every stream and wait until all is told."""
        for held in list(self._held):
            if held.sender is not None:
                held.sender.end(Ending(1001, "the server is going away"))
            else:
                self._finish(held)
        await asyncio.gather(*(held.stream.wait_until_over() for held in list(self._held)))

    def abandon_all(self) -> None:
        """Wait for nothing any more."""
        for held in list(self._held):
            held.stream.leave()

    def gives_way(self) -> bool:
        """Return whether a stream waits for a client that may not come back."""
        return bool(self._vanished())

    def make_room(self, owner: str) -> bool:
        """End the stream that has waited longest for its client; of this owner's, or of all.

        Its place is free at once, though what it has heard is still told.
        """
        waiting = self._vanished()
        own = [held for held in waiting if held.owner == owner]
        if not (waiting := waiting if self._admission.full and not own else own):
            return False
        held = min(waiting, key=lambda held: held.vanished_at)
        if held.expiry is not None:
            held.expiry.cancel()
        held.reason = "gave way"
        self._stand_up(held)
        self._finish(held)
        return True

    def publish(self, held: Held, event: Event, took_s: float | None = None) -> bool:
        """Pass an event of a stream on to the listeners; returns whether it is a late final.

        ``took_s`` is what a final has taken; ordered sessions, which nobody hurries, tell no lag.
        """
        if isinstance(event, SessionClosed) and not held.failed:
            try:
                voice = held.stream.voice()
            except Exception as error:
                # Worth less than a session that is closed: the voice is learnt anew.
                held.note_fault(error)
                voice = None
            if voice is not None:
                self._hub.keep_voice(event.session_id, voice)
        letter = self._hub.publish(event, time.monotonic())
        if held.history is not None:
            held.history.add(event, letter)
        self._metrics.event(event)
        if isinstance(event, SessionClosed):
            self._leave(held)
        if took_s is None or event.lag_ms is None:
            return False
        late = self._admission.answered(took_s)
        if late:
            self._metrics.late_final()
        return late

    def _vanished(self) -> list[Held]:
        vanished = [held for held in self._held if held.sender is None and held.seated]
        return [held for held in vanished if not held.failed and not held.stream.over]

    def _stand_up(self, held: Held) -> None:
        if held.seated:
            held.seated = False
            self._admission.leave_stream(held.owner)

    def _finish(self, held: Held) -> None:
        try:
            held.stream.finish()
        except Exception as error:
            self.fail(held, error)

    def _drop(self, held: Held) -> None:
        """Close a stream that cannot close itself."""
        if held not in self._held:
            return
        held.failed = True
        held.stream.leave()
        session_id = held.stream.session_id
        if self._hub.is_live(session_id):
            self.publish(held, held.so_far.closed(session_id, held.stream.reached_ms))
        self._leave(held)

    def _leave(self, held: Held) -> None:
        if held not in self._held:
            return
        if held.failed and held.expiry is not None:
            held.expiry.cancel()
        self._held.discard(held)
        self._stand_up(held)
        if held.sender is None:
            held.note("closed", reason=held.reason)
