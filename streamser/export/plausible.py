"""What no session can have told: a file may come from anybody, and figures go by its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streamser.events import AnyEvent, EmotionBody
from streamser.export.gather import Place

__all__ = ["implausible"]

_FARTHEST_MS: Final = 366 * 86_400_000
_LONGEST_MS: Final = 3_600_000
"""An utterance; settings allow ten minutes."""
_DATE_MS: Final = 2**53
_MOST: Final = 2**53
_MARGIN: Final = 1e-3


def implausible(event: AnyEvent, place: Place) -> str | None:
    """Say what of an event cannot be: times, lengths or shares; ``None``: all can."""
    if any(abs(time) > _FARTHEST_MS for time in _times_of(event, place)):
        return "a time beyond a year"
    numbers = (getattr(event, name) for name in event.__struct_fields__)
    if any(isinstance(each, int | float) and abs(each) > _MOST for each in numbers):
        return "a number beyond all counting"
    if abs(place.unix_ms or 0) > _DATE_MS:
        return "a date that is none"
    for start, end in _spans_of(event):
        if not -_MARGIN <= end - start <= _LONGEST_MS:
            return "an utterance of more than an hour, or less than nothing"
    if any(not -_MARGIN <= share <= 1 + _MARGIN for share in _shares_of(event)):
        return "a share that is not between 0 and 1"
    if any(abs(value) > 1 + _MARGIN for value in _values_of(event)):
        return "a dimension that is not between -1 and 1"
    return None


def _times_of(event: AnyEvent, place: Place) -> Iterator[float]:
    yield place.at_ms or 0
    for name in ("audio_start_ms", "audio_end_ms", "audio_ms", "speech_ms", "since_ms", "lag_ms"):
        yield getattr(event, name, None) or 0
    yield getattr(event, "at_ms", None) or 0
    for word in getattr(event, "words", ()):
        yield word.start_ms
        yield word.end_ms
    emotion = getattr(event, "emotion", None)
    if isinstance(emotion, EmotionBody):
        yield emotion.window.start_ms
        yield emotion.window.end_ms


def _spans_of(event: AnyEvent) -> Iterator[tuple[float, float]]:
    emotion = getattr(event, "emotion", None)
    if isinstance(emotion, EmotionBody):
        yield emotion.window.start_ms, emotion.window.end_ms
    start, end = (getattr(event, name, None) for name in ("audio_start_ms", "audio_end_ms"))
    if start is not None and end is not None:
        yield start, end


def _shares_of(event: AnyEvent) -> Iterator[float]:
    emotion = getattr(event, "emotion", None)
    for judged in (event, emotion, getattr(event, "mood", None)):
        yield getattr(judged, "confidence", None) or 0.0
        yield from (getattr(judged, "scores", None) or {}).values()


def _values_of(event: AnyEvent) -> Iterator[float]:
    emotion = getattr(event, "emotion", None)
    for judged in (event, emotion, getattr(event, "mood", None)):
        dimensions = getattr(judged, "dimensions", None)
        for name in ("valence", "arousal", "dominance"):
            yield getattr(dimensions, name, None) or 0.0
