"""What somebody can do at the door, most of it without a token."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tools.attack.row import Row
from tools.attack.server import TOKENS, Pulse, Server
from tools.attack.wire import ask, frame, handshake

__all__ = ["doors"]

_SECONDS = 5.0
_HANDSHAKES = 400
_FILES = 256
_TAKEN_OVER = f"/v1/realtime?stream=a-secret-of-the-attack&token={TOKENS['mic']}"


def doors(tree: Path) -> Iterator[Row]:
    """Frames after a refusal, two Host headers, and those who never come in, or never leave."""
    with Server(tree) as server:
        with Pulse(server.port) as pulse:
            attackers = [threading.Thread(target=_refused, args=(server,)) for _ in range(3)]
            for each in attackers:
                each.start()
            for each in attackers:
                each.join()
        yield Row("frames after a refusal", "longest standstill", pulse.worst_ms, 500, "ms")
        for name, path, headers in (
            ("refused, never gone", "/v1/realtime", {"Origin": "https://other.example"}),
            ("taken over, never gone", _TAKEN_OVER, {}),
        ):
            unanswered = _beside_those_who_stay(server, path, headers)
            yield Row(name, "calls without an answer", unanswered, 0)
        before = server.log.stat().st_size
        for _ in range(300):
            try:
                ask(server.port, "/", timeout=5, extra="Host: other\r\n")
            except (OSError, IndexError, ValueError):
                continue
        written = (server.log.stat().st_size - before) / 1024
        traces = server.log.read_text(errors="replace").count("Traceback")
        yield Row("300 × two Host headers", "log grown", written, 100, "KiB")
        yield Row("300 × two Host headers", "tracebacks", traces, 0)
    with Server(tree, open_files=_FILES) as server:
        yield Row(
            f"{_HANDSHAKES} open handshakes", "an honest answer after", _crowded(server), 5, "s"
        )


def _refused(server: Server) -> None:
    burst = frame(b"") * 43_000
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        try:
            line, status = handshake(
                server.port, "/v1/realtime", {"Origin": "https://other.example"}
            )
            with line:
                if status == 101:
                    line.settimeout(2)
                    line.sendall(burst)
                    line.recv(4096)
        except OSError:
            continue


def _beside_those_who_stay(server: Server, path: str, headers: dict[str, str]) -> int:
    """Return how many calls get no answer beside connections that are to leave, and do not."""
    over = threading.Event()
    lines: list[socket.socket] = []

    def come() -> None:
        while not over.is_set():
            try:
                lines.append(handshake(server.port, path, headers, timeout=3)[0])
            except OSError:
                over.wait(0.01)

    comers = [threading.Thread(target=come, daemon=True) for _ in range(3)]
    for each in comers:
        each.start()
    unanswered, until = 0, time.monotonic() + _SECONDS
    while time.monotonic() < until:
        try:
            unanswered += ask(server.port, "/healthz", timeout=5)[0] != 200
        except OSError:
            unanswered += 1
        time.sleep(0.05)
    over.set()
    for each in comers:
        each.join(4)
    for line in lines:
        line.close()
    return unanswered


def _crowded(server: Server) -> float:
    """Return how long an answer takes beside half-open handshakes, s; infinite: there is none."""
    lines: list[socket.socket] = []
    try:
        for _ in range(_HANDSHAKES):
            try:
                line = socket.create_connection(("127.0.0.1", server.port), 1)
                line.sendall(b"GET /v1/realtime HTTP/1.1\r\n")
                lines.append(line)
            except OSError:
                break
        began = time.monotonic()
        while time.monotonic() < began + 15:
            try:
                if ask(server.port, "/healthz", timeout=3)[0] == 200:
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.1)
        return float("inf")
    finally:
        for line in lines:
            line.close()
