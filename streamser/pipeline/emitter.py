"""How a session's events leave it: what they say, in which order, and what was dropped.

``EventBuilder`` words what was found, ``EventEmitter`` orders and numbers, ``DropCounter`` counts
what could not be kept up with, and says so without flooding. None of them makes an event of an
utterance: the session does.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import asdict, replace

from streamser import events
from streamser.audio.clip import SAMPLE_RATE, to_ms, to_samples
from streamser.emotion.model import Prediction
from streamser.emotion.mood import MoodState
from streamser.events import (
    EmotionBody,
    ErrorBody,
    Event,
    PartEmotion,
    SpeakerChange,
    SpeakerPart,
    Usage,
    Window,
    WordTiming,
)
from streamser.pipeline.requests import UNCERTAIN, Fault
from streamser.pipeline.speaker_state import joined, main_label
from streamser.pipeline.utterance import Analysed, Slot, TrackedUtterance
from streamser.speech.diarisation import Change, Part
from streamser.speech.hypothesis import committed_text, revisable_text
from streamser.speech.transcriber import Transcript, Word
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

_TELL_EVERY = to_samples(1000)

_PLACES = 4
"""Decimal places of what is judged: more would only look like precision."""

UNREADABLE: Final = Prediction(
    category=UNSURE,
    confidence=0.0,
    scores=dict.fromkeys(CATEGORIES, 1 / len(CATEGORIES)),
    dimensions=Dimensions(None, None, None),
    uncertainty=1.0,
    modalities=(),
)
"""What is read from sound in which no voice can be heard; a mood takes nothing from it."""


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
    events.SpeakersChanged,
    events.MoodUpdated,
    events.TranscriptionFailed,
)
"""They move the point that a session goes on from, and so never come again; or, of speakers that
a client has named, they may: that says nothing new."""

_STARTED = "input_audio_buffer.speech_started"
_COMMITTED = "input_audio_buffer.committed"


class Counts(msgspec.Struct):
    """Count what a session has told of; ``numbers`` are utterances begun, ``speech`` is samples."""

    numbers: int = 0
    utterances: int = 0
    failed: int = 0
    speech: int = 0

    def summary(self, position: int, partials: DropCounter, audio: DropCounter) -> dict[str, Any]:
        """Word what there was in a session that ends at a sample, and what was dropped."""
        return {
            "audio_ms": to_ms(position),
            "speech_ms": to_ms(self.speech),
            "utterances": self.utterances,
            "failed": self.failed,
            "partials_dropped": partials.total,
            "audio_dropped_ms": audio.total_ms,
        }


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
        self.ordered = ordered
        """Whether the session is; it may become so before its first sound."""
        self._left = Counter(told)

    def was_told(self, event: events.Event) -> bool:
        """Return whether an event comes again, each as often as it was told."""
        key = key_of(event, ordered=self.ordered)
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


class EventEmitter:
    """Number events as they leave and keep reserved places in order.

    Reserved places come strictly in order. An event that is ``post``-ed passes them by,
    unless the emitter is ``ordered``: then nothing passes anything, and the sequence does not
    depend on when the reserved places became ready. ``lag_of`` says how late an event about a
    place in the audio (ms) is, in ms, where anybody knows.
    """

    def __init__(self, session_id: str, *, ordered: bool) -> None:
        self.blank: dict[str, Any] = {"event_id": "", "session_id": session_id, "seq": 0}
        """What an event is made with before it has a number."""
        self.ordered = ordered
        self.lag_of: Callable[[int], float | None] | None = None
        self.seq = 0
        """The number of the last event that was told."""
        self.told: ToldEvents | None = None
        """What another has told in this one's place, and must not be told again."""
        self._session_id = session_id
        self._order: deque[Slot] = deque()
        self._ready: list[Event] = []

    def emit(self, event: Event) -> None:
        """Give an event its number and let it go; only for what is due now."""
        if self.told is not None and self.told.was_told(event):
            return
        self.seq += 1
        event_id = f"event_{self._session_id}_{self.seq}"
        lag_ms = None
        if self.lag_of is not None and (position := event.clock_ms) is not None:
            lag_ms = self.lag_of(position)
        self._ready.append(replace(event, event_id=event_id, seq=self.seq, lag_ms=lag_ms))

    def post(self, event: Event, *, last: bool = False) -> None:
        """Let an event go at once; where ``ordered``, or ``last``, after all reserved before it."""
        if self._order and (self.ordered or last):
            self.reserve(event).ready = True
        else:
            self.emit(event)

    def reserve(self, content: object = None) -> Slot:
        """Reserve the next place for some content, which may be set later."""
        slot = Slot(content)
        self._order.append(slot)
        return slot

    @property
    def is_empty(self) -> bool:
        """Return whether nothing waits in the order."""
        return not self._order

    def hold(self, slot: Slot, content: object) -> None:
        """Put content that was due back at the head of the order, until its slot is ready."""
        slot.content, slot.ready = content, False
        self._order.appendleft(slot)

    def due(self) -> Iterator[object]:
        """Yield the contents that stand ready at the head of the order; events leave by themselves.

        What is emitted for one of them stands before whatever is due after it.
        """
        while self._order and self._order[0].ready:
            slot = self._order.popleft()
            # What is due may hold its slot: without this, each keeps the other.
            content, slot.content = slot.content, None
            if isinstance(content, Event):
                self.emit(content)
            elif content is not None:
                yield content

    def collect(self) -> list[Event]:
        """Return the events that have left since the last call."""
        events, self._ready = self._ready, []
        return events


