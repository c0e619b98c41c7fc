"""The server that is measured: a process of our own, or somebody's; and what it uses."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from streamser.errors import StreamserError
from tools.bench.conversation import load_demo, load_recordings
from tools.bench.streams.client import Lap, make_lap
from tools.reporting import Provenance

__all__ = [
    "Gauge",
    "Meter",
    "OwnServer",
    "Process",
    "ServerBench",
    "ServerReport",
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


class ServerBench(msgspec.Struct, frozen=True, kw_only=True):
    """Say which server is measured, and by whom.

    ``server`` is the address of one that runs already, ``pid`` its process where that is on this
    machine; ``None``: one is started, the ``serve`` of a ``module`` with ``arguments``, and kept
    to ``cores``. ``settings`` are those that are not the default, for the report. ``wordless``
    asks for no transcripts.
    """

    seed: int
    command: str
    recordings: Path | None = None
    server: str | None = None
    pid: int | None = None
    token: str | None = None
    wordless: bool = False
    module: str = "streamser"
    arguments: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    cores: frozenset[int] | None = None

    @property
    def lap(self) -> Lap:
        """Return the sound that streams play; raises ``AudioError``."""
        return make_lap(
            load_demo() if self.recordings is None else load_recordings(self.recordings)
        )

    @contextmanager
    def served(self, tell: Callable[[str], None]) -> Iterator[tuple[str, OwnServer | None]]:
        """Yield the server's address, and the server where it is ours."""
        if self.server is not None:
            yield self.server, None
            return
        tell("Starting the server …")
        with OwnServer(self.module, self.arguments, self.cores) as own:
            yield own.url, own


class ServerReport(Provenance, frozen=True, kw_only=True):
    """Hold which server was measured, and with what sound; ``models`` are as it named them."""

    server: str
    models: dict[str, str | None]
    settings: dict[str, str]
    sound: str
    speech_share: float

    @property
    def origin(self) -> tuple[str, ...]:
        """Say it in lines."""
        *machine, command = super().origin
        models = ", ".join(f"{what} {name or 'none'}" for what, name in self.models.items())
        changed = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        settings = (f"Settings that are not the default: {changed}",) if changed else ()
        return (*machine, f"Server: {self.server}; {models}", *settings, command)


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a process has used and takes; processor time in s, memory in MiB.

    ``busy_s`` counts since its start, all threads together; ``private_mib`` leaves out mapped
    files: what a leak adds to.
    """

    pid: int
    busy_s: float
    rss_mib: float
    peak_mib: float
    private_mib: float
    threads: int
    descriptors: int


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a server as it was at a moment (``time.monotonic``, s).

    ``processes`` are its own and those that it has started; none: not measured. ``metrics`` is
    what it tells Prometheus.
    """

    at: float
    processes: tuple[Process, ...] = ()
    metrics: dict[str, float] | None = None

    def total(self, what: str) -> float | None:
        """Return a field's sum over the processes; pages that two of them share count twice."""
        return sum(getattr(each, what) for each in self.processes) if self.processes else None


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a server used in a step; ``None``: not measured.

    ``cores`` is processor time over wall time, ``front_cores`` that of the process that talks to
    clients alone. ``real_time_factor`` is the time that workers spent in models over the sound
    taken in. ``batch_mean`` counts jobs in a batch.
    """

    cores: float | None
    front_cores: float | None = None
    rss_mib: float | None
    peak_mib: float | None
    real_time_factor: float | None
    batch_mean: float | None


class OwnServer:
    """A server in a process of its own, for ``with``; the block begins when it takes streams.

    ``arguments`` follow ``serve``, which ``module`` knows as ``streamser`` does. ``cores`` pins
    it, and the calling thread to the others, if there are any. Raises ``StreamserError`` where the
    server does not start.
    """

    def __init__(self, module: str, arguments: Sequence[str], cores: frozenset[int] | None) -> None:
        self._module = module
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
            [sys.executable, "-m", self._module, "serve", *self._arguments],
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

    def read(self) -> Gauge:
        """Take a reading."""
        at = time.monotonic()
        pids = [] if self._pid is None else family(self._pid)
        found = (read_process(pid) for pid in pids)
        processes = tuple(each for each in found if each is not None)
        # Last: the answer costs the server a little, and may be late.
        return Gauge(at=at, processes=processes, metrics=self._scrape())

    def _scrape(self) -> dict[str, float] | None:
        try:
            with self._opener.open(self._request, timeout=_SCRAPE_S) as answer:
                return read_metrics(answer.read().decode())
        except (OSError, ValueError, HTTPException):
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


def read_process(pid: int, proc: Path = Path("/proc")) -> Process | None:
    """Read what a process has used and takes; ``None`` where there is none, or no /proc."""
    folder = proc / str(pid)
    try:
        # The name, in parentheses, may hold anything.
        fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        rows = (folder / "status").read_text("utf-8", "replace").splitlines()
        descriptors = len(os.listdir(folder / "fd"))
        told = {name: value.split() for name, _, value in (row.partition(":") for row in rows)}
        resident, peak, private = (
            int(told[name][0]) / 2**10 for name in ("VmRSS", "VmHWM", "RssAnon")
        )
        return Process(
            pid=pid,
            busy_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
            rss_mib=resident,
            peak_mib=peak,
            private_mib=private,
            threads=int(told["Threads"][0]),
            descriptors=descriptors,
        )
    except (OSError, AttributeError, LookupError, ValueError):
        # A process that has ended, and that nobody has asked after, has no memory.
        return None


def read_metrics(text: str) -> dict[str, float]:
    """Read a server's own metrics by name, labels included, from Prometheus' text format."""
    return {match["name"]: float(match["value"]) for match in _LINE.finditer(text)}


def use_between(before: Gauge, after: Gauge) -> Use:
    """Say what was used between two readings."""
    cores = front_cores = None
    earlier, later = before.total("busy_s"), after.total("busy_s")
    if earlier is not None and later is not None and after.at > before.at:
        passed = after.at - before.at
        cores = round((later - earlier) / passed, 3)
        # A server's own process stands before those that it has started.
        front = after.processes[0].busy_s - before.processes[0].busy_s
        front_cores = round(front / passed, 3)
    return Use(
        cores=cores,
        front_cores=front_cores,
        rss_mib=_rounded(after.total("rss_mib"), 1),
        peak_mib=_rounded(after.total("peak_mib"), 1),
        real_time_factor=_rounded(_ratio(before.metrics, after.metrics, *_FACTOR), 4),
        batch_mean=_rounded(_ratio(before.metrics, after.metrics, *_BATCH), 2),
    )


def _ratio(
    before: Mapping[str, float] | None, after: Mapping[str, float] | None, part: str, whole: str
) -> float | None:
    if before is None or after is None:
        return None
    grown = [after.get(name, 0.0) - before.get(name, 0.0) for name in (part, whole)]
    return grown[0] / grown[1] if grown[1] > 0 else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
