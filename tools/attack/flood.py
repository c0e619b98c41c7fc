"""Whether one client with a valid token can slow down everybody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

from tools.attack.honest import hold_meeting
from tools.attack.row import Row
from tools.attack.server import TOKENS, Pulse, Server
from tools.attack.wire import frame, handshake, pour

__all__ = ["flood"]

STREAMS = 16
_SECONDS = 8.0


def flood(tree: Path) -> Iterator[Row]:
    """Hold a meeting undisturbed, then under 140 KiB of bad messages again and again."""
    with Server(tree) as server:
        alone = asyncio.run(hold_meeting(server, STREAMS, _SECONDS))
    with Server(tree) as server:
        over = threading.Event()
        storm = threading.Thread(target=_storm, args=(server, over), daemon=True)
        before = server.memory_mb()
        with Pulse(server.port) as pulse:
            storm.start()
            flooded = asyncio.run(hold_meeting(server, STREAMS, _SECONDS))
            over.set()
            storm.join(10)
        grown = server.memory_mb() - before
    name = f"flood, {STREAMS} streams"
    yield Row(name, "honest p95 undisturbed", alone.p95_ms, 5000, "ms")
    yield Row(name, "honest p95 under it", flooded.p95_ms, 1.5 * alone.p95_ms, "ms")
    yield Row(name, "longest standstill", pulse.worst_ms, 500, "ms")
    yield Row(name, "listeners thrown out", flooded.thrown_out, 0)
    yield Row(name, "streams without a final", flooded.silent, alone.silent)
    yield Row(name, "memory grown", grown, 150, "MB")


def _storm(server: Server, over: threading.Event) -> None:
    data = frame("x") * 20_000
    while not over.is_set():
        try:
            line, _ = handshake(server.port, f"/v1/realtime?meeting=m&token={TOKENS['mic']}")
        except OSError:
            over.wait(0.2)
            continue
        with line:
            pour(line, data, 5.0)
        over.wait(0.05)
