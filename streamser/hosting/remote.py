"""A session in a worker process, as the process that talks to its client holds it.

A ``Journal`` keeps what it was given and has told since it could last be gone on from: so much of
the sound as another needs to take its place, an utterance's length and a little more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from streamser import events
from streamser.errors import ModelError
from streamser.events import SessionEvent
from streamser.hosting.link import WorkerLink
from streamser.hosting.records import (
    EndReplay,
    Give,
    Lapse,
    Leave,
    Listener,
    Open,
    Push,
    Reconfigure,
    SessionInput,
    Told,
)
from streamser.pipeline.emitter import EventKey, key_of, server_error
from streamser.pipeline.restart import RestartPoint, Resumption
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.speaker_state import ForgetVoices

_SAMPLE_BYTES = 4
_CHANCES = 3
"""Workers that may be lost over a session before it is given up."""


class _Entry(msgspec.Struct, frozen=True, eq=False):
    """Keep something that was given; ``begin`` is the session's sample at that moment."""

    index: int
    begin: int
    item: SessionInput

    @property
    def end(self) -> int:
        """Return the sample after it."""
        return self.begin + self.size // _SAMPLE_BYTES

    @property
    def size(self) -> int:
        """Return how many bytes of sound it is."""
        return len(self.item.samples) if isinstance(self.item, Push) else 0


class Journal:
    """Keep what is needed to let a session go on elsewhere."""

    def __init__(self, config: SessionConfig, voice: SessionSnapshot | None) -> None:
        self._first = config
        self._voice = voice
        self._ordered = config.ordered
        self.kept_bytes = 0
        """How much sound is kept."""
        self._entries: deque[_Entry] = deque()
        self._inputs = 0
        self._position = 0
        self._heard = 0
        self._seq = 0
        self._told: list[tuple[int, EventKey]] = []
        self._texts: dict[str, str] = {}
        self._due: dict[str, None] = {}
        self._point: RestartPoint | None = None
        self._suspects: dict[int, int] = {}

    @property
    def in_flight(self) -> int:
        """Return how many samples were given and are not known to be heard."""
        return self._position - self._heard

    @property
    def point(self) -> RestartPoint | None:
        """Return where the session could be gone on from, if that is not its beginning."""
        return self._point

    @property
    def seq(self) -> int:
        """Return the number of the last event that was told."""
        return self._seq

    def due(self) -> list[str]:
        """Return the items that are over and have no final yet, in their order."""
        return list(self._due)

    def give(self, item: SessionInput) -> None:
        """Keep what is given to the session."""
        if isinstance(item, Reconfigure):
            self._ordered = item.config.ordered
        entry = _Entry(self._inputs, self._position, item)
        self._entries.append(entry)
        self.kept_bytes += entry.size
        self._inputs += 1
        self._position = entry.end
        if self._point is not None and _forgets(item):
            # At once, and not when the session next says from where to go on.
            self._point = self._point.without_voices()

    def note(self, told: Told) -> None:
        """Take note of what the session has told."""
        self._heard = told.position
        for index, lapse in told.lapses:
            self._insert(index, lapse)
        if told.refusals:
            # What was refused once is not asked again.
            refused = {index for index, _ in told.refusals}
            self._entries = deque(
                entry
                for entry in self._entries
                if entry.index not in refused or isinstance(entry.item, Push | Lapse)
            )
        for event in told.events:
            self._note_event(event)
        if told.point is not None:
            self._forget_before(told.point)

    def blame(self, utterance: int) -> None:
        """Take note that models were lost over an utterance of this session."""
        self._suspects[utterance] = self._suspects.get(utterance, 0) + 1

    def replay(self) -> tuple[Open, list[SessionInput]]:
        """Return how another begins in this one's place, and what it is to be given then.

        From here on inputs are counted as that one counts them.
        """
        point = self._point
        if point is None:
            # Nothing was told yet: it has not even begun.
            self._entries = deque(each for each in self._entries if each.index >= 0)
            return Open(self._first, self._voice), [entry.item for entry in self._entries]
        past = Resumption(
            point=point,
            sound=self._sound(point),
            seq=self._seq,
            told=tuple(key for _, key in self._told),
            texts={} if self._ordered else dict(self._texts),
            suspects=dict(self._suspects),
        )
        items = [*self._items_from(point), EndReplay()]
        needed = _Entry(-1, point.needs_from, Push(past.sound, 0.0, 0))
        self._entries, self.kept_bytes = deque([needed]), needed.size
        self._inputs, self._position = point.boundary.inputs, point.position
        self._heard = point.position
        for item in items:
            self.give(item)
        return Open(point.config, past=past), items

    def _sound(self, point: RestartPoint) -> bytes:
        parts = []
        for entry in self._entries:
            if isinstance(entry.item, Push) and entry.end > point.needs_from:
                begin = max(0, point.needs_from - entry.begin)
                end = min(entry.end, point.position) - entry.begin
                if end > begin:
                    parts.append(entry.item.samples[_SAMPLE_BYTES * begin : _SAMPLE_BYTES * end])
        return b"".join(parts)

    def _items_from(self, point: RestartPoint) -> list[SessionInput]:
        items: list[SessionInput] = []
        for entry in self._entries:
            item = entry.item
            if isinstance(item, Push):
                if entry.end > point.position:
                    skip = max(0, point.position - entry.begin)
                    rest = item.samples[_SAMPLE_BYTES * skip :]
                    items.append(Push(rest, item.arrived, item.reached))
            elif entry.index >= point.boundary.inputs and not isinstance(item, EndReplay):
                items.append(item)
        return items

    def _insert(self, index: int, lapse: Lapse) -> None:
        """Put time that has passed by itself where it passed: before an input."""
        place = sum(entry.index < index for entry in self._entries)
        begin = self._entries[place - 1].end if place else self._heard
        self._entries.insert(place, _Entry(index, begin, lapse))

    def _note_event(self, event: SessionEvent) -> None:
        self._seq = event.seq
        key = key_of(event, ordered=self._ordered)
        if key is not None:
            self._told.append((event.seq, key))
        match event:
            case events.Committed(item_id=item_id):
                self._due[item_id] = None
            case events.Cleared():
                self._texts = {
                    item: text for item, text in self._texts.items() if item in self._due
                }
            case events.TranscriptionDelta(item_id=item_id, delta=delta):
                self._texts[item_id] = self._texts.get(item_id, "") + delta
            case (
                events.EmotionCompleted(item_id=item_id)
                | events.TranscriptionFailed(item_id=item_id)
            ):
                self._due.pop(item_id, None)
                self._texts.pop(item_id, None)
                self._suspects.pop(int(item_id.rpartition("_")[2]), None)

    def _forget_before(self, point: RestartPoint) -> None:
        # It may have been said before the session heard that voices are to be forgotten.
        late = any(_forgets(each.item) for each in self._entries if each.index >= point.named)
        self._point = point.without_voices() if late else point
        while self._entries and self._is_over(self._entries[0], point):
            self.kept_bytes -= self._entries.popleft().size
        since = [told for told in self._told if told[0] > point.seq]
        self._told = [*((point.seq, key) for key in point.expected), *since]

    def _is_over(self, entry: _Entry, point: RestartPoint) -> bool:
        if isinstance(entry.item, Push):
            return entry.end <= point.needs_from
        return entry.index < point.boundary.inputs


