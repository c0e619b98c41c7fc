"""Shares, spreads, overlap and the smoothed mood over time: the arithmetic of a report; pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from streamser.emotion.mood import Mood
from streamser.events import MoodUpdated, Record
from streamser.export.records import Recording, SessionRecord, Timeline, UtteranceRecord
from streamser.taxonomy import UNSURE

LATENCIES: Final = (
    ("started", "speech noticed"),
    ("stopped", "end of speech noticed"),
    ("first", "first reading"),
    ("words", "words"),
    ("emotion", "emotion"),
)
"""The stages of ``Lags`` and what the report calls them."""

_BINS: Final = 20
_REACH_MS: Final = 600_000  # how late a stretch may be told, measured from the latest end
_PIECES: Final = 1_000  # more than ten lively speakers make in that time
# The order of the live page, so that shares do not jump.
_ORDER: Final = ("happy", "neutral", "sad", "angry")


class Share(Record, frozen=True, kw_only=True):
    """How much of the speaking time sounded like a category."""

    category: str
    ms: int
    count: int
    share: float


class Spread(Record, frozen=True, kw_only=True):
    """How some values are spread: quantiles (type 7), and counts in equal bins from 0 to ``high``.

    What lies beyond ``high`` is in the last bin.
    """

    name: str
    count: int
    median: float
    p95: float
    most: float
    high: float
    bins: tuple[int, ...]


def share_out(judged: Iterable[tuple[str | None, int]]) -> tuple[Share, ...]:
    """Share speaking time out among categories, in an order that stays; ``None`` is left out."""
    lengths: dict[str, int] = {}
    counts: dict[str, int] = {}
    for category, ms in judged:
        if category is not None:
            lengths[category] = lengths.get(category, 0) + ms
            counts[category] = counts.get(category, 0) + 1
    total = sum(lengths.values())
    return tuple(
        Share(
            category=category,
            ms=lengths[category],
            count=counts[category],
            share=lengths[category] / total if total else counts[category] / sum(counts.values()),
        )
        for category in sorted(lengths, key=_place)
    )


def _place(category: str) -> tuple[int, str]:
    if category in _ORDER:
        return _ORDER.index(category), ""
    return len(_ORDER) + (category == UNSURE), category


def spread_of(name: str, values: Sequence[float], *, high: float | None = None) -> Spread | None:
    """Describe how values of at least 0 are spread; ``None`` where there are none.

    Without ``high`` the bins end at a round number that 95 of 100 values are below.
    """
    known = sorted(max(0.0, value) for value in values if math.isfinite(value))
    if not known:
        return None
    p95 = _quantile(known, 0.95)
    end = _round_up(p95) if high is None else high
    bins = [0] * _BINS
    for value in known:
        bins[min(_BINS - 1, int(value / end * _BINS))] += 1
    return Spread(
        name=name,
        count=len(known),
        median=_quantile(known, 0.5),
        p95=p95,
        most=known[-1],
        high=end,
        bins=tuple(bins),
    )


def overlap_of(spans: Iterable[tuple[Hashable, int, int]]) -> int:
    """Return for how long at least two different speakers spoke at once, in ms.

    Of each span: who, from when, until when.
    """
    edges = []
    for who, start, end in spans:
        if end > start:
            edges += [(start, 1, who), (end, -1, who)]
    edges.sort(key=lambda edge: edge[:2])
    open_by: dict[Hashable, int] = {}
    total = last = 0
    for at, step, who in edges:
        if len(open_by) > 1:
            total += at - last
        last = at
        open_by[who] = open_by.get(who, 0) + step
        if not open_by[who]:
            del open_by[who]
    return total


class _Piece(msgspec.Struct, frozen=True):
    """Hold a time in which the same people spoke, ms; ``end`` is no longer in it."""

    start: int
    end: int
    names: frozenset[str]


class Overlap:
    """Add up the time in which at least two names spoke.

    What is told of one name twice counts once. Time that lies so far back that it is no longer
    remembered is settled: what is told of it later does not count. Memory is bounded.
    """

    def __init__(self) -> None:
        self.total_ms = 0
        self._pieces: list[_Piece] = []  # disjoint, in order
        self._settled: int | None = None  # before it, nothing is remembered

    def add(self, name: str, start: int, end: int) -> None:
        """Take in that ``name`` spoke from ``start`` to ``end``, in ms of any common clock."""
        if self._settled is not None:
            start = max(start, self._settled)
        if start >= end:
            return
        first = bisect_right(self._pieces, start, key=lambda piece: piece.end)
        last = bisect_left(self._pieces, end, key=lambda piece: piece.start)
        self._pieces[first:last] = self._cut(name, start, end, self._pieces[first:last])
        self._forget()

    def _cut(self, name: str, start: int, end: int, touched: list[_Piece]) -> list[_Piece]:
        """Cut the pieces that a stretch touches at its ends, and fill the gaps between them."""
        cut: list[_Piece] = []
        at = start
        for piece in touched:
            if piece.start < start:
                cut.append(_Piece(piece.start, start, piece.names))
            if at < piece.start:
                cut.append(_Piece(at, piece.start, frozenset({name})))
            begin, at = max(piece.start, start), min(piece.end, end)
            if len(piece.names) == 1 and name not in piece.names:
                self.total_ms += at - begin
            cut.append(_Piece(begin, at, piece.names | {name}))
            if end < piece.end:
                cut.append(_Piece(end, piece.end, piece.names))
        if at < end:
            cut.append(_Piece(at, end, frozenset({name})))
        return cut

    def _forget(self) -> None:
        pieces = self._pieces
        horizon = pieces[-1].end - _REACH_MS
        old = max(0, len(pieces) - _PIECES)
        while pieces[old].end <= horizon:
            old += 1
        if old:
            self._settled = pieces[old - 1].end
            del pieces[:old]


def _quantile(ordered: Sequence[float], part: float) -> float:
    place = part * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _round_up(value: float) -> float:
    # Nothing that is measured is so small; powers of ten end somewhere.
    if value <= 1e-9:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 2.5, 5, 10, 20) if step * unit > value)


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
