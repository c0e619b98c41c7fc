"""Does it grow? Verdicts on what was read of a server over hours; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from tools.bench.measure import percentile

__all__ = ["DEFINITIONS", "Trend", "judge_count", "judge_loss", "judge_memory", "judge_rest"]

DEFINITIONS = (
    "Judged are the readings after the warm-up. First and last: the medians of the first and of the"
    " last quarter of them. Slope: that of Theil and Sen, the median of the slopes between any two"
    " readings, per hour of audio a stream.",
    "Memory: the greater of last - first and slope x the time that was judged, in % of first, may"
    " not exceed the bound. Resident memory is the sum over the server's process and those it has"
    " started; private is what of it is not a mapped file, and is not judged.",
    "Threads, descriptors, tasks: clients come and go, so their number varies; last - first may"
    " not exceed the interquartile range of the first quarter. Steady growth always does.",
    "At rest: after the warm-up, and again at the end, everybody leaves; once the server counts no"
    " stream and no listener and nothing changes any more it is read. The second reading may not"
    " have one thread, descriptor or task more than the first.",
    "Lost: events whose number is missing and that no streamser.overload accounts for, and"
    " utterances without their finals, over all sessions that were not broken off for good.",
)

_LEAST = 8
"""Readings: two in each quarter."""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one measure and its verdict; ``None``: not judged, and ``why``.

    ``first`` and ``last`` are medians of quarters, or single readings. ``percent`` is growth in
    % of ``first``, ``an_hour`` the slope, in the measure's own unit per hour of audio.
    """

    name: str
    unit: str
    first: float
    last: float
    percent: float | None
    an_hour: float | None
    bound: str
    held: bool | None
    why: str


def judge_memory(
    name: str, minutes: Sequence[float], values: Sequence[float], bound_percent: float | None
) -> Trend:
    """Judge memory in MiB at so many minutes of audio; without a bound it is only told."""
    first, last = _ends(values)
    slope = _slope(minutes, values)
    grown = max(last - first, slope * (max(minutes) - min(minutes)) if minutes else 0.0)
    percent = 100 * grown / first if first else 0.0
    held: bool | None = None
    why, bound = "told, not judged", "–"
    if bound_percent is not None:
        bound = f"≤ {bound_percent:g} %"
        held, why = _few(values) or (
            percent <= bound_percent,
            f"{percent:+.2f} %" + ("" if percent <= bound_percent else f" > {bound_percent:g} %"),
        )
    return Trend(
        name=name,
        unit="MiB",
        first=round(first, 2),
        last=round(last, 2),
        percent=round(percent, 3),
        an_hour=round(60 * slope, 3),
        bound=bound,
        held=held,
        why=why,
    )


def judge_count(name: str, minutes: Sequence[float], values: Sequence[float]) -> Trend:
    """Judge a number that varies as clients come and go."""
    first, last = _ends(values)
    quarter = _quarter(values)
    spread = percentile(quarter, 0.75) - percentile(quarter, 0.25) if quarter else 0.0
    held, why = _few(values) or (
        last - first <= spread,
        f"{last - first:+g}" + ("" if last - first <= spread else f" > {spread:g}"),
    )
    return Trend(
        name=name,
        unit="",
        first=first,
        last=last,
        percent=round(100 * (last - first) / first, 3) if first else None,
        an_hour=round(60 * _slope(minutes, values), 3),
        bound=f"≤ {spread:g} more",
        held=held,
        why=why,
    )


def judge_rest(name: str, before: float | None, after: float | None) -> Trend | None:
    """Judge a number at rest; ``None`` where it was not read."""
    if before is None or after is None:
        return None
    grown = after - before
    return Trend(
        name=f"{name}, at rest",
        unit="",
        first=before,
        last=after,
        percent=round(100 * grown / before, 3) if before else None,
        an_hour=None,
        bound="≤ 0 more",
        held=grown <= 0,
        why=f"{grown:+g}",
    )


def judge_loss(name: str, lost: int) -> Trend:
    """Judge what was lost: nothing may be."""
    return Trend(
        name=name,
        unit="",
        first=0,
        last=lost,
        percent=None,
        an_hour=None,
        bound="0",
        held=lost == 0,
        why="none" if lost == 0 else f"{lost} lost",
    )


def _few(values: Sequence[float]) -> tuple[None, str] | None:
    if len(values) >= _LEAST:
        return None
    return None, f"not judged: {len(values)} readings, {_LEAST} are the least"


def _quarter(values: Sequence[float]) -> Sequence[float]:
    return values[: max(1, len(values) // 4)]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    first, last = _quarter(values), _quarter(values[::-1])
    return percentile(first, 0.5), percentile(last, 0.5)


def _slope(minutes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of Theil (1950) and Sen (1968), per minute; 0 for less than two places."""
    early, late = np.triu_indices(len(values), 1)
    x, y = np.asarray(minutes, float), np.asarray(values, float)
    apart = x[late] - x[early]
    usable = apart > 0
    if not usable.any():
        return 0.0
    return float(np.median((y[late] - y[early])[usable] / apart[usable]))