def _forgets(item: SessionInput) -> bool:
    """Return whether nobody's voice may be known after an input."""
    if isinstance(item, Reconfigure):
        return item.config.apart is None
    return isinstance(item, ForgetVoices)


class RemoteSession:
    """Hold a session that lives elsewhere, and all it needs to go on somewhere else.

    ``listener`` gets what it tells; ``let_go`` is called once it is over.
    """

    def __init__(
        self,
        config: SessionConfig,
        voice: SessionSnapshot | None,
        listener: Listener,
        let_go: Callable[[RemoteSession], None],
    ) -> None:
        self.session_id = config.session_id
        self.link: WorkerLink | None = None
        """Where it lives; ``None`` while it waits for a home."""
        self.unplaced_since: float | None = None
        self._epoch = 0
        self._given_up: str | None = None
        self._losses = 0
        self._model = config.models.emotion
        self._listener: Listener | None = listener
        self._let_go = let_go
        self._journal = Journal(config, voice)

    @property
    def in_flight(self) -> int:
        """Return how many samples are on their way to the session."""
        return self._journal.in_flight

    @property
    def kept_bytes(self) -> int:
        """Return how much of its sound is kept."""
        return self._journal.kept_bytes

    def apply(self, item: SessionInput) -> None:
        """Give the session something, as soon as it has a home.

        Raises ``ModelError`` where it was given up.
        """
        if self._given_up is not None:
            raise ModelError(self._given_up)
        self._journal.give(item)
        if self.link is not None:
            self.link.send(Give(self.session_id, item))

    def snapshot(self) -> SessionSnapshot | None:
        """Return what was known of the speaker when an utterance was last told of."""
        point = self._journal.point
        return None if point is None else SessionSnapshot(self._model, point.speakers.common)

    def leave(self) -> None:
        """Let the session go; nothing is told any more."""
        if self._listener is None:
            return
        self._listener = None
        if self.link is not None:
            self.link.send(Leave(self.session_id))
        self._let_go(self)

    def detach(self) -> None:
        """Go on elsewhere; what is still told here does not count any more."""
        if self.link is not None:
            self.link.send(Leave(self.session_id))
            self.link.sessions.pop(self.session_id, None)
            self.link = None

    def attach(self, link: WorkerLink) -> None:
        """Live there from here on, and go on where it was."""
        self.link, self.unplaced_since = link, None
        begins, items = self._journal.replay()
        self._epoch += 1
        link.send(replace(begins, epoch=self._epoch))
        for item in items:
            link.send(Give(self.session_id, item))

    def note(self, told: Told) -> None:
        """Take note of what it has told, and pass it on."""
        if told.epoch != self._epoch:
            return
        self._journal.note(told)
        if told.point is not None:
            self._losses = 0
        if self._listener is not None:
            self._listener(told)
        if told.closed:
            self._listener = None
            self._let_go(self)

    def blame(self, utterance: int) -> None:
        """Take note that models were lost over an utterance; 0: a worker was over the session."""
        if utterance:
            self._journal.blame(utterance)
        else:
            self._losses += 1

    @property
    def is_exhausted(self) -> bool:
        """Return whether worker after worker was lost over it, with nothing told in between."""
        return self._losses >= _CHANCES

    def give_up(self, why: str) -> None:
        """Tell that what is over and has no final has failed, and that the session has."""
        failed: list[events.SessionEvent] = []
        for number, item_id in enumerate(self._journal.due(), self._journal.seq + 1):
            failed.append(
                events.TranscriptionFailed(
                    event_id=f"event_{self.session_id}_{number}",
                    session_id=self.session_id,
                    seq=number,
                    item_id=item_id,
                    error=server_error("model_unavailable", why),
                    audio_start_ms=0,
                    audio_end_ms=0,
                )
            )
        told = Told(session_id=self.session_id, epoch=self._epoch, events=failed, fault=why)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(told)
        self._given_up = why
        self._let_go(self)
