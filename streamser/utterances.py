"""One utterance as people see it: its two final events read as one."""

from __future__ import annotations

import msgspec

from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    Event,
    TranscriptionCompleted,
    TranscriptionFailed,
)

__all__ = ["Utterance", "likeliest", "read_utterance"]


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what came of one utterance; ``emotion`` is ``None`` where the analysis failed.

    ``transcript`` is ``None`` where the session is not transcribed, ``""`` where nothing was
    understood. ``speaker`` is named where there are several. Times are ms of audio.
    """

    item_id: str
    start_ms: int
    end_ms: int
    transcript: str | None = None
    distrusted: str | None = None
    emotion: EmotionBody | None = None
    lag_ms: float | None = None
    fault: str | None = None
    speaker: str | None = None


def likeliest(emotion: EmotionBody) -> str:
    """Return the category with the highest score, also where the judgement is ``unsure``.

    Where all are alike, as of a model that knows dimensions alone, none is the likeliest.
    """
    if len(set(emotion.scores.values())) == 1:
        return emotion.category
    return max(emotion.scores, key=emotion.scores.__getitem__, default=emotion.category)


def read_utterance(event: Event, *, transcribed: bool) -> Utterance | None:
    """Read the utterance that an event finishes; ``None`` for every other event.

    A session that is transcribed finishes an utterance with two events, both carrying the
    emotion; the one with the words counts then, and the other one else.
    """
    match event:
        case TranscriptionCompleted():
            return Utterance(
                item_id=event.item_id,
                start_ms=event.audio_start_ms,
                end_ms=event.audio_end_ms,
                transcript=event.transcript,
                distrusted=event.distrusted,
                emotion=event.emotion,
                lag_ms=event.lag_ms,
            )
        case EmotionCompleted() if not transcribed:
            return Utterance(
                item_id=event.item_id,
                start_ms=event.emotion.window.start_ms,
                end_ms=event.emotion.window.end_ms,
                emotion=event.emotion,
                lag_ms=event.lag_ms,
            )
        case TranscriptionFailed():
            return Utterance(
                item_id=event.item_id,
                start_ms=event.audio_start_ms,
                end_ms=event.audio_end_ms,
                fault=event.error.message,
                lag_ms=event.lag_ms,
            )
    return None
