"""A server's memory, threads, descriptors and tasks, read again and again; all its processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from tools.bench.load_server import Meter, family

__all__ = ["Process", "Reading", "Watch", "read_size"]

_AUDIO: Final = "streamser_audio_seconds_total"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the size of one process; memory in MiB, ``private_mib`` without mapped files."""

    pid: int
    rss_mib: float
    private_mib: float
    threads: int
    descriptors: int


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a server as it was after so many minutes of audio a stream; ``None``: not measured.

    Memory (MiB), threads and descriptors are sums over the server's process and all that it has
    started; ``each_mib`` is the memory of each. Pages that two of them share count twice.
    ``private_mib`` leaves out mapped files: what a leak adds to. The rest is what the server
    tells of itself at ``/metrics``.
    """

    minutes: float
    rss_mib: float | None = None
    private_mib: float | None = None
    each_mib: tuple[float, ...] = ()
    threads: int | None = None
    descriptors: int | None = None
    tasks: int | None = None
    streams: int | None = None
    listeners: int | None = None
    kept_events: int | None = None


class Watch:
    """Read a server at ``url``; ``pid`` is ``None`` where its process is not ours."""

    def __init__(self, url: str, pid: int | None, streams: int) -> None:
        self._meter = Meter(url, pid)
        self._pid = pid
        self._streams = streams
        self._first_s: float | None = None

    def read(self) -> Reading | None:
        """Take a reading; ``None`` where the server does not answer."""
        found = [] if self._pid is None else _sizes(self._pid)
        self._meter.note()
        # The meter keeps all it reads; a soak reads for hours.
        metrics = self._meter.readings.pop().metrics
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
            rss_mib=round(sum(each.rss_mib for each in found), 2) if found else None,
            private_mib=round(sum(each.private_mib for each in found), 2) if found else None,
            threads=sum(each.threads for each in found) if found else None,
            descriptors=sum(each.descriptors for each in found) if found else None,
        )


def read_size(pid: int, proc: Path = Path("/proc")) -> Process | None:
    """Read the size of a process; ``None`` where there is none, or no /proc."""
    folder = proc / str(pid)
    try:
        status = (folder / "status").read_text("utf-8", "replace")
        descriptors = len(os.listdir(folder / "fd"))
    except OSError:
        return None
    rows = (line.partition(":") for line in status.splitlines())
    told = {name: value.split() for name, _, value in rows}
    try:
        resident, private = (int(told[name][0]) / 2**10 for name in ("VmRSS", "RssAnon"))
        threads = int(told["Threads"][0])
    except (KeyError, IndexError, ValueError):
        # A process that has ended, and that nobody has asked after, has no memory.
        return None
    return Process(
        pid=pid,
        rss_mib=resident,
        private_mib=private,
        threads=threads,
        descriptors=descriptors,
    )


def _sizes(pid: int) -> list[Process]:
    found = (read_size(each) for each in family(pid))
    return [each for each in found if each is not None]


def _whole(metrics: Mapping[str, float], name: str) -> int | None:
    return int(metrics[name]) if name in metrics else None
