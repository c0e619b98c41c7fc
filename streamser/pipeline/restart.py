"""Where a session can go on from, should whoever drives it be lost; pure.

A point is where the last utterance that was told of had closed: everything of the sound before it
is told, and what comes after it comes again from the same sound. What of that was told already is
not told twice: ``ToldEvents`` knows it by what it says, since numbers and times differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from streamser import events
from streamser.emotion.mood import MoodMemory
from streamser.pipeline.hearing import HearingState
from streamser.pipeline.session_config import SessionConfig
from streamser.pipeline.speaker_state import SpeakersState

EventKey: TypeAlias = tuple[str, str]
"""What makes an event the same one when it comes again: its type, and what it speaks of."""

_IN_PASSING = (
    events.TranscriptPartial,
    events.TranscriptionDelta,
    events.EmotionDelta,
    events.Overload,
)
"""They depend on timing: others come in their place."""

_FINALS = (
    events.TranscriptionCompleted,
    events.EmotionCompleted,
    events.MoodUpdated,
    events.TranscriptionFailed,
)
"""They move the point that a session goes on from, and so never come again."""

_STARTED = "input_audio_buffer.speech_started"
_COMMITTED = "input_audio_buffer.committed"


class OpenUtterance(msgspec.Struct, frozen=True):
    """Hold an utterance that goes on; see ``Utterance``."""

    number: int
    start: int
    speech: int
    readings: int


class Counts(msgspec.Struct):
    """Count what a session has told of; ``numbers`` are utterances begun, ``speech`` is samples."""

    numbers: int = 0
    utterances: int = 0
    failed: int = 0
    speech: int = 0


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
    samples.
    """

    boundary: Boundary
    seq: int
    expected: tuple[EventKey, ...]
    config: SessionConfig
    speakers: SpeakersState
    mood: MoodMemory
    failed: int
    dropped: tuple[int, int]
    readable: bool

    @property
    def position(self) -> int:
        """Return the sample from which on sound comes again."""
        return self.boundary.hearing.turns.position

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


def key_of(event: events.Event, *, ordered: bool) -> EventKey | None:
    """Return what makes an event the same one; ``None`` where it does not come again.

    In an ``ordered`` session what is told in passing comes again, too.
    """
    if isinstance(event, _FINALS) or (not ordered and isinstance(event, _IN_PASSING)):
        return None
    name = getattr(event, "item_id", None) or getattr(event, "id", None) or ""
    return event.type, str(name)


class ToldEvents:
    """Count what was told and will come again."""

    def __init__(self, told: Iterable[EventKey], *, ordered: bool) -> None:
        self._left = Counter(told)
        self._ordered = ordered

    def was_told(self, event: events.Event) -> bool:
        """Return whether an event comes again, each as often as it was told."""
        key = key_of(event, ordered=self._ordered)
        if key is None or not self._left[key]:
            return False
        self._left[key] -= 1
        return True

    @property
    def expected(self) -> tuple[EventKey, ...]:
        """Return what has not come again so far."""
        return tuple(self._left.elements())

    def lost_items(self) -> list[tuple[str, bool]]:
        """Return items that have not come again, in their order, and whether they were over."""
        left = [key for key, count in self._left.items() if count]
        over = [name for kind, name in left if kind == _COMMITTED]
        begun = [name for kind, name in left if kind == _STARTED and name not in over]
        return [*((name, True) for name in over), *((name, False) for name in begun)]
