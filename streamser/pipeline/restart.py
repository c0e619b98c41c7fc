"""A session that another can go on from, in another process, where its own is lost; pure.

A point is where the last utterance that was told of had closed: everything of the sound before it
is told, and what comes after it comes again from the same sound. What of that was told already is
not told twice: ``ToldEvents`` knows it by what it says, since numbers and times differ.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser import events
from streamser.audio.clip import to_ms, to_samples
from streamser.emotion.model import SpeakerModel
from streamser.emotion.mood import MoodMemory
from streamser.pipeline.emitter import Counts, EventKey, ToldEvents
from streamser.pipeline.hearing import HearingState
from streamser.pipeline.requests import Fault
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig
from streamser.pipeline.speaker_state import SpeakerOrder, SpeakersState
from streamser.pipeline.utterance import TrackedUtterance
from streamser.speech.endpointing import Closed, EndpointEvent
from streamser.speech.vad import Vad

logger = logging.getLogger(__name__)


class OpenUtterance(msgspec.Struct, frozen=True):
    """Hold an utterance that goes on; see ``TrackedUtterance``."""

    number: int
    start: int
    speech: int
    readings: int


class Boundary(msgspec.Struct, frozen=True, kw_only=True):
    """Hold where the sound is once an utterance has closed.

    ``inputs`` is how many of what was given to the session are over by then, ``seq`` the number of
    the last event told; ``expected`` are events told by then that are still to come again.
    """

    inputs: int
    seq: int
    expected: tuple[EventKey, ...]
    hearing: HearingState
    open: OpenUtterance | None
    markers: tuple[tuple[str, int], ...]
    counts: Counts
    last_item: str | None


class RestartPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that a session goes on from: a boundary, and what was known once it was told of.

    ``seq`` is the number of the last event that will not come again, but for those ``expected``.
    ``dropped`` are partials and
    samples. ``named`` is how many inputs are over by then that may say who speaks.
    """

    boundary: Boundary
    seq: int
    expected: tuple[EventKey, ...]
    config: SessionConfig
    speakers: SpeakersState
    named: int
    mood: MoodMemory
    failed: int
    dropped: tuple[int, int]
    readable: bool

    @property
    def position(self) -> int:
        """Return the sample from which on sound comes again."""
        return self.boundary.hearing.turns.position

    def without_voices(self) -> RestartPoint:
        """Return the same point, from which nobody's voice is known any more."""
        return replace(self, speakers=self.speakers.without_voices())

    @property
    def needs_from(self) -> int:
        """Return the oldest sample that is needed."""
        return self.boundary.hearing.turns.needs_from


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a session needs to take another's place.

    ``sound`` are the samples from the point's ``needs_from`` to its ``position``, float32.
    ``seq`` is the last event's number, and ``told`` what was told since the point; ``texts`` is
    the settled text of each item that was told by then. ``suspects`` are utterances, by number,
    that the models were lost over, and how often.
    """

    point: RestartPoint
    sound: bytes
    seq: int
    told: tuple[EventKey, ...]
    texts: dict[str, str]
    suspects: dict[int, int]


_POINT_EVERY = to_samples(5000)
"""Sound without anything to tell, after which what is kept of it may go."""

_LOST = Fault("worker_died", "the process of the models ended")


class ResumableSession(Session):
    """Say now and then where another could go on from, or go on from where another was.

    ``inputs`` is how much of what was given to the session is over: sound that is being heard
    is not, anything else is from its beginning on. Whoever drives the session keeps it.
    """

    def __init__(
        self, config: SessionConfig, vad: Vad, new_speaker: Callable[[], SpeakerModel]
    ) -> None:
        super().__init__(config, vad, new_speaker)
        self.inputs = 0
        self._boundaries: dict[str, Boundary] = {}
        self._settled: tuple[Boundary, int, tuple[EventKey, ...]] | None = None
        self._before: RestartPoint | None = None
        self._replaying = self._held = False
        self._named = self._point_at = 0
        self._texts: dict[str, str] = {}

    def begin(self) -> list[Output]:
        """Introduce the session, from where another can go on whatever has been heard by then."""
        begun = super().begin()
        self._settled = self._boundary(), self._events.seq, self._expected
        return begun

    def restart_point(self) -> RestartPoint | None:
        """Return where another could go on from, if that has moved since it was last asked.

        That is where the last utterance told of had closed, or, after a while in which nothing
        was to be told, here. Raises what a speaker model raises.
        """
        if self._held:
            point, self._before = self._before, None
            return point
        if self._settled is None:
            far = self.position - self._point_at >= _POINT_EVERY
            busy = self._open is not None or not self._hearing.idle or not self._events.is_empty
            if busy or not far or self._ending or self._replaying:
                return None
            self._settled = self._boundary(), self._events.seq, self._expected
        return self._settled_point()

    def _settled_point(self) -> RestartPoint | None:
        """Return where the last utterance told of had closed, with what is known by now."""
        settled, self._settled = self._settled, None
        if settled is None:
            return None
        at, seq, expected = settled
        self._point_at = at.hearing.turns.position
        return RestartPoint(
            boundary=at,
            # Of an ordered session everything after the final comes again, in its order.
            seq=seq if self._config.ordered else at.seq,
            expected=expected if self._config.ordered else at.expected,
            config=self._config,
            speakers=self.speakers.state(),
            named=self.inputs,
            mood=self._mood.snapshot(),
            failed=self._counts.failed,
            dropped=(self._dropped_partials.total, self._dropped_audio.total),
            readable=self._tracker.readable,
        )

    def resume(self, past: Resumption) -> None:
        """Take the place of another session of the same configuration, in place of ``begin``.

        What it was given since the point is to be given again, sound from its ``position`` on;
        then comes ``end_replay``.
        """
        point, at = past.point, past.point.boundary
        self._hearing.restore(at.hearing, np.frombuffer(past.sound, np.float32))
        self._tracker.ring, self._tracker.readable = self._hearing.ring, point.readable
        self._tracker.suspects = past.suspects
        self.speakers.go_on(point.speakers)
        self._named = point.named
        self._mood.restore(point.mood)
        self._counts = replace(at.counts, failed=point.failed)
        self._dropped_partials.total, self._dropped_audio.total = point.dropped
        self._markers, self._texts = list(at.markers), dict(past.texts)
        if at.last_item is not None:
            self._last = TrackedUtterance(number=0, item_id=at.last_item, start=0)
        if at.open is not None:
            self._open = TrackedUtterance(
                number=at.open.number,
                item_id=self._item_id(at.open.number),
                start=at.open.start,
                speech=at.open.speech,
                readings=at.open.readings,
                told=self._texts.pop(self._item_id(at.open.number), ""),
            )
        self._events.seq = past.seq
        self._events.told = ToldEvents(past.told, ordered=self._config.ordered)
        self.inputs, self._point_at, self._replaying = at.inputs, point.position, True

    def configure(self, config: SessionConfig) -> list[Output]:
        """Go on with another configuration; see ``Session.configure``."""
        if self._events.told is not None:
            self._events.told.ordered = config.ordered
        return super().configure(config)

    def end_replay(self) -> list[Output]:
        """Go on; what was told of and has not come again has failed, so that nobody waits."""
        self._replaying = False
        told = self._events.told
        if told is not None and not self._config.ordered:
            for item_id, committed in told.lost_items():
                self._lose_item(item_id, committed=committed)
        return self._output()

    def name_speakers(self, order: SpeakerOrder) -> list[Output]:
        """Follow what a client says of who speaks, unless it is known from before."""
        if self._replaying and self.inputs <= self._named:
            return []
        return super().name_speakers(order)

    def _follow(self, found: list[EndpointEvent]) -> None:
        super()._follow(found)
        if any(isinstance(event, Closed) for event in found):
            assert self._last is not None, "what has closed is the last utterance"
            item_id, boundary = self._last.item_id, self._boundary()
            self._boundaries[item_id] = boundary
            if self._last.slot is not None and self._last.slot.content is None:
                # Its final stood ready, and has been told already.
                self._settle(item_id)

    def _start_utterance(self, start: int) -> None:
        super()._start_utterance(start)
        utterance = self._opened()
        utterance.told = self._texts.pop(utterance.item_id, "")

    def _ask_partial(self, end: int) -> None:
        if self._replaying and not self._config.ordered:
            # It would be told long after its time.
            utterance = self._opened()
            utterance.speech += self._hearing.window
            every = self._config.partial_every
            utterance.readings = utterance.speech // every if every else 0
        else:
            super()._ask_partial(end)

    def _identify(self, utterance: TrackedUtterance) -> bool:
        if self._config.guesses_speakers and not utterance.heard:
            # One whose parts are still to be read comes again: nobody may have heard it before.
            self._before = None
            try:
                self._before = self._settled_point()
            except Exception as error:
                logger.error("no point to go on from", exc_info=error)
        self._held = not super()._identify(utterance)
        return not self._held

    def _complete(self, utterance: TrackedUtterance) -> None:
        super()._complete(utterance)
        self._settle(utterance.item_id)

    def _settle(self, item_id: str) -> None:
        """Note that an utterance has been told of, and with it all before it."""
        boundary = self._boundaries.pop(item_id, None)
        if boundary is not None:
            self._settled = boundary, self._events.seq, self._expected

    @property
    def _expected(self) -> tuple[EventKey, ...]:
        return () if self._events.told is None else self._events.told.expected

    def _boundary(self) -> Boundary:
        goes_on = self._open
        if goes_on is not None:
            still = OpenUtterance(goes_on.number, goes_on.start, goes_on.speech, goes_on.readings)
        return Boundary(
            inputs=self.inputs,
            seq=self._events.seq,
            expected=self._expected,
            hearing=self._hearing.snapshot(),
            open=None if goes_on is None else still,
            markers=tuple(self._markers),
            counts=replace(self._counts),
            last_item=None if self._last is None else self._last.item_id,
        )

    def _lose_item(self, item_id: str, *, committed: bool) -> None:
        """Tell that an utterance is over and has failed: its sound was not heard the same again."""
        self._counts.numbers = max(self._counts.numbers, int(item_id.rpartition("_")[2]))
        self._counts.utterances += 1
        if not committed:
            previous = None if self._last is None else self._last.item_id
            here = to_ms(self.position)
            stopped = events.SpeechStopped(
                **self._blank, item_id=item_id, audio_end_ms=here, reason="flush"
            )
            self._events.emit(stopped)
            self._events.emit(
                events.Committed(**self._blank, item_id=item_id, previous_item_id=previous)
            )
        here_too = self.position
        lost = TrackedUtterance(number=0, item_id=item_id, start=here_too, end=here_too)
        self._last = lost
        self._fail(lost, _LOST)

    def _item_id(self, number: int) -> str:
        return f"item_{self._config.session_id}_{number}"
