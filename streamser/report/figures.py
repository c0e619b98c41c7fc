"""What a report says of a recording, as numbers and words: frozen records; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from streamser.errors import StreamserError
from streamser.events import ModelNames, Record
from streamser.export.records import (
    Recording,
    SessionRecord,
    Timeline,
    UtteranceRecord,
)
from streamser.export.timeline import timeline_of
from streamser.report import measures
from streamser.taxonomy import weighted_mean


class TracePoint(Record, frozen=True, kw_only=True):
    """One reading while somebody spoke."""

    at_ms: int
    valence: float | None
    arousal: float | None


class SaidUtterance(Record, frozen=True, kw_only=True):
    """One utterance as the report shows it; times are ms of the report's clock.

    ``talker`` is a place in ``Figures.talkers``. ``category`` is ``None`` where there is no
    result; ``problem`` then says why. ``shift_ms`` is what its session's own clock is behind.
    """

    talker: int
    session_id: str
    start_ms: int
    end_ms: int
    shift_ms: int = 0
    text: str = ""
    transcribed: bool = False
    problem: str | None = None
    distrusted: str | None = None
    category: str | None = None
    confidence: float = 0.0
    uncertainty: float | None = None
    valence: float | None = None
    arousal: float | None = None
    lag_ms: float | None = None
    trace: tuple[TracePoint, ...] = ()

    @property
    def length_ms(self) -> int:
        """Return how long it is."""
        return self.end_ms - self.start_ms


class Talker(Record, frozen=True, kw_only=True):
    """One speaker; ``share`` is of all speaking time, ``line`` the smoothed mood over time.

    ``name`` is ``None`` where it is not known. ``valence`` and ``arousal`` are means by
    speaking time, ``None`` where nothing was measured.
    """

    name: str | None
    provisional: bool = False
    speech_ms: int = 0
    share: float = 0.0
    utterances: int = 0
    words: int = 0
    valence: float | None = None
    arousal: float | None = None
    categories: tuple[measures.Share, ...] = ()
    line: tuple[measures.MoodPoint, ...] = ()


class Figures(Record, frozen=True, kw_only=True):
    """Everything a report shows.

    ``everybody`` is the smoothed mood of all, ``latencies`` how late results came, by stage:
    empty where the recording gives no lags. ``began`` is ms since 1970. ``gaps`` are lines on
    what is missing.
    """

    title: str
    meeting: str | None = None
    began: int | None = None
    length_ms: int = 0
    speech_ms: int = 0
    overlap_ms: int = 0
    words: int = 0
    transcribed: bool = False
    talkers: tuple[Talker, ...] = ()
    said: tuple[SaidUtterance, ...] = ()
    everybody: tuple[measures.MoodPoint, ...] = ()
    shifts: tuple[measures.Shift, ...] = ()
    categories: tuple[measures.Share, ...] = ()
    labels: tuple[str, ...] = ()
    uncertainty: measures.Spread | None = None
    latencies: tuple[measures.Spread, ...] = ()
    engines: tuple[tuple[str, str], ...] = ()
    session_ids: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


def figures_of(
    recording: Recording, *, one_clock: bool = False, title: str | None = None
) -> Figures:
    """Sum up a recording; ``title`` where it names neither a meeting nor a file itself.

    ``one_clock``: see ``timeline_of``. Raises ``StreamserError`` where its sessions cannot be
    laid on one clock.
    """
    if not recording.sessions:
        raise StreamserError("there is no session in it.", code="no_session")
    timeline = timeline_of(recording, one_clock=one_clock)
    moving = len(recording.sessions) > 1 and not one_clock
    names = timeline.speakers
    shifts = _shifts_by_item(recording) if moving else {}
    said = tuple(_said(each, names.index(each.speaker), shifts) for each in timeline.utterances)
    lines, everybody = measures.lines_of(timeline, moving=moving)
    judged = [each for each in said if each.uncertainty is not None]
    speech_ms = sum(each.length_ms for each in said)
    return Figures(
        title=_title_of(recording.sessions, title),
        meeting=recording.sessions[0].meeting if moving else None,
        began=min((each.began for each in recording.sessions if each.began), default=None),
        length_ms=timeline.length_ms,
        speech_ms=speech_ms,
        overlap_ms=measures.overlap_of((each.talker, each.start_ms, each.end_ms) for each in said),
        words=sum(len(each.text.split()) for each in said),
        transcribed=any(each.transcribed for each in recording.sessions),
        talkers=tuple(
            _talker(number, name, timeline, said, lines[name], speech_ms)
            for number, name in enumerate(names)
        ),
        said=said,
        everybody=everybody,
        shifts=measures.shifts_of(recording, lines, everybody, moving=moving),
        categories=measures.share_out((each.category, each.length_ms) for each in said),
        labels=timeline.categories,
        uncertainty=measures.spread_of(
            "uncertainty", [each.uncertainty or 0.0 for each in judged], high=1
        ),
        latencies=tuple(_latencies(timeline)),
        engines=_engines_of(recording.sessions),
        session_ids=tuple(each.session_id for each in recording.sessions),
        gaps=_gaps_of(recording),
    )


def _shifts_by_item(recording: Recording) -> dict[tuple[str, str], int]:
    return {(each.session_id, each.item_id): each.shift_ms or 0 for each in recording.utterances}


def _said(
    utterance: UtteranceRecord, talker: int, shifts: dict[tuple[str, str], int]
) -> SaidUtterance:
    emotion = utterance.judged
    trace = tuple(
        TracePoint(
            at_ms=each.emotion.window.end_ms,
            valence=each.emotion.dimensions.valence,
            arousal=each.emotion.dimensions.arousal,
        )
        for each in utterance.readings
    )
    return SaidUtterance(
        talker=talker,
        session_id=utterance.session_id,
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        shift_ms=shifts.get((utterance.session_id, utterance.item_id), 0),
        text=utterance.text,
        transcribed=utterance.transcript is not None or bool(utterance.text),
        problem=utterance.problem,
        distrusted=utterance.distrusted,
        category=None if emotion is None else emotion.category,
        confidence=0.0 if emotion is None else emotion.confidence,
        uncertainty=None if emotion is None else emotion.uncertainty,
        valence=None if emotion is None else emotion.dimensions.valence,
        arousal=None if emotion is None else emotion.dimensions.arousal,
        lag_ms=utterance.lag_ms,
        trace=trace,
    )


def _talker(
    number: int,
    name: str | None,
    timeline: Timeline,
    said: Sequence[SaidUtterance],
    line: tuple[measures.MoodPoint, ...],
    total_ms: int,
) -> Talker:
    mine = [each for each in said if each.talker == number]
    speech_ms = sum(each.length_ms for each in mine)
    return Talker(
        name=name,
        provisional=any(
            each.speaker_provisional for each in timeline.utterances if each.speaker == name
        ),
        speech_ms=speech_ms,
        share=speech_ms / total_ms if total_ms else 0.0,
        utterances=len(mine),
        words=sum(len(each.text.split()) for each in mine),
        valence=weighted_mean((each.valence, each.length_ms) for each in mine),
        arousal=weighted_mean((each.arousal, each.length_ms) for each in mine),
        categories=measures.share_out((each.category, each.length_ms) for each in mine),
        line=line,
    )


def _latencies(timeline: Timeline) -> list[measures.Spread]:
    spreads = []
    early = any(each.provisional is not None for each in timeline.utterances)
    for stage, name in measures.LATENCIES:
        if stage == "first" and not early:
            continue
        values = [getattr(each.lags, stage) for each in timeline.utterances]
        spread = measures.spread_of(name, [value for value in values if value is not None])
        if spread is not None:
            spreads.append(spread)
    return spreads


def _title_of(sessions: Sequence[SessionRecord], fallback: str | None) -> str:
    """Return the meeting's name, else that of the file that was read: never where it lies."""
    meeting, source = sessions[0].meeting, sessions[0].source
    if meeting and len({each.meeting for each in sessions}) == 1:
        return meeting
    if source and len(sessions) == 1:
        return Path(source.replace("\\", "/")).name or source
    return fallback or sessions[0].session_id


