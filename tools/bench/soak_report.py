"""The report of ``python -m tools.bench soak``; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from streamser.machine import Machine
from tools.bench.soak_judge import (
    DEFINITIONS,
    Trend,
    judge_count,
    judge_loss,
    judge_memory,
    judge_rest,
)
from tools.bench.soak_talker import Tally
from tools.bench.soak_watch import Reading

__all__ = ["SoakReport", "trends_of"]

_COUNTS: Final[tuple[tuple[str, Callable[[Reading], int | None]], ...]] = (
    ("threads", lambda reading: reading.threads),
    ("file descriptors", lambda reading: reading.descriptors),
    ("asyncio tasks", lambda reading: reading.tasks),
)


class SoakReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole soak; lengths in minutes of audio a stream, ``seconds`` as the clock has it.

    ``rests`` are the readings at rest, after the warm-up and at the end. Readings up to
    ``warm_minutes`` are told, not judged.
    """

    command: str
    seed: int
    machine: Machine
    server: str
    models: dict[str, str | None]
    settings: dict[str, str]
    sound: str
    speech_share: float
    streams: int
    listeners: int
    speed: float
    warm_minutes: float
    minutes: float
    renew_minutes: float
    every_s: float
    seconds: float
    trends: tuple[Trend, ...]
    tally: Tally
    rests: tuple[Reading, Reading]
    readings: tuple[Reading, ...]
    definitions: tuple[str, ...] = DEFINITIONS

    @property
    def held(self) -> bool:
        """Return whether no measure broke its bound."""
        return all(trend.held is not False for trend in self.trends)


def trends_of(
    readings: Sequence[Reading],
    rests: tuple[Reading, Reading],
    tally: Tally,
    bound_percent: float,
) -> Iterator[Trend]:
    """Judge every measure that was taken; what could not be measured has no verdict."""
    for name, memory, bound in (
        ("resident memory", [each.rss_mib for each in readings], bound_percent),
        ("private memory", [each.private_mib for each in readings], None),
    ):
        minutes, sizes = _there(readings, memory)
        if sizes:
            yield judge_memory(name, minutes, sizes, bound)
    for name, pick in _COUNTS:
        minutes, counts = _there(readings, [pick(each) for each in readings])
        if counts:
            yield judge_count(name, minutes, counts)
        at_rest = judge_rest(name, pick(rests[0]), pick(rests[1]))
        if at_rest is not None:
            yield at_rest
    left = sum((each.streams or 0) + (each.listeners or 0) for each in rests)
    yield judge_loss("clients counted though they had left", left)
    yield judge_loss("events lost", tally.lost_events)
    yield judge_loss("finals lost", tally.lost_finals)
    yield judge_loss("utterances failed", tally.failed)
    yield judge_loss("sessions broken", tally.broken)


def _there(
    readings: Sequence[Reading], values: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    found = [
        (reading.minutes, value)
        for reading, value in zip(readings, values, strict=True)
        if value is not None
    ]
    return [minutes for minutes, _ in found], [value for _, value in found]
