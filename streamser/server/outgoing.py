"""What is sent to a connection: in what order, what is left out, what is kept to be sent again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamser.cluster.outbox import Hold
from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    Event,
    ListenerEvent,
    Overload,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    Snapshot,
    SpeakersChanged,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptPartial,
    encode_event,
)
from streamser.server.telemetry import supervised
from streamser.settings import ServerSettings

TOO_SLOW = 1013
_AT_ONCE = 32
"""Events that are sent before others get their turn: they take a millisecond."""
_STILL_S = 30.0
"""How long a connection may take nothing at all of what is left at its end."""

_BYTES_EACH = 4096
"""Room for each event, on average: one with a hundred word times takes twice that."""
_OVERRUN = 4
"""How many times the room may be taken before it is known whether a connection reads."""

_KEPT_EVENTS = 4_000
_KEPT_BYTES = 2 * 2**20
_NOTED = 4_000
"""Finals let go of whose numbers are remembered."""

SNAPSHOT_BYTES: Final = 2 * 2**20
"""Half of what our own client takes in one message."""

_Part = TypeVar("_Part")


def can_be_left_out(event: Event | ListenerEvent) -> bool:
    """Return whether an event only matters until the next of its kind, or the final."""
    kinds = TranscriptPartial | TranscriptionDelta | EmotionDelta | EmotionProvisional
    return isinstance(event, kinds)


class EncodedEvent(msgspec.Struct, frozen=True):
    """Hold an event on its way: the messages that word it, and its place in its session.

    ``session_id`` is empty where it belongs to none; ``clock_ms`` is its place in the audio;
    ``stamp`` is what the last of its body was made of, with the closing brace. After one that
    ``ends`` its session no other of it comes. It is sent once ``held_by`` is set, if it is given.
    """

    session_id: str
    seq: int
    clock_ms: int
    droppable: bool
    bodies: tuple[bytes, ...]
    stamp: bytes = b"}"
    ends: bool = False
    held_by: Hold | None = None

    @property
    def line(self) -> bytes:
        """Return the event alone, as one line of JSON, without what a listener is told besides."""
        return self.bodies[0][: -len(self.stamp)] + b"}"

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return sum(map(len, self.bodies))


def encode_stamped(
    event: Event | ListenerEvent, cursor: int, meeting: str | None, at_ms: int
) -> EncodedEvent:
    """Encode an event for listeners, with its place among all events and in its meeting."""
    place = (
        b""
        if isinstance(event, ListenerEvent)
        else b',"meeting":%b,"at_ms":%d' % (msgspec.json.encode(meeting), at_ms)
    )
    stamp = b',"cursor":%d%b}' % (cursor, place)
    told = event if isinstance(event, Event) else None
    return EncodedEvent(
        session_id="" if told is None else told.session_id,
        seq=0 if told is None else told.seq,
        clock_ms=0 if told is None else (told.clock_ms or 0),
        droppable=can_be_left_out(event),
        bodies=(encode_event(event)[:-1] + stamp,),
        stamp=stamp,
        ends=isinstance(event, SessionClosed),
    )


class SendQueue:
    """Send events to a connection as fast as it reads, and give it up if it is too slow.

    ``enqueue`` never waits: no connection can hold up another. ``on_drops`` is told of the number
    of events left out. ``fault`` is what has ended the sending, where that was no closed
    connection.
    """

    def __init__(
        self,
        connection: ServerConnection,
        most: int,
        encode: Callable[[Overload, bytes], tuple[bytes, ...]],
        on_drops: Callable[[int], None],
        still_s: float = _STILL_S,
    ) -> None:
        self._connection = connection
        self._still_s = still_s
        self._backlog = Backlog(most, encode)
        self._on_drops = on_drops
        self._reported = 0
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._judging = False
        self.too_slow = False
        self.fault: Exception | None = None
        self._task = supervised(self._send, self._fail)

    def enqueue(self, event: EncodedEvent) -> None:
        """Let an event be sent after those before it."""
        if self._task.done() or self.too_slow or not event.bodies:
            return
        if not self._backlog.enqueue(event):
            self._doubt()
        if self._backlog.dropped > self._reported:
            self._on_drops(self._backlog.dropped - self._reported)
            self._reported = self._backlog.dropped
        if len(self._backlog):
            self._empty.clear()
            self._filled.set()

    def replay(self, events: list[EncodedEvent]) -> None:
        """Let events be sent that come all at once, which is no sign of slowness."""
        if events and not self._task.done():
            self._backlog.replay(events)
            self._empty.clear()
            self._filled.set()

    async def drain(self) -> None:
        """Wait until everything is sent, or nothing can be any more.

        A connection that takes nothing for ``still_s`` is given up: some are never asked for a
        sign of life, and a stream that is over takes no place that would run out.
        """
        waiting = asyncio.create_task(self._empty.wait())
        ends: set[asyncio.Task[Any]] = {waiting, self._task}
        sent = -1
        while not any(each.done() for each in ends) and sent != self._sent:
            sent = self._sent
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait(ends, return_when=first, timeout=self._still_s)
        if not any(each.done() for each in ends):
            self._give_up()
        waiting.cancel()

    async def wait_until_done(self) -> None:
        """Wait until nothing can be sent any more: the connection is gone, or too slow."""
        await asyncio.wait({self._task})

    async def close(self) -> None:
        """Send nothing more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def _doubt(self) -> None:
        """See whether a connection that has more to read than there is room for reads at all."""
        if self._backlog.is_overrun:
            self._give_up()
        elif not self._judging:
            self._judging = True
            self._loop.call_soon(self._judge, self._sent, 2)

    def _give_up(self) -> None:
        self.too_slow = True
        self._task.cancel()

    def _judge(self, sent: int, turns: int) -> None:
        """Give the connection up if it took nothing in whole turns of the loop."""
        # Whoever had no turn to send, as one long turn made all the events, is not slow.
        if turns and self._sent == sent:
            self._loop.call_soon(self._judge, sent, turns - 1)
            return
        self._judging = False
        if self._sent == sent and self._backlog.is_over_full and not self._task.done():
            self._give_up()

    def _fail(self, error: Exception) -> None:
        self.fault = error

    async def _send(self) -> None:
        try:
            while True:
                await self._filled.wait()
                while len(self._backlog):
                    if (held_by := self._backlog.held_by) is not None:
                        await held_by.wait()
                    bodies = self._backlog.dequeue()
                    if held_by is not None and held_by.void:
                        continue
                    self._sent += 1
                    for body in bodies:
                        await self._connection.send(body, text=True)
                    if not self._sent % _AT_ONCE:
                        # Sending waits for nothing while there is room in the system's buffers.
                        await asyncio.sleep(0)
                self._filled.clear()
                self._empty.set()
        except ConnectionClosed:
            return


