"""Processes that hold streams, and what they use."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from streamser.bench.beside.hold import HoldTask
from streamser.bench.load_log import StreamLog
from streamser.bench.load_server import family, read_process
from streamser.errors import StreamserError

__all__ = ["FamilyGauge", "HoldProcess"]


class HoldProcess:
    """A process that holds streams, for ``with``."""

    def __init__(self, task: HoldTask) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamser.bench.beside.hold"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._say(msgspec.json.encode(task))

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def __enter__(self) -> HoldProcess:
        return self

    def __exit__(self, *rest: object) -> None:
        self._process.kill()
        self._process.wait()

    def wait_ready(self) -> None:
        """Wait until its models are loaded; raises ``StreamserError`` where it ends instead."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != b"ready":
            raise _broke_off()

    def begin(self, first: float) -> None:
        """Say when the first stream may begin (``time.monotonic``)."""
        self._say(repr(first).encode())

    def logs(self) -> list[StreamLog]:
        """Wait for its streams' logs; raises ``StreamserError`` where it ends without."""
        assert self._process.stdout is not None
        try:
            return msgspec.json.decode(self._process.stdout.read(), type=list[StreamLog])
        except msgspec.DecodeError:
            raise _broke_off() from None

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        # One that has ended is noticed where it is listened to.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()


class FamilyGauge:
    """Read what processes and those they have started use, twice."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._busy: list[tuple[float, float]] = []
        self.memory_mib: float | None = None

    def note(self) -> None:
        """Take a reading; the memory is that of the last."""
        everybody = [each for pid in self._pids for each in family(pid)]
        at = time.monotonic()
        self._busy.append((at, sum(read_process(pid).get("busy_s", 0.0) for pid in everybody)))
        sizes = [_shared_out_mib(pid) for pid in everybody]
        self.memory_mib = round(sum(filter(None, sizes)), 1) if any(sizes) else None

    def cores(self) -> float | None:
        """Return processor time over wall time between the readings."""
        if len(self._busy) < 2 or not self._busy[-1][1]:
            return None
        (before, busy_before), *_, (after, busy_after) = self._busy
        return round((busy_after - busy_before) / (after - before), 3)


def _shared_out_mib(pid: int) -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 2**10
    return None


def _broke_off() -> StreamserError:
    return StreamserError(
        "a process that holds streams ended before its time; run python -m"
        " streamser.bench.beside.hold by hand to see why.",
        code="bench_failed",
    )
