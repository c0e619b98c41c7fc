"""The server under load: a process of our own, or somebody's; and what it uses."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from streamser.errors import StreamserError

__all__ = [
    "Gauge",
    "Meter",
    "OwnServer",
    "Use",
    "family",
    "read_metrics",
    "read_process",
    "use_between",
]

_READY = re.compile(r"^Serving (?P<url>\S+) \(")
_START_S = 300.0
"""A full-size model may have to be loaded, or even fetched."""
_STOP_S = 15.0
_SCRAPE_S = 5.0
_LAST_WORDS_S = 1.0
_FACTOR: Final = ("streamser_device_busy_seconds_total", "streamser_audio_seconds_total")
_BATCH: Final = ("streamser_batch_size_sum", "streamser_batch_size_count")
_LINE: Final = re.compile(r"^(?P<name>streamser_\w+(?:\{[^}]*\})?) (?P<value>\S+)$", re.MULTILINE)


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a server as it was at a moment (``time.monotonic``, s).

    ``busy_s`` is the processor time of its process and those that it has started, since their
    start, all threads together; so are the sizes. ``None``: not measured. ``metrics`` is what it
    tells Prometheus.
    """

    at: float
    busy_s: float | None = None
    rss_mib: float | None = None
    peak_mib: float | None = None
    metrics: dict[str, float] | None = None


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a server used in a step; ``None``: not measured.

    ``cores`` is processor time over wall time. ``real_time_factor`` is the time its device
    thread spent in models over the sound taken in. ``batch_mean`` counts jobs in a batch.
    """

    cores: float | None
    rss_mib: float | None
    peak_mib: float | None
    real_time_factor: float | None
    batch_mean: float | None


class OwnServer:
    """A server in a process of its own, for ``with``; the block begins when it takes streams.

    ``arguments`` follow ``streamser serve``. ``cores`` pins it, and the calling thread to the
    others, if there are any. Raises ``StreamserError`` where the server does not start.
    """

    def __init__(self, arguments: Sequence[str], cores: frozenset[int] | None) -> None:
        self._arguments = tuple(arguments)
        self._cores = cores
        self._before: set[int] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        assert self._process is not None, "it has not been started"
        return self._process.pid

    def check(self) -> None:
        """Raise ``StreamserError`` where the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise StreamserError(f"the server has ended: {self._last_words()}", code="bench_failed")

    def __enter__(self) -> OwnServer:
        if self._cores is not None:
            self._before = os.sched_getaffinity(0)
            # A child inherits them before its first thread, by which its libraries count cores.
            os.sched_setaffinity(0, self._cores)
        try:
            self._start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        process = self._process
        if kind is None and process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        # Nobody waits for its goodbyes where Ctrl-C or a fault ends us.
        self._kill()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamser", "serve", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if self._before is not None and self._cores is not None:
            os.sched_setaffinity(0, self._before - self._cores or self._before)
        self._listener = threading.Thread(target=self._listen, name="server's words", daemon=True)
        self._listener.start()
        if not self._ready.wait(_START_S):
            raise StreamserError(
                f"the server was not ready within {_START_S:.0f} s: {self._last_words()}",
                code="bench_failed",
            )
        if not self.url:
            self._process.wait(_STOP_S)
            raise StreamserError(
                f"the server did not start: {self._last_words()}", code="bench_failed"
            )

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.strip())
            if not self.url and (ready := _READY.match(line)) is not None:
                self.url = ready["url"]
                self._ready.set()
        self._ready.set()

    def _last_words(self) -> str:
        return self._said[-1] if self._said else "it said nothing"

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._listener is not None:
                self._listener.join(_LAST_WORDS_S)
            if self._process.stderr is not None:
                self._process.stderr.close()
        if self._before is not None:
            os.sched_setaffinity(0, self._before)


class Meter:
    """Read a server's gauges; ``pid`` is ``None`` where its process is not ours."""

    def __init__(self, url: str, pid: int | None) -> None:
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        token = parse_qs(parts.query).get("token", [""])[-1]
        self._request = urllib.request.Request(
            f"{scheme}://{parts.netloc.rpartition('@')[2]}/metrics",
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        self._pid = pid
        # A proxy of the environment would be part of what is measured.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.readings: list[Gauge] = []

    def note(self) -> None:
        """Take a reading."""
        at = time.monotonic()
        found = {} if self._pid is None else _read_family(self._pid)
        # Last: the answer costs the server a little, and may be late.
        self.readings.append(Gauge(at=at, metrics=self._scrape(), **found))

    def _scrape(self) -> dict[str, float] | None:
        try:
            with self._opener.open(self._request, timeout=_SCRAPE_S) as answer:
                return read_metrics(answer.read().decode())
        except (OSError, ValueError):
            return None


def family(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """List a process, if it is there, and those that it, or they, have started."""
    parents: dict[int, int] = {}
    for stat in proc.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    found = [pid] if pid in parents else []
    for each in found:
        found.extend(child for child, parent in parents.items() if parent == each)
    return found


def _read_family(pid: int) -> dict[str, float]:
    sums: dict[str, float] = {}
    for each in family(pid):
        for name, value in read_process(each).items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def read_process(pid: int, proc: Path = Path("/proc")) -> dict[str, float]:
    """Read processor time (s) and memory (MiB) of a process; empty where there is no /proc."""
    try:
        # The name, in parentheses, may hold anything.
        fields = (proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        status = (proc / str(pid) / "status").read_text("utf-8", "replace")
        busy = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return {}
    sizes = dict(_sizes(status))
    found = {"busy_s": busy, "rss_mib": sizes.get("VmRSS"), "peak_mib": sizes.get("VmHWM")}
    return {name: value for name, value in found.items() if value is not None}


def read_metrics(text: str) -> dict[str, float]:
    """Read a server's own metrics by name, labels included, from Prometheus' text format."""
    return {match["name"]: float(match["value"]) for match in _LINE.finditer(text)}


def use_between(before: Gauge, after: Gauge) -> Use:
    """Say what was used between two readings."""
    cores = None
    if before.busy_s is not None and after.busy_s is not None and after.at > before.at:
        cores = round((after.busy_s - before.busy_s) / (after.at - before.at), 3)
    return Use(
        cores=cores,
        rss_mib=_rounded(after.rss_mib, 1),
        peak_mib=_rounded(after.peak_mib, 1),
        real_time_factor=_rounded(_ratio(before.metrics, after.metrics, *_FACTOR), 4),
        batch_mean=_rounded(_ratio(before.metrics, after.metrics, *_BATCH), 2),
    )


def _sizes(status: str) -> Iterator[tuple[str, float]]:
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, int(value.split()[0]) / 2**10


def _ratio(
    before: Mapping[str, float] | None, after: Mapping[str, float] | None, part: str, whole: str
) -> float | None:
    if before is None or after is None:
        return None
    grown = [after.get(name, 0.0) - before.get(name, 0.0) for name in (part, whole)]
    return grown[0] / grown[1] if grown[1] > 0 else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