class _Loss(msgspec.Struct):
    count: int
    since_ms: int
    last: EncodedEvent


class Backlog:
    """Keep at most ``most`` events in order; pure.

    From half of that on, those that can be left out are; an ``Overload`` stands for them,
    with the ``seq`` and the stamp of the last, worded by ``encode``. When there is no room even
    so, ``enqueue`` says no, and keeps the event all the same: a connection that then takes nothing
    must be closed, and any at all once the backlog is ``is_overrun``.
    """

    def __init__(self, most: int, encode: Callable[[Overload, bytes], tuple[bytes, ...]]) -> None:
        self._most = self._usual = most
        self._encode = encode
        self._waiting: deque[EncodedEvent] = deque()
        self._size = 0
        self._losses: dict[str, _Loss] = {}
        self._totals: dict[str, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._losses)

    def replay(self, events: Sequence[EncodedEvent]) -> None:
        """Take in events that come all at once; there is more room until nothing waits any more.

        None is left out of those, and it takes no time, though they may be thousands.
        """
        # Of the room only half is for events that can be left out.
        self._most += 2 * len(events)
        self._waiting.extend(events)
        self._size += sum(event.size for event in events)

    @property
    def is_over_full(self) -> bool:
        """Return whether more waits than there is room for."""
        return self._is_full(self._most)

    @property
    def is_overrun(self) -> bool:
        """Return whether so much waits that the connection must be closed, whatever it takes."""
        return self._is_full(_OVERRUN * self._most)

    def enqueue(self, event: EncodedEvent) -> bool:
        """Take an event in, or leave it out; returns whether there was room for it."""
        if event.droppable and self._is_full(self._most // 2):
            self._lose(event)
            return True
        if self._is_full(self._most):
            self._tidy()
        fits = not self._is_full(self._most)
        self._append_loss(event.session_id)
        self._append(event)
        if event.ends:
            self._totals.pop(event.session_id, None)
        return fits

    @property
    def held_by(self) -> Hold | None:
        """Return what the first event waits for."""
        return self._waiting[0].held_by if self._waiting else None

    def dequeue(self) -> tuple[bytes, ...]:
        """Remove and return the messages of the first event; only where there is one."""
        if not self._waiting:
            self._append_loss(next(iter(self._losses)))
        event = self._waiting.popleft()
        self._size -= event.size
        if not self._waiting:
            self._most = self._usual
        return event.bodies

    def _is_full(self, most: int) -> bool:
        return len(self._waiting) >= most or self._size >= most * _BYTES_EACH

    def _append(self, event: EncodedEvent) -> None:
        self._waiting.append(event)
        self._size += event.size

    def _tidy(self) -> None:
        """Leave out everything that waits and can be left out."""
        waiting, self._waiting, self._size = self._waiting, deque(), 0
        # What was lost before came after all that waits.
        later, self._losses = self._losses, {}
        for event in waiting:
            if event.droppable:
                self._lose(event)
            else:
                self._append_loss(event.session_id)
                self._append(event)
        for session_id, loss in later.items():
            earlier = self._losses.setdefault(session_id, _Loss(0, loss.since_ms, loss.last))
            earlier.count += loss.count
            earlier.last = loss.last

    def _lose(self, event: EncodedEvent) -> None:
        self.dropped += 1
        loss = self._losses.setdefault(event.session_id, _Loss(0, event.clock_ms, event))
        loss.count += 1
        loss.last = event

    def _append_loss(self, session_id: str) -> None:
        loss = self._losses.pop(session_id, None)
        if loss is None:
            return
        total = self._totals[session_id] = self._totals.get(session_id, 0) + loss.count
        last = loss.last
        overload = Overload(
            event_id=f"event_{session_id}_{last.seq}_slow",
            session_id=session_id,
            seq=last.seq,
            kind="deltas",
            dropped=loss.count,
            total=total,
            since_ms=loss.since_ms,
            reason="slow",
        )
        bodies = self._encode(overload, last.stamp)
        # It stands for droppable ones, but must not be dropped: it is what tells of them.
        self._append(EncodedEvent(session_id, last.seq, loss.since_ms, False, bodies, last.stamp))


class MissedEvents(msgspec.Struct, frozen=True):
    """Hold what is sent again, and how many events cannot be; ``lost_finals`` are among them."""

    events: tuple[EncodedEvent, ...]
    lost_events: int
    lost_finals: int


class ReplayBuffer:
    """Keep at most so many events and bytes of one stream, whatever others tell; pure.

    Where there are more, readings on the way are let go of first, finals late, and who spoke
    after all last; the oldest of each kind goes first. The session's first event stays.
    """

    def __init__(self, most: int = _KEPT_EVENTS, most_bytes: int = _KEPT_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._first: EncodedEvent | None = None
        self._ranks: tuple[deque[EncodedEvent], ...] = (deque(), deque(), deque(), deque())
        self._size = 0
        self._seq = 0
        self._resumed: deque[int] = deque(maxlen=_NOTED)
        self._lost_finals: deque[int] = deque(maxlen=_NOTED)

    def __len__(self) -> int:
        return sum(map(len, self._ranks)) + (self._first is not None)

    def add(self, event: Event, encoded: EncodedEvent) -> None:
        """Keep an event as it was told."""
        self._seq = event.seq
        match event:
            case SessionCreated():
                self._first = encoded
                return
            case SessionResumed():
                # It would tell its client to send on where that is true no more.
                self._resumed.append(event.seq)
                return
            case EmotionCompleted() | TranscriptionCompleted() | TranscriptionFailed():
                rank = 2
            case SpeakersChanged():
                rank = 3
            case _:
                rank = 0 if encoded.droppable else 1
        self._ranks[rank].append(encoded)
        self._size += encoded.size
        while len(self) > self._most or self._size > self._most_bytes:
            self._let_go()

    def since(self, seq: int) -> MissedEvents:
        """Return what came after a ``seq``, in order."""
        kept = [event for rank in self._ranks for event in rank if event.seq > seq]
        if self._first is not None and self._first.seq > seq:
            kept.append(self._first)
        kept.sort(key=lambda event: event.seq)
        resumed = sum(each > seq for each in self._resumed)
        return MissedEvents(
            events=tuple(kept),
            lost_events=max(0, self._seq - max(0, seq) - len(kept) - resumed),
            lost_finals=sum(each > seq for each in self._lost_finals),
        )

    def _let_go(self) -> None:
        rank = next(rank for rank in self._ranks if rank)
        gone = rank.popleft()
        self._size -= gone.size
        if rank is self._ranks[2]:
            self._lost_finals.append(gone.seq)


def short_of_history(own: ServerSettings) -> str | None:
    """Return a line for people where more may wait for a client than is kept; ``None``: enough.

    What waits for a connection is gone with it: who comes back needs all of it again.
    """
    waiting, kept = own.backlog_events, own.replay_events
    if waiting > kept:
        return (
            f"server.backlog_events {waiting}: so many may wait for a listener, and"
            f" server.replay_events keeps only {kept} for all who come back: raise it to {waiting}"
            " or more."
        )
    if own.resume_s and waiting > _KEPT_EVENTS:
        return (
            f"server.backlog_events {waiting}: so many may wait for a client, and only"
            f" {_KEPT_EVENTS} are kept for one who comes back: set it to {_KEPT_EVENTS} or less, or"
            " server.resume_s to 0."
        )
    return None


def encode_snapshot(snapshot: Snapshot, most: int = SNAPSHOT_BYTES) -> bytes:
    """Encode a snapshot in at most ``most`` bytes; raises ``ValueError`` where none can be.

    Of what is too much there stay, in this order: the sessions that go on, their meetings, the
    last finals, and of the meetings that are over those that began last.
    """
    whole = encode_event(snapshot)
    if len(whole) <= most:
        return whole
    frame = len(encode_event(replace(snapshot, sessions=(), meetings=(), finals=())))
    if frame > most:
        raise ValueError(f"no snapshot has {most} bytes")
    budget = _ByteBudget(most - frame)
    sessions = budget.fit(snapshot.sessions[::-1])[::-1]
    going_on = {state.session.meeting for state in sessions}
    live = budget.fit([each for each in snapshot.meetings if each.meeting in going_on])
    finals = budget.fit(snapshot.finals[::-1])[::-1]
    over = budget.fit([each for each in snapshot.meetings[::-1] if each.meeting not in going_on])
    told = {each.meeting for each in (*live, *over)}
    meetings = tuple(each for each in snapshot.meetings if each.meeting in told)
    return encode_event(replace(snapshot, sessions=sessions, meetings=meetings, finals=finals))


class _ByteBudget:
    """Count the bytes that are left."""

    def __init__(self, left: int) -> None:
        self._left = left

    def fit(self, parts: Sequence[_Part]) -> tuple[_Part, ...]:
        """Return as many of the first parts as there is room for."""
        sent = []
        for part in parts:
            size = len(msgspec.json.encode(part)) + 1
            if size > self._left:
                break
            self._left -= size
            sent.append(part)
        return tuple(sent)
