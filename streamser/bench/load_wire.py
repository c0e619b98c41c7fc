"""A websocket that costs the generator next to nothing: no task, no queue, no lock.

The protocol is that of ``websockets``; between it and asyncio's transport nothing waits, so that
events are dated when their bytes come, and sound goes out when its time has come even where the
server does not read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from streamser.client.connection import judge_status
from streamser.client.wire import ConnectionLost, redacted
from streamser.errors import StreamserError

__all__ = ["Wire", "dial"]

_OPEN_S = 15.0
_MESSAGE_BYTES = 4 * 1024 * 1024


async def dial(url: str, token: str | None, hear: Callable[[float, bytes], None]) -> Wire:
    """Open a socket at a ``ws(s)://`` address; ``hear`` gets each message, and when it came.

    Raises ``StreamserError`` where there is no server, or it refuses us.
    """
    loop = asyncio.get_running_loop()
    uri = parse_uri(url)
    wire = Wire(ClientProtocol(uri, max_size=_MESSAGE_BYTES), token, hear)
    tls = ssl.create_default_context() if uri.secure else None
    try:
        async with asyncio.timeout(_OPEN_S):
            await loop.create_connection(lambda: wire, uri.host, uri.port, ssl=tls)
            await wire.opened
    except InvalidStatus as refused:
        answer = refused.response
        why = judge_status(answer.status_code, None, bytes(answer.body or b""), redacted(url))
        raise (_unreachable(url, why.why) if isinstance(why, ConnectionLost) else why) from refused
    except TimeoutError as fault:
        raise _unreachable(url, f"no answer within {_OPEN_S:.0f} s") from fault
    except ConnectionRefusedError as fault:
        raise _unreachable(url, "nobody listens there (connection refused)") from fault
    except (OSError, WebSocketException) as fault:
        raise _unreachable(url, str(fault) or type(fault).__name__) from fault
    return wire


class Wire(asyncio.Protocol):
    """One connection. ``opened`` is done once the server has let us in, ``closed`` at its end."""

    def __init__(
        self, protocol: ClientProtocol, token: str | None, hear: Callable[[float, bytes], None]
    ) -> None:
        self._protocol = protocol
        self._token = token
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[str] = self._loop.create_future()

    def send(self, sound: bytes | memoryview) -> None:
        """Send a block of sound; never waits."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(sound)
            self._flush()

    def ask(self, message: bytes) -> None:
        """Send a message; never waits."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(message)
            self._flush()

    @property
    def unsent(self) -> int:
        """Return how many bytes wait because the server, or the line, takes no more."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def shrink(self, size: int) -> None:
        """Let the system keep no more than so many bytes of what comes and is not read."""
        line = None if self._transport is None else self._transport.get_extra_info("socket")
        if line is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def heed(self, heeding: bool) -> None:
        """Read what comes, or let it wait on the line."""
        if self._transport is None or self._transport.is_closing():
            return
        if heeding:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Say goodbye; never waits."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()

    def abort(self) -> None:
        """Let the connection vanish."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the server to let us in."""
        self._transport = cast(asyncio.Transport, transport)
        request = self._protocol.connect()
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand on what has come."""
        at = self._loop.time()
        self._protocol.receive_data(data)
        self._follow(at)

    def eof_received(self) -> None:
        """Note that nothing more comes."""
        self._protocol.receive_eof()
        self._follow(self._loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        protocol = self._protocol
        if protocol.close_code in (None, 1006):
            why = str(exc) if exc is not None else "the connection broke"
        else:
            why = f"closed with {protocol.close_code} {protocol.close_reason or ''}".rstrip()
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(why))
        if not self.closed.done():
            self.closed.set_result(why)

    def _follow(self, at: float) -> None:
        for event in self._protocol.events_received():
            match event:
                case Response():
                    self._enter()
                case Frame(opcode=Opcode.TEXT | Opcode.CONT):
                    self._take(at, event)
        if self._protocol.handshake_exc is not None:
            self._enter()
        self._flush()

    def _enter(self) -> None:
        refused = self._protocol.handshake_exc
        if self.opened.done():
            return
        if refused is not None:
            self.opened.set_exception(refused)
        else:
            self.opened.set_result(None)

    def _take(self, at: float, frame: Frame) -> None:
        data = bytes(frame.data)
        if frame.fin and not self._parts:
            self._hear(at, data)
            return
        self._parts.append(data)
        if frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self._hear(at, whole)

    def _flush(self) -> None:
        transport: Any = self._transport
        for data in self._protocol.data_to_send():
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()


def _unreachable(url: str, why: str) -> StreamserError:
    return StreamserError(f"{redacted(url)}: {why.rstrip('.')}.", code="server_unreachable")
