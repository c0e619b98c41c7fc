"""What a session remembers of an utterance while it is analysed, and what its events say."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streamser.audio.clip import SAMPLE_RATE, to_ms
from streamser.emotion.model import Features, Prediction
from streamser.emotion.mood import MoodState
from streamser.events import (
    EmotionBody,
    ErrorBody,
    Usage,
    Window,
    WordTiming,
)
from streamser.pipeline.emitter import Slot
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
    features: Features
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
    """Word the events about the utterances of one session: their fields, without an envelope."""

    def __init__(self, model: str, speaker: str | None) -> None:
        self._model = model
        self._speaker = speaker

    def emotion(
        self, prediction: Prediction, start: int, end: int, guess: str | None = None
    ) -> EmotionBody:
        """Word the emotion of samples from ``start`` to ``end``; ``guess`` is who spoke them."""
        return EmotionBody(
            category=prediction.category,
            confidence=round(prediction.confidence, _PLACES),
            scores=_rounded(prediction.scores),
            dimensions=_rounded_dimensions(prediction.dimensions),
            uncertainty=round(prediction.uncertainty, _PLACES),
            modalities=prediction.modalities,
            speaker=self._speaker if guess is None else guess,
            speaker_provisional=guess is not None,
            window=Window(start_ms=to_ms(start), end_ms=to_ms(end)),
            model=self._model,
            evidence=prediction.evidence,
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

    def partial(self, utterance: Utterance, end: int) -> dict[str, Any]:
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

    def words(self, utterance: Utterance, transcript: Transcript) -> dict[str, Any]:
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

    def failure(self, utterance: Utterance, fault: Fault) -> dict[str, Any]:
        """Word that an utterance could not be analysed."""
        return {
            "error": server_error(fault.code, fault.message),
            "audio_start_ms": to_ms(utterance.start),
            "audio_end_ms": to_ms(utterance.end),
        }


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
