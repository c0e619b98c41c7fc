"""How late others are while a listener is stuck, a client floods, and a worker is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from streamser.client.wire import REALTIME, endpoint
from streamser.errors import StreamserError
from streamser.machine import describe_machine
from tools.bench.streams.load import LoadBench, play_step
from tools.bench.streams.load_figures import Latency
from tools.bench.streams.load_report import Step
from tools.bench.streams.server import Meter
from tools.reporting import Page, Provenance, Section, Table

__all__ = ["DisturbedReport", "disturbed_page", "run_disturbed"]

_KILL_AFTER = 0.4
"""Share of the measured time after which a worker is killed."""
_FLOOD_S = 10
"""Seconds of sound that a client sends at once, again and again, on a stream of its own."""


class DisturbedReport(Provenance, frozen=True, kw_only=True):
    """Hold what the same streams gave calm and disturbed."""

    streams: int
    seconds: float
    calm: Step
    disturbed: Step
    killed: int

    @property
    def ratio(self) -> float | None:
        """Return p95 disturbed over calm, of the emotion from the end of speech on."""
        return _over(self.disturbed.figures.emotion, self.calm.figures.emotion)

    @property
    def ratio_beyond(self) -> float | None:
        """Return the same of what the hangover does not explain."""
        return _over(self.disturbed.figures.emotion_beyond, self.calm.figures.emotion_beyond)


def _over(disturbed: Latency | None, calm: Latency | None) -> float | None:
    return None if calm is None or disturbed is None else disturbed.p95 / calm.p95


def run_disturbed(bench: LoadBench, tell: Callable[[str], None]) -> DisturbedReport:
    """Measure one step twice, the second time with all that at once.

    Raises ``StreamserError`` where the server cannot be had, or has no worker process to kill.
    """
    lap, streams = bench.lap, bench.streams[0]
    with bench.served(tell) as (url, own):
        if own is None:
            raise StreamserError("a worker of a server of ours is killed: leave --server out")
        meter = Meter(url, own.pid)
        tell(f"{streams} streams, undisturbed …")
        calm = play_step(bench, lap, url, streams, meter, [])
        trouble = _Trouble(url, bench.warm_s + _KILL_AFTER * bench.seconds)
        tell(f"{streams} streams, a stuck listener, a flood and a dying worker …")
        with trouble:
            disturbed = play_step(bench, lap, url, streams, meter, [calm])
        own.check()
    return DisturbedReport(
        command=bench.command,
        seed=bench.seed,
        machine=describe_machine(),
        streams=streams,
        seconds=bench.seconds,
        calm=calm,
        disturbed=disturbed,
        killed=trouble.killed,
    )


def disturbed_page(report: DisturbedReport) -> Page:
    """Set both side by side."""
    heads = ("", "utterances", "p50, ms", "p95, ms", "p99, ms", "p95 beyond the hangover, ms")
    rows = tuple(
        _row(name, step)
        for name, step in (("undisturbed", report.calm), ("disturbed", report.disturbed))
    )
    facts = (
        f"{report.streams} streams, {report.seconds:g} s each; speech end → emotion;"
        f" {report.killed} worker killed; all streams count, those of the killed one too.",
    )
    ratios = (("with the hangover", report.ratio), ("beyond it", report.ratio_beyond))
    told = (f"{ratio:.2f} {what}" for what, ratio in ratios if ratio is not None)
    verdict = f"p95 disturbed / undisturbed: {', '.join(told)}"
    table = Table((*heads, "finals lost", "failed"), rows, align="lrrrrrrr")
    section = Section(facts=(*report.origin, *facts), tables=(table,), verdict=verdict)
    return Page(title="A stuck listener, a flood and a dying worker at once", sections=(section,))


def _row(name: str, step: Step) -> tuple[str, ...]:
    figures = step.figures
    emotion = figures.emotion
    times = ("", "", "")
    if emotion is not None:
        times = (f"{emotion.p50:.0f}", f"{emotion.p95:.0f}", f"{emotion.p99:.0f}")
    beyond = "" if figures.emotion_beyond is None else f"{figures.emotion_beyond.p95:.0f}"
    lost = (str(figures.lost_finals), str(figures.failed))
    return (name, str(figures.utterances), *times, beyond, *lost)


class _Trouble:
    """Make trouble on a thread of its own, for ``with``."""

    def __init__(self, url: str, kill_after_s: float) -> None:
        self.killed = 0
        self._url = url
        self._kill_after_s = kill_after_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trouble", daemon=True)

    def __enter__(self) -> _Trouble:
        self._thread.start()
        return self

    def __exit__(self, *how: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._make())

    async def _make(self) -> None:
        stuck = self._stuck_listener()
        flood = asyncio.create_task(self._flood())
        began = time.monotonic()
        while not self._over.is_set():
            await asyncio.sleep(0.1)
            if not self.killed and time.monotonic() - began >= self._kill_after_s:
                self.killed += self._kill()
        flood.cancel()
        with suppress(asyncio.CancelledError):
            await flood
        stuck.close()

    def _stuck_listener(self) -> socket.socket:
        """Connect as a listener of everything who never reads."""
        place = urlsplit(self._url)
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.connect((place.hostname, place.port))
        lines = (
            "GET /v1/events?query=all HTTP/1.1",
            f"Host: {place.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "\r\n",
        )
        link.sendall("\r\n".join(lines).encode())
        return link

    async def _flood(self) -> None:
        """Send sound as fast as the server takes it, and read nothing."""
        url = endpoint(self._url, REALTIME, {"rate": "16000", "encoding": "s16le"})
        noise = os.urandom(2 * 16_000 * _FLOOD_S)
        while True:
            with suppress(WebSocketException, OSError):
                async with connect(url, max_size=None, compression=None, proxy=None) as wire:
                    while True:
                        await wire.send(noise)
            await asyncio.sleep(0.5)

    def _kill(self) -> int:
        """Kill the worker that hosts most streams; returns how many were killed."""
        place = urlsplit(self._url)
        with urllib.request.urlopen(f"http://{place.netloc}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(r'^streamser_worker_sessions\{worker="(\d+)"\} ([\d.]+)', text, re.M)
        if not found:
            return 0
        pid, _ = max(found, key=lambda each: float(each[1]))
        os.kill(int(pid), signal.SIGKILL)
        return 1