def _engines_of(sessions: Sequence[SessionRecord]) -> tuple[tuple[str, str], ...]:
    """Return what was at work: speech detection, words, emotion; each with its names."""
    models = [each.models for each in sessions if each.models is not None]
    used = {
        "speech": [each.vad for each in models],
        "words": [_recogniser(each) for each in models],
        "emotion": [each.emotion for each in models],
    }
    return tuple((kind, ", ".join(dict.fromkeys(names))) for kind, names in used.items() if names)


def _recogniser(models: ModelNames) -> str:
    words = models.asr or "none"
    return f"{words} in {models.asr_arithmetic}" if models.asr_arithmetic else words


def _gaps_of(recording: Recording) -> tuple[str, ...]:
    """Say what could not be read, was lost, failed, or ended early; one line each."""
    several = len(recording.sessions) > 1
    lines = list(recording.notes)
    for session in recording.sessions:
        name = (session.info.speaker if session.info else None) or session.session_id
        prefix = f"{name}: " if several else ""
        lines += [f"{prefix}{line}" for line in _of_session(session)]
    return tuple(lines)


def _of_session(session: SessionRecord) -> Iterator[str]:
    if session.closed is None:
        yield "the events end before the session did."
    if session.missing:
        yield f"{_counted(session.missing, 'event')} missing from the recording."
    losses = {each.kind: each.total for each in session.losses}
    if "audio" in losses:
        lost = losses["audio"]
        much = f"{lost / 1000:.1f} s of sound" if lost else "some sound"
        yield f"{much} was lost and replaced by silence."
    if losses.get("partials"):
        yield f"{_counted(losses['partials'], 'reading')} left out to keep pace."
    if losses.get("deltas"):
        yield f"{_counted(losses['deltas'], 'event')} not sent to a slow listener."
    failed = sum(each.problem is not None for each in session.utterances)
    if failed:
        yield f"{_counted(failed, 'utterance')} without a result."
    yield from dict.fromkeys(" ".join(each.message.split()) for each in session.errors)


def _counted(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