class EventBuilder:
    """Word the events about the utterances of one session: their fields, without an envelope."""

    def __init__(self, model: str, speaker: str | None) -> None:
        self._model = model
        self._speaker = speaker

    def emotion(
        self,
        prediction: Prediction,
        start: int,
        end: int,
        guess: str | None = None,
        found: Analysed | None = None,
    ) -> EmotionBody:
        """Word the emotion of samples from ``start`` to ``end``; ``guess`` is who spoke them.

        ``found`` is what else was found in a final: how fast it is spoken, and whether two speak
        at once: where that is much, it is nobody's in particular.
        """
        evidence, uncertain = dict(prediction.evidence), False
        if found is not None and found.tempo is not None and prediction.modalities:
            evidence |= _rounded(asdict(found.tempo))
        if found is not None and found.overlap and self._speaker is None:
            evidence["overlap"] = round(found.overlap, _PLACES)
            uncertain = found.overlap >= UNCERTAIN
        return EmotionBody(
            category=prediction.category,
            confidence=round(prediction.confidence, _PLACES),
            scores=_rounded(prediction.scores),
            dimensions=_rounded_dimensions(prediction.dimensions),
            uncertainty=round(prediction.uncertainty, _PLACES),
            modalities=prediction.modalities,
            speaker=self._speaker if guess is None else guess,
            speaker_provisional=guess is not None or uncertain,
            window=Window(start_ms=to_ms(start), end_ms=to_ms(end)),
            model=self._model,
            evidence=evidence,
        )

    def parts(
        self, parts: Sequence[Part], readings: Sequence[Prediction | None] = ()
    ) -> tuple[SpeakerPart, ...]:
        """Word who speaks when in an utterance, and what is read there; nothing of one part.

        ``readings`` are those of the parts, if there are any.
        """
        if len(parts) < 2:
            return ()
        return tuple(
            SpeakerPart(
                start_ms=to_ms(part.start),
                end_ms=to_ms(part.end),
                speaker=part.label,
                emotion=None if reading is None else _part_emotion(reading),
            )
            for part, reading in zip(parts, readings or [None] * len(parts), strict=True)
        )

    def changes(self, changes: Sequence[Change], session_id: str) -> tuple[SpeakerChange, ...]:
        """Word whose earlier utterances are after all."""
        return tuple(
            SpeakerChange(
                item_id=f"item_{session_id}_{change.item}",
                speaker=main_label(change.parts),
                parts=self.parts(joined(change.parts)),
            )
            for change in changes
        )

    def mood(self, state: MoodState, emotion: EmotionBody) -> dict[str, Any]:
        """Word the session's mood after an utterance, of which ``emotion`` was told."""
        return {
            "category": state.category,
            "scores": _rounded(state.scores),
            "dimensions": _rounded_dimensions(state.dimensions),
            "shift": state.shift,
            "previous": state.previous,
            "speaker": emotion.speaker,
            "speaker_provisional": emotion.speaker_provisional,
            "audio_end_ms": emotion.window.end_ms,
        }

    def partial(self, utterance: TrackedUtterance, end: int) -> dict[str, Any]:
        """Word what has been understood up to an absolute sample."""
        committed = committed_text(utterance.stable)
        revisable = revisable_text(utterance.stable)
        return {
            "text": committed + revisable,
            "committed": committed,
            "revisable": revisable,
            "audio_start_ms": to_ms(utterance.start),
            "audio_end_ms": to_ms(end),
        }

    def words(self, utterance: TrackedUtterance, transcript: Transcript) -> dict[str, Any]:
        """Word what was said in an utterance."""
        trusted = not transcript.distrust
        return {
            "transcript": transcript.text if trusted else "",
            "language": transcript.language,
            "confidence": transcript.confidence,
            "words": tuple(_timing(word) for word in transcript.words) if trusted else (),
            "distrusted": transcript.distrust or None,
            "usage": Usage(seconds=round((utterance.end - utterance.start) / SAMPLE_RATE, 3)),
            "audio_start_ms": to_ms(utterance.start),
            "audio_end_ms": to_ms(utterance.end),
        }

    def failure(self, utterance: TrackedUtterance, fault: Fault) -> dict[str, Any]:
        """Word that an utterance could not be analysed."""
        return {
            "error": server_error(fault.code, fault.message),
            "audio_start_ms": to_ms(utterance.start),
            "audio_end_ms": to_ms(utterance.end),
        }


