"""Streams for hours to one server, which must not grow."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streamser.bench.conversation import load_demo, load_recordings
from streamser.bench.load_server import OwnServer
from streamser.bench.load_sound import Lap, make_lap
from streamser.bench.machine import describe_machine
from streamser.bench.soak_report import SoakReport, trends_of
from streamser.bench.soak_talker import Ground
from streamser.bench.soak_traffic import Traffic, listeners_for
from streamser.bench.soak_watch import Reading, Watch
from streamser.client.wire import redacted
from streamser.errors import StreamserError

__all__ = ["SoakBench", "run_soak"]

_STALLED_S = 120.0
_REST_S = 120.0
"""A server may hold a stream whose client has vanished for a while; so long is waited for it."""
_CALM_S = 1.0
_CALM = 4
"""Readings in a row without a change: then it rests."""
_TOLD_MIN = 5.0


class SoakBench(msgspec.Struct, frozen=True, kw_only=True):
    """Say what to soak; lengths in minutes of audio a stream.

    ``server`` is the address of one that runs already, ``pid`` its process where that is on this
    machine; ``None``: one is started, by ``arguments``. ``settings`` are those that are not the
    default, for the report. A reading is taken every ``every_s`` seconds of audio.
    """

    streams: int
    warm_min: float
    minutes: float
    speed: float
    renew_min: float
    every_s: float
    bound_percent: float
    seed: int
    command: str
    recordings: Path | None = None
    server: str | None = None
    pid: int | None = None
    token: str | None = None
    wordless: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = {}


class _Soaked(msgspec.Struct, frozen=True):
    warm: list[Reading]
    judged: list[Reading]
    rests: tuple[Reading, Reading]
    seconds: float


def run_soak(bench: SoakBench, tell: Callable[[str], None]) -> SoakReport:
    """Soak a server and judge it; raises ``StreamserError`` where it cannot be had, or ends."""
    found = load_demo() if bench.recordings is None else load_recordings(bench.recordings)
    lap = make_lap(found)
    tell(
        f"{bench.streams} streams, {bench.warm_min:g} + {bench.minutes:g} minutes of audio each, at"
        f" {bench.speed:g} times real time: {_minutes(bench):.0f} minutes, two rests apart."
    )
    with _served(bench, tell) as (url, own):
        soaked, traffic = asyncio.run(_soak(bench, lap, url, own, tell))
    tally = traffic.tally
    trends = trends_of(soaked.judged, soaked.rests, tally, bench.bound_percent)
    return SoakReport(
        command=bench.command,
        seed=bench.seed,
        machine=describe_machine(),
        server="started for this" if bench.server is None else redacted(bench.server),
        models=traffic.models,
        settings=dict(bench.settings),
        sound=lap.name,
        speech_share=lap.speech_share,
        streams=bench.streams,
        listeners=listeners_for(bench.streams) + 1,
        speed=bench.speed,
        warm_minutes=bench.warm_min,
        minutes=bench.minutes,
        renew_minutes=bench.renew_min,
        every_s=bench.every_s,
        seconds=round(soaked.seconds, 1),
        trends=tuple(trends),
        tally=tally,
        rests=soaked.rests,
        readings=(*soaked.warm, *soaked.judged),
    )


@contextmanager
def _served(
    bench: SoakBench, tell: Callable[[str], None]
) -> Iterator[tuple[str, OwnServer | None]]:
    if bench.server is not None:
        yield bench.server, None
        return
    tell("Starting the server …")
    with OwnServer(bench.arguments, None) as own:
        yield own.url, own


async def _soak(
    bench: SoakBench, lap: Lap, url: str, own: OwnServer | None, tell: Callable[[str], None]
) -> tuple[_Soaked, Traffic]:
    ground = Ground(
        url=url,
        token=bench.token,
        wordless=bench.wordless,
        lap=lap,
        speed=bench.speed,
        renew_min=bench.renew_min,
    )
    traffic = Traffic(ground, bench.streams, bench.seed)
    run = _Run(bench, traffic, Watch(url, own.pid if own else bench.pid, bench.streams), own, tell)
    began = time.monotonic()
    try:
        warm = await run.load(bench.warm_min)
        before = await run.rest()
        judged = await run.load(before.minutes + bench.minutes)
        after = await run.rest()
    finally:
        await traffic.leave()
    return _Soaked(warm, judged, (before, after), time.monotonic() - began), traffic


class _Run:
    """Take readings of a server, under load and at rest."""

    def __init__(
        self,
        bench: SoakBench,
        traffic: Traffic,
        watch: Watch,
        own: OwnServer | None,
        tell: Callable[[str], None],
    ) -> None:
        self._bench = bench
        self._traffic = traffic
        self._watch = watch
        self._own = own
        self._tell = tell
        self._told = 0.0
        self._missed = 0

    async def load(self, until: float) -> list[Reading]:
        """Let everybody talk until the server has heard so many minutes of each stream."""
        readings: list[Reading] = []
        self._traffic.start()
        wait_s = self._bench.every_s / self._bench.speed
        reached, moved = -1.0, time.monotonic()
        while reached < until:
            await asyncio.sleep(wait_s)
            reading = await self._read()
            if reading is not None and reading.minutes > reached:
                reached, moved = reading.minutes, time.monotonic()
                readings.append(reading)
                self._show(reading)
            elif time.monotonic() - moved > _STALLED_S:
                raise StreamserError(
                    f"the server has taken in no sound for {_STALLED_S:.0f} s.",
                    code="bench_failed",
                )
        return readings

    async def rest(self) -> Reading:
        """Let everybody leave, and read the server once nothing changes any more."""
        await self._traffic.rest()
        until = time.monotonic() + _REST_S
        last: Reading | None = None
        calm = 0
        while time.monotonic() < until:
            await asyncio.sleep(_CALM_S)
            reading = await self._read()
            if reading is None:
                continue
            empty = not reading.streams and not reading.listeners
            calm = calm + 1 if empty and last is not None and _same(last, reading) else 0
            last = reading
            if calm >= _CALM:
                return reading
        if last is None:
            raise StreamserError("the server does not answer at rest.", code="bench_failed")
        # As it is: what has not come to rest by now is what was looked for.
        return last

    async def _read(self) -> Reading | None:
        if self._own is not None:
            self._own.check()
        self._traffic.check()
        return await asyncio.to_thread(self._watch.read)

    def _show(self, reading: Reading) -> None:
        if reading.minutes < self._told:
            return
        self._told = (math.floor(reading.minutes / _TOLD_MIN) + 1) * _TOLD_MIN
        memory = "" if reading.rss_mib is None else f" {reading.rss_mib:.1f} MiB,"
        self._tell(
            f"{reading.minutes:.0f} min:{memory} {_shown(reading.threads)} threads,"
            f" {_shown(reading.descriptors)} descriptors, {_shown(reading.tasks)} tasks"
        )


def _same(one: Reading, other: Reading) -> bool:
    counts = ((each.threads, each.descriptors, each.tasks) for each in (one, other))
    return next(counts) == next(counts)


def _shown(count: int | None) -> str:
    return "?" if count is None else str(count)


def _minutes(bench: SoakBench) -> float:
    return (bench.warm_min + bench.minutes) / bench.speed
