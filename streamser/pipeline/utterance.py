"""An utterance while it is analysed, and what events say of it."""

from __future__ import annotations

from typing import Final

import msgspec

from streamser.audio.clip import SAMPLE_RATE, to_ms
from streamser.emotion.model import Features, Prediction
from streamser.emotion.mood import MoodState
from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    ErrorBody,
    MoodUpdated,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptPartial,
    Usage,
    Window,
    WordTiming,
)
from streamser.pipeline.emitter import Draft, Slot, draft
from streamser.pipeline.requests import Fault, Observed
from streamser.speech.hypothesis import Stable, committed_text, revisable_text
from streamser.speech.speakers import Voice
from streamser.speech.transcriber import Transcript, Word
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

__all__ = [
    "UNREADABLE",
    "Analysed",
    "EventBuilder",
    "Partial",
    "RefusedError",
    "Utterance",
    "client_error",
    "server_error",
]


class Analysed(msgspec.Struct, frozen=True, eq=False):
    """Hold all that was found in an utterance; ``transcript`` is ``None`` where none was asked."""

    transcript: Transcript | None
    finding: Features
    voice: Voice | None = None


class Partial(msgspec.Struct, eq=False):
    """Follow a partial on its way: up to where, its place, and the words that have come of it.

    ``slot`` is its place among the events of an ordered session; a live one has none.
    """

    end: int
    slot: Slot | None = None
    transcript: Transcript | None = None


class Utterance(msgspec.Struct, kw_only=True, eq=False):
    """Follow one utterance; positions are absolute samples.

    ``speech`` counts the samples of speech windows, ``readings`` the partials asked for,
    ``partials`` those still on their way, by request. ``words`` are those of the latest trusted
    partial, ``told`` the settled text told so far. ``end`` is set when the final is asked for,
    speculatively or not, with the requests for its words, for its voice alone, and for both
    together; ``transcript``, ``alone`` and ``outcome`` are what has come of them. ``slot`` is
    its place among the session's events once the utterance is closed, and ``patience_ends``
    where on the session's clock its voice alone is told of, if words are still missing.
    ``unreadable``: in the sound asked about last no voice can be heard.
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

    @property
    def is_asked(self) -> bool:
        """Return whether the final has been asked for."""
        return not (self.words_request is None and self.final_request is None)


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


def server_error(code: str, message: str) -> ErrorBody:
    """Word a fault that is not the client's."""
    return ErrorBody(type="server_error", code=code, message=message)


class RefusedError(Exception):
    """Say that a client's message cannot be followed; ``body`` tells it why, and nobody else."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body.message)
        self.body = body


def client_error(
    code: str, message: str, event_id: str | None = None, param: str | None = None
) -> ErrorBody:
    """Word what is wrong with a client's message."""
    return ErrorBody(
        type="invalid_request_error", code=code, message=message, param=param, event_id=event_id
    )


class EventBuilder:
    """Word the events about utterances of one session."""

    def __init__(self, model: str, speaker: str | None) -> None:
        self._model = model
        self._speaker = speaker

    def partial(self, utterance: Utterance, end: int) -> Draft:
        """Word what has been understood up to an absolute sample."""
        committed = committed_text(utterance.stable)
        revisable = revisable_text(utterance.stable)
        return draft(
            TranscriptPartial,
            item_id=utterance.item_id,
            text=committed + revisable,
            committed=committed,
            revisable=revisable,
            audio_start_ms=to_ms(utterance.start),
            audio_end_ms=to_ms(end),
        )

    def settled(self, utterance: Utterance, settled: str) -> Draft:
        """Word what more of an utterance's text is settled than was told before."""
        more = settled[len(utterance.told) :]
        return draft(TranscriptionDelta, item_id=utterance.item_id, delta=more)

    def delta(self, utterance: Utterance, reading: Prediction, start: int, end: int) -> Draft:
        """Word the emotion of a window of an utterance that goes on."""
        body = self._body(reading, start, end)
        return draft(EmotionDelta, item_id=utterance.item_id, emotion=body)

    def voice(self, utterance: Utterance, reading: Prediction) -> Draft:
        """Word what the voice alone says of an utterance whose words are still awaited."""
        body = self._body(reading, utterance.start, utterance.end)
        return draft(EmotionProvisional, item_id=utterance.item_id, emotion=body)

    def judged(self, utterance: Utterance, reading: Prediction, guess: str | None) -> EmotionBody:
        """Word the reading of a whole utterance; ``guess`` is who has likely spoken."""
        return self._body(reading, utterance.start, utterance.end, guess)

    def final(
        self, utterance: Utterance, transcript: Transcript | None, body: EmotionBody
    ) -> list[Draft]:
        """Word the end of the analysis of an utterance."""
        emotion = draft(EmotionCompleted, item_id=utterance.item_id, emotion=body)
        if transcript is None:
            return [emotion]
        trusted = not transcript.distrust
        text = transcript.text if trusted else ""
        words = draft(
            TranscriptionCompleted,
            item_id=utterance.item_id,
            transcript=text,
            language=transcript.language,
            confidence=transcript.confidence,
            words=tuple(_timing(word) for word in transcript.words) if trusted else (),
            distrusted=transcript.distrust or None,
            usage=Usage(seconds=round((utterance.end - utterance.start) / SAMPLE_RATE, 3)),
            audio_start_ms=to_ms(utterance.start),
            audio_end_ms=to_ms(utterance.end),
            emotion=body,
        )
        # Who only follows the deltas shall have the whole text, where it is what they led to.
        goes_on = len(text) > len(utterance.told) and text.startswith(utterance.told)
        rest = [self.settled(utterance, text)] if goes_on else []
        return [*rest, words, emotion]

    def failure(self, utterance: Utterance, fault: Fault) -> Draft:
        """Word that an utterance could not be analysed."""
        return draft(
            TranscriptionFailed,
            item_id=utterance.item_id,
            error=server_error(fault.code, fault.message),
            audio_start_ms=to_ms(utterance.start),
            audio_end_ms=to_ms(utterance.end),
        )

    def mood(self, state: MoodState, body: EmotionBody) -> Draft:
        """Word the session's mood after an utterance, of which ``body`` was told."""
        return draft(
            MoodUpdated,
            category=state.category,
            scores=_rounded(state.scores),
            dimensions=_rounded_dimensions(state.dimensions),
            shift=state.shift,
            previous=state.previous,
            speaker=body.speaker,
            speaker_provisional=body.speaker_provisional,
            audio_end_ms=body.window.end_ms,
        )

    def _body(
        self, reading: Prediction, start: int, end: int, guess: str | None = None
    ) -> EmotionBody:
        return EmotionBody(
            category=reading.category,
            confidence=round(reading.confidence, _PLACES),
            scores=_rounded(reading.scores),
            dimensions=_rounded_dimensions(reading.dimensions),
            uncertainty=round(reading.uncertainty, _PLACES),
            modalities=reading.modalities,
            speaker=self._speaker if guess is None else guess,
            speaker_provisional=guess is not None,
            window=Window(start_ms=to_ms(start), end_ms=to_ms(end)),
            model=self._model,
            evidence=reading.evidence,
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
