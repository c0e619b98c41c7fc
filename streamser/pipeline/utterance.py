"""What a session remembers of an utterance, and what models are asked about it; pure.

Words and emotion are asked for apart. Live, the voice is read while the recogniser is still at
work: a partial reading takes the words known so far, and a final is asked for of the voice alone
first, and again together with its words once they are there. In an ordered session each reading
waits for the words of the very same sound, so that nothing depends on timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import Clip, Ring, is_pinned, to_samples
from streamser.emotion.model import Features
from streamser.emotion.tempo import Tempo
from streamser.pipeline.requests import (
    UNCERTAIN,
    Cancel,
    EmotionRequest,
    Fault,
    Observed,
    Outcome,
    Request,
    Skipped,
    WordsRequest,
)
from streamser.pipeline.session_config import SessionConfig
from streamser.speech.diarisation import VoiceWindow
from streamser.speech.hypothesis import Stable
from streamser.speech.transcriber import Transcript, said_within

_READABLE = to_samples(1000)
"""Samples of one speaker in an utterance of several, below which they have no reading."""
_CHANCES = 2
"""How often models may be lost over an utterance before it fails."""


class Slot(msgspec.Struct, eq=False):
    """Keep a place in the order for some content: due once it is ``ready`` and at the head."""

    content: object = None
    ready: bool = False


class Analysed(msgspec.Struct, frozen=True, eq=False):
    """Hold all that was found in an utterance; ``transcript`` is ``None`` where none was asked.

    ``overlap`` is the share in which two speak at once; where that is much, no voice is known.
    ``tempo`` is how fast it is spoken, where that can be said.
    """

    transcript: Transcript | None
    features: Features
    voices: tuple[VoiceWindow, ...] = ()
    overlap: float = 0.0
    tempo: Tempo | None = None


class Partial(msgspec.Struct, eq=False):
    """Follow a partial on its way: up to where, its place, and the words that have come of it.

    ``slot`` is its place among the events of an ordered session; a live one has none.
    """

    end: int
    slot: Slot | None = None
    transcript: Transcript | None = None


class TrackedUtterance(msgspec.Struct, kw_only=True, eq=False):
    """Follow one utterance; positions are absolute samples.

    ``speech`` counts the samples of speech windows, ``readings`` the partials asked for,
    ``partials`` those still on their way, by request. ``words`` are those of the latest trusted
    partial, ``told`` the settled text told so far. ``end`` is set when the final is asked for,
    speculatively or not, with the requests for its words, for its voice alone, and for both
    together; ``transcript``, ``alone`` and ``outcome`` are what has come of them. ``slot`` is
    its place among the session's events once the utterance is closed, and ``patience_ends``
    where on the session's clock its voice alone is told of, if words are still missing.
    ``unreadable``: in the sound asked about last no voice can be heard. Where voices are told
    apart ``clip`` is the sound of the final; ``heard`` is set once it is known whose it is, and
    which others that ``changes``, by number; and ``parts`` are its stretches of one
    speaker that were asked about for themselves, by samples, ``part_requests`` those on their way.
    """

    number: int
    item_id: str
    start: int
    end: int = 0
    speech: int = 0
    readings: int = 0
    partials: dict[int, Partial] = {}
    stable: Stable = msgspec.field(default_factory=Stable)
    words: Transcript | None = None
    told: str = ""
    words_request: int | None = None
    voice_request: int | None = None
    final_request: int | None = None
    transcript: Transcript | None = None
    alone: Observed | None = None
    outcome: Analysed | Fault | None = None
    slot: Slot | None = None
    patience_ends: int = 0
    unreadable: bool = False
    clip: Clip | None = None
    heard: bool = False
    changes: tuple[int, ...] = ()
    parts: dict[tuple[int, int], Features] = {}
    part_requests: dict[int, tuple[int, int]] = {}

    @property
    def is_asked(self) -> bool:
        """Return whether the final has been asked for."""
        return not (self.words_request is None and self.final_request is None)


class PartialReady(msgspec.Struct, frozen=True, eq=False):
    """Say what has come of a partial: words, what was found from ``start`` on, or why neither.

    ``lost`` is why it was left out; ``slot`` its place in an ordered session.
    """

    utterance: TrackedUtterance
    end: int
    slot: Slot | None = None
    transcript: Transcript | None = None
    observed: Observed | None = None
    start: int = 0
    lost: str | None = None


class VoiceReady(msgspec.Struct, frozen=True, eq=False):
    """Say that the voice of a whole utterance is known, and its words are not yet."""

    utterance: TrackedUtterance


class FinalReady(msgspec.Struct, frozen=True, eq=False):
    """Say that the outcome of an utterance is known."""

    utterance: TrackedUtterance


Answer: TypeAlias = PartialReady | VoiceReady | FinalReady


class RequestTracker:
    """Keep the requests of one session.

    ``ring`` holds the sound they are about; ``readable`` says whether a voice can be heard in it.
    All may be set anew.
    """

    def __init__(self, config: SessionConfig, ring: Ring) -> None:
        self.config = config
        self.ring = ring
        self.readable = True
        self.suspects: dict[int, int] = {}
        """Utterances, by number, over which models were lost, and how often."""
        self._ids = 0
        self._requests: dict[int, tuple[TrackedUtterance, Request]] = {}
        self._tasks: list[Request | Cancel] = []

    def collect(self) -> list[Request | Cancel]:
        """Return what has been asked for and taken back since the last call."""
        tasks, self._tasks = self._tasks, []
        return tasks

    def ask_partial(self, utterance: TrackedUtterance, end: int, slot: Slot | None) -> None:
        """Ask what is said and felt up to a sample; with a ``slot`` in an ordered session."""
        clip = self._clip(utterance, end, final=False)
        waits = slot is not None
        if utterance.number in self.suspects:
            if slot is not None:
                slot.ready = True
            return
        if self._transcribes:
            words = self._words(utterance, clip, droppable=not waits)
            utterance.partials[words.id] = Partial(end, slot)
        if not self._transcribes or (self.config.reads_voice and not waits):
            emotion = self._partial_emotion(utterance, clip, utterance.words)
            utterance.partials[emotion.id] = Partial(end, slot)

    def ask_final(self, utterance: TrackedUtterance, end: int) -> int:
        """Ask for all there is in an utterance that ends here; returns the partials given up."""
        given_up = 0
        if not self.config.ordered:
            # A partial that comes after the final serves nobody, and would only delay it.
            given_up = self._cancel_partials(utterance)
        utterance.end = end
        if self.suspects.get(utterance.number, 0) >= _CHANCES:
            utterance.final_request = self._next_id()
            utterance.outcome = Fault("worker_died", "the models were lost over this utterance")
            return given_up
        clip = self._clip(utterance, end, final=True)
        utterance.clip = clip if self.config.guesses_speakers else None
        if not self._transcribes:
            utterance.final_request = self._emotion(utterance, clip, len(clip.samples)).id
            return given_up
        utterance.words_request = self._words(utterance, clip).id
        if self.config.tells_voice and utterance.number not in self.suspects:
            alone = self._emotion(utterance, clip, len(clip.samples), droppable=True)
            utterance.voice_request = alone.id
        return given_up

    def ask_parts(self, utterance: TrackedUtterance, spans: Sequence[tuple[int, int]]) -> bool:
        """Ask for the emotion of stretches of an utterance that is over, in samples.

        Those that are too short to be read, or over which models may be lost, are not asked about.
        Returns whether anything is: the answer to the last of them is ``FinalReady`` once more.
        """
        clip, utterance.clip = utterance.clip, None
        outcome = utterance.outcome
        if clip is None or not isinstance(outcome, Analysed) or utterance.number in self.suspects:
            return False
        words = None if outcome.transcript is None else self._trusted(outcome.transcript)
        for start, end in spans:
            if end - start < _READABLE:
                continue
            request = EmotionRequest(
                id=self._next_id(),
                clip=replace(
                    clip, start=start, samples=clip.samples[start - clip.start : end - clip.start]
                ),
                window=end - start,
                droppable=False,
                refusable=not self.config.patient,
                text=None if words is None else said_within(words, start, end),
                certainty=None if words is None else words.confidence,
                part=True,
            )
            self._send(utterance, request)
            utterance.part_requests[request.id] = start, end
        return bool(utterance.part_requests)

    def withdraw_final(self, utterance: TrackedUtterance) -> None:
        """Take the final back: the utterance goes on."""
        for request_id in (
            utterance.words_request,
            utterance.voice_request,
            utterance.final_request,
        ):
            self._cancel(request_id)
        utterance.words_request = utterance.voice_request = utterance.final_request = None
        utterance.transcript = utterance.alone = utterance.outcome = None

    def drop(self, utterance: TrackedUtterance) -> None:
        """Take back everything about an utterance; the places it holds become empty."""
        slots = [partial.slot for partial in utterance.partials.values()]
        self._cancel_partials(utterance)
        self.withdraw_final(utterance)
        for slot in slots:
            if slot is not None:
                slot.ready = True

    def resolve(self, request_id: int, outcome: Outcome) -> Answer | None:
        """Take the outcome of a request; ``None`` where more is to come, or nobody waits for it."""
        if request_id not in self._requests:
            return None
        utterance, request = self._requests.pop(request_id)
        if request_id in utterance.partials:
            return self._take_partial(utterance, request, outcome)
        if request_id == utterance.voice_request:
            return self._take_voice(utterance, outcome)
        if request_id in utterance.part_requests:
            return self._take_part(utterance, request_id, outcome)
        return self._take_final(utterance, request, outcome)

    # Answers

    def _take_partial(
        self, utterance: TrackedUtterance, request: Request, outcome: Outcome
    ) -> Answer | None:
        partial = utterance.partials.pop(request.id)
        end, slot = partial.end, partial.slot
        match outcome:
            case Transcript():
                words = self._trusted(outcome)
                utterance.words = words or utterance.words
                if slot is None and self.config.reads_voice:
                    return PartialReady(utterance, end, transcript=outcome)
                emotion = self._partial_emotion(utterance, request.clip, words)
                utterance.partials[emotion.id] = Partial(end, slot, outcome)
                # Who does not wait for order is told of the words at once.
                return None if slot else PartialReady(utterance, end, transcript=outcome)
            case Observed():
                assert isinstance(request, EmotionRequest)
                told = partial.transcript if slot is not None else None
                return PartialReady(utterance, end, slot, told, outcome, request.heard_from)
            case Skipped(reason=reason):
                return PartialReady(utterance, end, slot, lost=reason)
            case _:
                return PartialReady(utterance, end, slot, lost="failed")

    def _take_voice(self, utterance: TrackedUtterance, outcome: Outcome) -> Answer | None:
        utterance.voice_request = None
        if not isinstance(outcome, Observed):
            # Nobody's loss: the final is still to come, and says the same and more.
            return None
        utterance.alone = outcome
        return VoiceReady(utterance)

    def _take_part(
        self, utterance: TrackedUtterance, request_id: int, outcome: Outcome
    ) -> Answer | None:
        span = utterance.part_requests.pop(request_id)
        # One that fails goes without: there is the reading of the whole.
        if isinstance(outcome, Observed):
            utterance.parts[span] = outcome.features
        return None if utterance.part_requests else FinalReady(utterance)

    def _take_final(
        self, utterance: TrackedUtterance, request: Request, outcome: Outcome
    ) -> Answer | None:
        match outcome:
            case Transcript():
                utterance.words_request, utterance.transcript = None, outcome
                alone, words = utterance.alone, self._trusted(outcome)
                if words is None and alone is not None:
                    utterance.outcome = _analysed(outcome, alone.features, alone)
                    return FinalReady(utterance)
                self._give_up_voice(utterance)
                final = self._emotion(
                    utterance, request.clip, len(request.clip.samples), words=words
                )
                utterance.final_request = final.id
                return None
            case Observed(features=features):
                alone = utterance.alone
                heard = outcome if alone is None or alone.voices is None else alone
                if alone is not None and alone.tempo is not None:
                    heard = replace(heard, tempo=alone.tempo)
                utterance.outcome = _analysed(utterance.transcript, features, heard)
            case Fault():
                self._give_up_voice(utterance)
                utterance.outcome = outcome
            case Skipped():
                utterance.outcome = Fault("skipped", "was left out")
        return FinalReady(utterance)

    def _give_up_voice(self, utterance: TrackedUtterance) -> None:
        self._cancel(utterance.voice_request)
        utterance.voice_request = None

    # Requests

    @property
    def _transcribes(self) -> bool:
        return self.config.models.asr is not None

    def _trusted(self, transcript: Transcript) -> Transcript | None:
        """Return the words that emotion may be read from, if there are any."""
        if transcript.distrust or not self.config.reads_words:
            return None
        return transcript if transcript.text else None

    def _partial_emotion(
        self, utterance: TrackedUtterance, clip: Clip, words: Transcript | None
    ) -> EmotionRequest:
        window = min(self.config.window, len(clip.samples))
        droppable = not self.config.ordered
        return self._emotion(utterance, clip, window, droppable=droppable, words=words)

    def _emotion(
        self,
        utterance: TrackedUtterance,
        clip: Clip,
        window: int,
        *,
        droppable: bool = False,
        words: Transcript | None = None,
    ) -> EmotionRequest:
        alone = utterance.alone
        known = alone is not None and alone.voices is not None
        request = EmotionRequest(
            id=self._next_id(),
            clip=clip,
            window=window,
            droppable=droppable,
            refusable=not self.config.patient,
            suspect=utterance.number in self.suspects,
            background=self.config.background,
            text=None if words is None else words.text,
            certainty=None if words is None else words.confidence,
            embed=clip.final and self.config.guesses_speakers and not known,
            tempo=clip.final and (alone is None or alone.tempo is None),
        )
        self._send(utterance, request)
        return request

    def _words(
        self, utterance: TrackedUtterance, clip: Clip, *, droppable: bool = False
    ) -> WordsRequest:
        refusable = not self.config.patient
        request = WordsRequest(
            self._next_id(),
            clip,
            droppable=droppable,
            refusable=refusable,
            suspect=utterance.number in self.suspects,
            background=self.config.background,
        )
        self._send(utterance, request)
        return request

    def _send(self, utterance: TrackedUtterance, request: Request) -> None:
        self._requests[request.id] = (utterance, request)
        self._tasks.append(request)

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _clip(self, utterance: TrackedUtterance, end: int, *, final: bool) -> Clip:
        samples = self.ring.read(utterance.start, end)
        utterance.unreadable = not self.readable or is_pinned(samples)
        return Clip(
            session_id=self.config.session_id,
            utterance=utterance.number,
            start=utterance.start,
            samples=samples,
            final=final,
            language=self.config.language,
        )

    def _cancel_partials(self, utterance: TrackedUtterance) -> int:
        given_up = len(utterance.partials)
        for request_id in utterance.partials:
            self._cancel(request_id)
        utterance.partials.clear()
        return given_up

    def _cancel(self, request_id: int | None) -> None:
        if request_id is not None and self._requests.pop(request_id, None) is not None:
            self._tasks.append(Cancel(session_id=self.config.session_id, request_id=request_id))


def _analysed(transcript: Transcript | None, features: Features, heard: Observed) -> Analysed:
    # Voices that are mixed are like nobody's, or like the wrong one's.
    alone = heard.voices if heard.overlap < UNCERTAIN else None
    return Analysed(transcript, features, alone or (), heard.overlap, heard.tempo)
