"""One utterance as people see it: its two final events read as one line."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

import msgspec

from streamser.errors import StreamserError
from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    Event,
    SessionClosed,
    TranscriptionCompleted,
    TranscriptionFailed,
)

__all__ = ["Summary", "Tally", "Utterance", "likeliest", "read_utterance"]


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


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what there is to say when a session is over."""

    closed: SessionClosed
    fault: str | None
    """Why the source broke off, if it did."""
    lost: StreamserError | None = None
    """Why the session has no end of its own, if it has none."""
    shares: dict[str, float]
    """Share of the utterances by category, ``unsure`` among them, the largest first."""
    valence: float | None
    arousal: float | None
    lag_median_ms: float | None
    lag_p95_ms: float | None


class Tally:
    """Count what a summary needs of utterances, and keep none: a session may last for days."""

    def __init__(self) -> None:
        self._categories: Counter[str] = Counter()
        self._valence = _Mean()
        self._arousal = _Mean()
        self._lags: Counter[float] = Counter()
        self._utterances = 0
        self._failed = 0
        self._speech_ms = 0

    def add(self, spoken: Utterance) -> None:
        """Count an utterance."""
        self._utterances += 1
        self._failed += spoken.fault is not None
        self._speech_ms += spoken.end_ms - spoken.start_ms
        if spoken.lag_ms is not None:
            # To three digits, so that there are some thousand different ones at most.
            self._lags[float(f"{spoken.lag_ms:.3g}")] += 1
        if spoken.emotion is not None:
            self._categories[spoken.emotion.category] += 1
            self._valence.add(spoken.emotion.dimensions.valence)
            self._arousal.add(spoken.emotion.dimensions.arousal)

    def broken_off(self, audio_ms: int) -> SessionClosed:
        """Return what the last event would have said of a session that never had one."""
        return SessionClosed(
            event_id="",
            session_id="",
            seq=0,
            audio_ms=audio_ms,
            speech_ms=self._speech_ms,
            utterances=self._utterances,
            failed=self._failed,
            partials_dropped=0,
            audio_dropped_ms=0,
        )

    def summary(
        self,
        closed: SessionClosed,
        fault: str | None = None,
        lost: StreamserError | None = None,
    ) -> Summary:
        """Sum the session up, with its last event and what went wrong."""
        judged, lags = self._categories.total(), self._lags.total()
        middle = [self._lag_at((lags - 1) // 2), self._lag_at(lags // 2)] if lags else []
        return Summary(
            closed=closed,
            fault=fault,
            lost=lost,
            shares={name: count / judged for name, count in self._categories.most_common()},
            valence=self._valence.mean,
            arousal=self._arousal.mean,
            lag_median_ms=sum(middle) / 2 if lags else None,
            lag_p95_ms=self._lag_at(min(lags - 1, int(lags * 0.95))) if lags else None,
        )

    def _lag_at(self, place: int) -> float:
        ordered = sorted(self._lags.items())
        upto = accumulate(count for _, count in ordered)
        return next(lag for (lag, _), end in zip(ordered, upto, strict=True) if place < end)


class _Mean:
    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self._sum += value
            self._count += 1

    @property
    def mean(self) -> float | None:
        return self._sum / self._count if self._count else None
