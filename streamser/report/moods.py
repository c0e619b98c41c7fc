"""The smoothed mood over time, of each speaker and of everybody; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamser.emotion.mood import Mood
from streamser.events import MoodUpdated, Record
from streamser.export.records import Recording, SessionRecord, UtteranceRecord
from streamser.export.timeline import Timeline

__all__ = ["MoodPoint", "Shift", "lines_of", "shifts_of"]


class MoodPoint(Record, frozen=True, kw_only=True):
    """A mood after an utterance; ``shift``: its name has just changed, from ``previous``."""

    at_ms: int
    category: str
    valence: float | None
    arousal: float | None
    shift: bool = False
    previous: str | None = None


class Shift(Record, frozen=True, kw_only=True):
    """A mood that got another name; ``speaker`` ``None`` where there is only one to speak of."""

    at_ms: int
    category: str
    previous: str | None
    speaker: str | None = None
    everybody: bool = False


Lines = Mapping[str | None, tuple[MoodPoint, ...]]


def lines_of(timeline: Timeline, *, moving: bool) -> tuple[Lines, tuple[MoodPoint, ...]]:
    """Return the mood of each speaker and of everybody.

    What the sessions told themselves where it is of that one speaker, or of everybody; else
    the same smoothing over what was judged. ``moving``: the clock is not the sessions' own.
    """
    lines = {}
    for name in timeline.speakers:
        mine = [each for each in timeline.utterances if each.speaker == name]
        own = [_told(session, timeline, moving) for session in _sessions_of(mine, timeline)]
        told = sorted((each for line in own for each in line), key=lambda each: each.at_ms)
        alone = all(
            other.speaker == name or other.session_id not in {each.session_id for each in mine}
            for other in timeline.utterances
        )
        lines[name] = tuple(told) if alone and len(own) == 1 and told else _smoothed(mine)
    sessions = timeline.sessions
    told = _told(sessions[0], timeline, moving) if len(sessions) == 1 else []
    return lines, tuple(told) or _smoothed(timeline.utterances)


def shifts_of(
    recording: Recording,
    lines: Lines,
    everybody: Sequence[MoodPoint],
    *,
    moving: bool,
) -> tuple[Shift, ...]:
    """Return the changes of mood in order; of everybody, and of speakers where there are several.

    Those of a meeting are what a listener has written down, where one has.
    """
    meeting = recording.sessions[0].meeting
    heard = [each for each in recording.shifts if moving and each.meeting == meeting]
    if len(lines) == 1:
        # Who is alone is everybody.
        heard = [each for each in heard if each.speaker is None]
    if heard:
        shifts = [
            Shift(
                at_ms=each.at_ms,
                category=each.category,
                previous=each.previous,
                speaker=each.speaker,
                everybody=each.speaker is None,
            )
            for each in heard
        ]
    else:
        shifts = _named(everybody, None, everybody=len(lines) > 1)
        if len(lines) > 1:
            for name, line in lines.items():
                shifts += _named(line, name, everybody=False)
    return tuple(sorted(shifts, key=lambda each: (each.at_ms, not each.everybody)))


def _named(line: Iterable[MoodPoint], speaker: str | None, *, everybody: bool) -> list[Shift]:
    return [
        Shift(
            at_ms=each.at_ms,
            category=each.category,
            previous=each.previous,
            speaker=speaker,
            everybody=everybody,
        )
        for each in line
        if each.shift
    ]


def _sessions_of(utterances: Sequence[UtteranceRecord], timeline: Timeline) -> list[SessionRecord]:
    ids = {each.session_id for each in utterances}
    return [each for each in timeline.sessions if each.session_id in ids]


def _told(session: SessionRecord, timeline: Timeline, moving: bool) -> list[MoodPoint]:
    """Return the moods that a session told, on the timeline's clock."""
    # A mood is told after the final of an utterance, and ends where that does.
    ends = {each.end_ms: each.shift_ms or 0 for each in session.utterances} if moving else {}
    by = next(iter(ends.values()), 0)
    points = []
    for mood in session.moods:
        by = ends.get(mood.audio_end_ms, by)
        points.append(_point(mood, max(0, mood.audio_end_ms + by)))
    return points


def _point(mood: MoodUpdated, at_ms: int) -> MoodPoint:
    return MoodPoint(
        at_ms=at_ms,
        category=mood.category,
        valence=mood.dimensions.valence,
        arousal=mood.dimensions.arousal,
        shift=mood.shift,
        previous=mood.previous,
    )


def _smoothed(utterances: Iterable[UtteranceRecord]) -> tuple[MoodPoint, ...]:
    mood = Mood()
    points = []
    for each in sorted(utterances, key=lambda each: each.end_ms):
        if each.judged is not None:
            state = mood.update(each.judged, each.end_ms, each.end_ms - each.start_ms)
            points.append(
                MoodPoint(
                    at_ms=each.end_ms,
                    category=state.category,
                    valence=state.dimensions.valence,
                    arousal=state.dimensions.arousal,
                    shift=state.shift,
                    previous=state.previous,
                )
            )
    return tuple(points)