def _part_emotion(prediction: Prediction) -> PartEmotion:
    return PartEmotion(
        category=prediction.category,
        confidence=round(prediction.confidence, _PLACES),
        scores=_rounded(prediction.scores),
        dimensions=_rounded_dimensions(prediction.dimensions),
        uncertainty=round(prediction.uncertainty, _PLACES),
        modalities=prediction.modalities,
    )


def _timing(word: Word) -> WordTiming:
    return WordTiming(
        word=word.text,
        start_ms=to_ms(word.start),
        end_ms=to_ms(word.end),
        confidence=word.confidence,
    )


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(score, _PLACES) for name, score in scores.items()}


def _rounded_dimensions(dimensions: Dimensions) -> Dimensions:
    values = (dimensions.valence, dimensions.arousal, dimensions.dominance)
    return Dimensions(*(None if value is None else round(value, _PLACES) for value in values))


def server_error(code: str, message: str) -> ErrorBody:
    """Word a fault that is not the client's."""
    return ErrorBody(type="server_error", code=code, message=message)


def client_error(
    code: str, message: str, event_id: str | None = None, param: str | None = None
) -> ErrorBody:
    """Word what is wrong with a client's message."""
    return ErrorBody(
        type="invalid_request_error", code=code, message=message, param=param, event_id=event_id
    )


class RefusedError(Exception):
    """Say that a client's message cannot be followed; ``body`` tells it why, and nobody else."""

    def __init__(self, code: str, message: str, event_id: str | None = None) -> None:
        super().__init__(message)
        self.body = client_error(code, message, event_id)


class DropCounter:
    """Count what was dropped of one kind: partial readings, or samples of sound.

    At most one report a second of audio; what came in between is added up in the next, or in
    the one that ``rest`` gives at the end. A report holds the fields of ``streamser.overload``.
    """

    def __init__(self, kind: Literal["partials", "audio"]) -> None:
        self.total = 0
        self._kind = kind
        self._amount = 0
        self._since: int | None = None
        self._reported: int | None = None
        self._reason = ""

    @property
    def total_ms(self) -> int:
        """Return the total as ms of sound."""
        return to_ms(self.total)

    def ignore(self, amount: int) -> None:
        """Count what was dropped to nobody's trouble."""
        self.total += amount

    def drop(self, amount: int, reason: str, position: int) -> dict[str, Any] | None:
        """Count what was dropped at an absolute sample; returns a report if one is due."""
        self.total += amount
        self._amount += amount
        self._reason = reason
        if self._since is None:
            self._since = position
        if self._reported is None or position - self._reported >= _TELL_EVERY:
            return self.rest(position)
        return None

    def rest(self, position: int) -> dict[str, Any] | None:
        """Return a report of what has not been reported yet, if there is any."""
        if self._since is None:
            return None
        audio = self._kind == "audio"
        report = {
            "kind": self._kind,
            "dropped": to_ms(self._amount) if audio else self._amount,
            "total": self.total_ms if audio else self.total,
            "since_ms": to_ms(self._since),
            "reason": self._reason,
        }
        self._amount, self._since, self._reported = 0, None, position
        return report
