"""Bytes on a socket, as no well-behaved client writes them."""

from __future__ import annotations

import base64
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Final

__all__ = ["ask", "drain", "frame", "handshake", "part", "ping", "pong", "pour"]


_QUIET_S: Final = 1.0


def ask(port: int, path: str, timeout: float = 10.0, extra: str = "") -> tuple[int, bytes]:
    """Ask for a page; return its status, 0 where there is none, and its body."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{extra}Connection: close\r\n\r\n"
    data = b""
    with socket.create_connection(("127.0.0.1", port), timeout) as line:
        line.sendall(head.encode())
        while piece := line.recv(65536):
            data += piece
    status, _, body = data.partition(b"\r\n\r\n")
    return (int(status.split()[1]) if status else 0), body


def handshake(
    port: int, path: str, headers: Mapping[str, str] | None = None, timeout: float = 20.0
) -> tuple[socket.socket, int]:
    """Open a WebSocket; return its line, and the status of the answer, 0 where there is none."""
    line = socket.create_connection(("127.0.0.1", port), timeout)
    key = base64.b64encode(os.urandom(16)).decode()
    fields = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade"}
    fields |= {"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    line.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        piece = line.recv(4096)
        if not piece:
            break
        data += piece
    return line, int(data.split()[1]) if data else 0


def frame(payload: bytes | str = b"") -> bytes:
    """Make a message of a client, text or binary, under a mask of zeros."""
    text = isinstance(payload, str)
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        length = bytes([0x80 | 127]) + struct.pack("!Q", size)
    return bytes([0x81 if text else 0x82]) + length + bytes(4) + data


def ping() -> bytes:
    """Make a ping with nothing in it."""
    return bytes([0x89, 0x80]) + bytes(4)


def pong() -> bytes:
    """Make a pong with nothing in it."""
    return bytes([0x8A, 0x80]) + bytes(4)


def part(*, begins: bool = False) -> bytes:
    """Make an empty part of a binary message that is never whole."""
    return bytes([0x02 if begins else 0x00, 0x80]) + bytes(4)


def pour(line: socket.socket, data: bytes, seconds: float) -> int:
    """Send, reading what comes back until nothing more does; return how much was sent.

    After so many seconds it gives up.
    """
    line.setblocking(False)
    view, until, sent = memoryview(data), time.monotonic() + seconds, 0
    while sent < len(view) and time.monotonic() < until:
        try:
            sent += line.send(view[sent : sent + 65536])
        except BlockingIOError:
            time.sleep(0.002)
        except OSError:
            break
        if not drain(line):
            return sent
    # Who closes with answers unread takes back what the other side has not read.
    line.setblocking(True)
    line.settimeout(_QUIET_S)
    try:
        while time.monotonic() < until and line.recv(1 << 20):
            pass
    except OSError:
        return sent
    return sent


def drain(line: socket.socket) -> bool:
    """Read what is there; return whether the line is still open."""
    try:
        return bool(line.recv(1 << 20))
    except BlockingIOError:
        return True
    except OSError:
        return False
