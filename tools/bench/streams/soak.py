"""Streams for hours to one server, which must not grow."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from streamser.client.wire import redacted
from streamser.errors import StreamserError
from streamser.machine import describe_machine
from tools.bench.streams.client import Lap
from tools.bench.streams.server import Meter, OwnServer, ServerBench
from tools.bench.streams.soak_clients import Ground, Traffic, listeners_for
from tools.bench.streams.soak_report import Reading, SoakReport, trends_of

__all__ = ["SoakBench", "Watch", "run_soak"]

_AUDIO: Final = "streamser_audio_seconds_total"
_STALLED_S = 120.0
_REST_S = 120.0
"""A server may hold a stream whose client has vanished for a while; so long is waited for it."""
_CALM_S = 1.0
_CALM = 4
"""Readings in a row without a change: then it rests."""
_TOLD_MIN = 5.0


class SoakBench(ServerBench, frozen=True, kw_only=True):
    """Say what to soak; lengths in minutes of audio a stream.

    A reading is taken every ``every_s`` seconds of audio.
    """

    streams: int
    warm_min: float
    minutes: float
    speed: float
    renew_min: float
    every_s: float
    bound_percent: float


class _Soaked(msgspec.Struct, frozen=True):
    warm: list[Reading]
    judged: list[Reading]
    rests: tuple[Reading, Reading]
    seconds: float


def run_soak(bench: SoakBench, tell: Callable[[str], None]) -> SoakReport:
    """Soak a server and judge it; raises ``StreamserError`` where it cannot be had, or ends."""
    lap = bench.lap
    tell(
        f"{bench.streams} streams, {bench.warm_min:g} + {bench.minutes:g} minutes of audio each, at"
        f" {bench.speed:g} times real time: {_minutes(bench):.0f} minutes, two rests apart."
    )
    with bench.served(tell) as (url, own):
        soaked, traffic = asyncio.run(_soak(bench, lap, url, own, tell))
    tally = traffic.tally
    trends = trends_of(soaked.judged, soaked.rests, tally, bench.bound_percent)
    return SoakReport(
        command=bench.command,
        seed=bench.seed,
        machine=describe_machine(),
        server="started for this" if bench.server is None else redacted(bench.server),
        models=traffic.models,
        settings=bench.settings,
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


class Watch:
    """Read a server at ``url``; ``pid`` is ``None`` where its process is not ours."""

    def __init__(self, url: str, pid: int | None, streams: int) -> None:
        self._meter = Meter(url, pid)
        self._streams = streams
        self._first_s: float | None = None

    def read(self) -> Reading | None:
        """Take a reading; ``None`` where the server does not answer."""
        gauge = self._meter.read()
        metrics, found = gauge.metrics, gauge.processes
        if metrics is None:
            return None
        heard_s = metrics.get(_AUDIO, 0.0)
        if self._first_s is None:
            self._first_s = heard_s
        return Reading(
            minutes=round((heard_s - self._first_s) / 60 / self._streams, 3),
            tasks=_whole(metrics, "streamser_tasks"),
            streams=_whole(metrics, "streamser_streams"),
            listeners=_whole(metrics, "streamser_listeners"),
            kept_events=_whole(metrics, "streamser_kept_events"),
            each_mib=tuple(round(each.rss_mib, 2) for each in found),
            rss_mib=_rounded(gauge.total("rss_mib")),
            private_mib=_rounded(gauge.total("private_mib")),
            threads=sum(each.threads for each in found) if found else None,
            descriptors=sum(each.descriptors for each in found) if found else None,
        )


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


def _whole(metrics: Mapping[str, float], name: str) -> int | None:
    return int(metrics[name]) if name in metrics else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
