"""The sockets of a server: who is accepted, and what is parsed of their bytes, and when."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosedOK, InvalidMessage
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Event, State
from websockets.typing import Data

from streamser.server.connections import ConnectionTable, ends_of
from streamser.server.handshake import Decision
from streamser.server.limits import Arrivals, MessagePace, Refusal
from streamser.server.telemetry import LogThrottle, peer_of

_BACKLOG: Final = 100
_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_END_OF_HEAD: Final = b"\r\n\r\n"
_METHOD_BYTES: Final = 16
_HEAD_BYTES: Final = 65_536
_SLICE: Final = 4096
"""Bytes that are parsed before others get their turn: 680 frames at most."""
_LAST_BYTES: Final = 1024
"""Bytes that are still parsed after a refusal, for the sake of a goodbye."""
_MOST_AFTER_REFUSAL: Final = 1 << 20
_UNREAD_BYTES: Final = 65_536
"""Bytes that may wait for one who does not read, before its pings are answered no more."""
_SMALL_PART: Final = 125
"""Bytes of a part of a message that costs as much as one."""
_PONG: Final = 0x80 | Opcode.PONG
"""How a pong of a server begins."""
_TURNS_TO_ASK: Final = 3
"""Turns of the loop until a socket that is read again has told what waits in it, also by TLS."""


class ListeningSocket(socket.socket):
    """Listen, and take in no more than the table of connections has room for.

    ``refuse`` is told in a word of each connection that gets no answer. Where no file is left, a
    spare one makes room to hang up on who has come: else they would come again and again.
    """

    connections: ConnectionTable
    refuse: Callable[[str], None]
    _spare: int | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection; raises ``BlockingIOError`` where there is none to be taken in."""
        for _ in range(_BACKLOG):
            try:
                found, address = super().accept()
            except OSError as error:
                if error.errno not in _NO_FILES or not self._hang_up():
                    raise
                self.refuse("no_files")
                continue
            accepted = _AcceptedSocket(found.family, found.type, found.proto, fileno=found.detach())
            key = ends_of(address, accepted.getsockname())
            accepted.left = lambda key=key: self.connections.leave(key)
            if self.connections.enter(key, str(address[0]), accepted.disconnect):
                return accepted, address
            accepted.close()
            self.refuse("too_many_connections")
        raise BlockingIOError(errno.EAGAIN, "nobody is taken in for now")

    def close(self) -> None:
        """Listen no more."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        super().close()

    def keep_spare(self) -> None:
        """Keep a file for the time when there is none."""
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _hang_up(self) -> bool:
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        try:
            found, _ = super().accept()
            found.close()
        except BlockingIOError:
            raise
        except OSError:
            return False
        finally:
            self.keep_spare()
        return True


class _AcceptedSocket(socket.socket):
    """Hold an accepted connection, and tell when it is closed."""

    left: Callable[[], None] | None = None

    def disconnect(self) -> None:
        """End the connection; whoever reads it sees the end."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        left, self.left = self.left, None
        if left is not None:
            left()


def open_sockets(
    host: str, port: int, connections: ConnectionTable, refuse: Callable[[str], None]
) -> list[ListeningSocket]:
    """Listen on every address of a host; raises ``OSError`` where one cannot be had."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[ListeningSocket] = []
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            try:
                listening = ListeningSocket(family, kind, proto)
            except OSError:
                # The machine does not speak this kind of address.
                continue
            sockets.append(listening)
            listening.connections, listening.refuse = connections, refuse
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            listening.keep_spare()
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    if not sockets:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return sockets


class ClientSocket(ServerConnection):
    """Remember what was decided about a connection before it was opened.

    The library hangs up without a word on what it cannot read; here that gets an HTTP answer. It
    parses all that has come at once; here everybody else gets a turn after some of it, nothing is
    parsed that comes before an answer, and next to nothing after a refusal. It answers every ping;
    here, where too much waits unread, the last one alone, once there is room (RFC 6455, 5.5.3).
    Frames that are no messages, and parts of some that bring next to nothing, are paced as
    messages are: beyond that the socket is not read, and after 10 s closed with 1008.
    """

    decision: Decision | None = None
    connections: ConnectionTable
    client_address: str | None = None
    """For whom a proxy has brought it, if one has."""
    throttle: LogThrottle
    arrivals: Arrivals
    frames: MessagePace
    unreadable: Callable[[str], bytes]
    """Words the answer to what is no plain request, by the method that it has."""
    came = 0.0
    """Monotonic time at which the message came that was iterated over last, in s."""
    early = False
    """Whether the other side has gone on before it was answered."""

    _head = b""
    _heard = 0
    _told = False
    _unread = b""
    _turn: asyncio.Handle | None = None
    _full = False
    _asking: asyncio.Handle | None = None
    _unread_came = 0.0
    _owed = b""
    _withheld = False
    _wait_s = 0.0
    _lost = False
    _leaving: asyncio.Task[None] | None = None
    _stamps: deque[float]

    @property
    def method(self) -> str:
        """Return the method of the request, as far as it has come."""
        return self._head[:_METHOD_BYTES].split(b" ")[0].decode("ascii", "replace")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket over."""
        super().connection_made(transport)
        self._stamps = deque()
        self.recv_messages.pause = self._fill
        self.recv_messages.resume = self._drain

    def data_received(self, data: bytes) -> None:
        """Take what the other side sends."""
        came = self.arrivals.arrived(time.monotonic())
        if self.protocol.state is State.CONNECTING:
            self._take_head(data)
            return
        if isinstance(self.decision, Refusal):
            room = max(0, _LAST_BYTES - self._heard)
            self._heard += len(data)
            if self._heard > _MOST_AFTER_REFUSAL:
                self.transport.abort()
            data = data[:room]
        if not self._unread:
            self._unread_came = came
        self._unread += data
        if self._turn is None and not self._full:
            self._feed()

    def eof_received(self) -> None:
        """Take what came before the end, then the end."""
        self._feed_all()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take what came before the connection was lost, a part in each turn."""
        if self._turn is not None:
            self._turn.cancel()
        self._lost = True
        if self._wait_s:
            # It has sent what is none of its stream's; who comes back sends sound again.
            self._unread = b""
        self._feed_rest(exc)

    def send_data(self) -> None:
        """Send what is to be sent, before it an answer to what cannot be read."""
        if self._lost:
            self.protocol.data_to_send()
            return
        fault = self.protocol.handshake_exc
        # Who has left in the middle of a request wants none.
        unread = isinstance(fault, InvalidMessage) and not isinstance(fault.__cause__, EOFError)
        if unread and not self._told:
            self._told = True
            self.transport.write(self.unreadable(self.method))
        if self.transport.get_write_buffer_size() > _UNREAD_BYTES:
            self._withhold_pongs()
        super().send_data()

    def resume_writing(self) -> None:
        """Go on sending; who has asked whether we live and could not be told is told now."""
        super().resume_writing()
        owed, self._owed = self._owed, b""
        if owed and self.protocol.state is State.OPEN:
            self.transport.write(owed)

    def process_event(self, event: Event) -> None:
        """Take what has been parsed; a message has come when the last of it has."""
        if isinstance(event, Frame):
            if event.opcode in DATA_OPCODES and event.fin:
                self._stamps.append(self._unread_came)
            elif event.opcode not in DATA_OPCODES or len(event.data) <= _SMALL_PART:
                self._charge()
        super().process_event(event)

    async def __aiter__(self) -> AsyncIterator[Data]:
        """Iterate over messages, and note in ``came`` when each of them came."""
        try:
            while True:
                message = await self.recv()
                self.came = self._stamps.popleft()
                yield message
        except ConnectionClosedOK:
            return

    def identify(self, forwarded: Sequence[str]) -> None:
        """Note for whom it is where a proxy has brought it, as its headers say."""
        if (address := self.remote_address) is not None:
            self.client_address = self.connections.identify(self._ends, address[0], forwarded)

    def settle(self) -> None:
        """Note that the other side is through the door."""
        self.connections.settle(self._ends)

    def start_closing(self) -> None:
        """Note that the other side is to leave, and has nothing more to be told."""
        self.connections.start_closing(self._ends)

    @property
    def _ends(self) -> Hashable:
        return ends_of(self.remote_address, self.local_address)

    def _take_head(self, data: bytes) -> None:
        """Read a request to its end, and nothing behind it."""
        if self._head.endswith(_END_OF_HEAD) or len(self._head) > _HEAD_BYTES:
            self.early = True
            return
        searched = max(0, len(self._head) - len(_END_OF_HEAD) + 1)
        head = self._head + data
        at = head.find(_END_OF_HEAD, searched)
        if at >= 0:
            end = at + len(_END_OF_HEAD)
            self.early = len(head) > end
            head = head[:end]
        part = head[len(self._head) :]
        self._head = head
        if len(head) > _HEAD_BYTES:
            self.transport.abort()
            return
        super().data_received(part)

    def _feed(self) -> None:
        """Parse a part of what has come, and let others have their turn."""
        self._turn, self._wait_s = None, 0.0
        if self._full:
            return
        part, self._unread = self._unread[:_SLICE], self._unread[_SLICE:]
        if part:
            super().data_received(part)
        if self._wait_s:
            self._stop_reading()
            self._turn = self.loop.call_later(self._wait_s, self._feed)
            return
        if self._full:
            return
        if self._unread:
            self._stop_reading()
            self._turn = self.loop.call_soon(self._feed)
        else:
            self._read_on()

    def _feed_rest(self, exc: Exception | None) -> None:
        part, self._unread = self._unread[:_SLICE], self._unread[_SLICE:]
        if part:
            super().data_received(part)
        if self._unread:
            self._turn = self.loop.call_soon(self._feed_rest, exc)
        else:
            super().connection_lost(exc)

    def _charge(self) -> None:
        """Let a frame that is no message take its time; or end the connection."""
        wait = self.frames.wait_s(0.0, time.monotonic())
        if wait is not None:
            self._wait_s = max(self._wait_s, wait)
        elif self._leaving is None:
            most = f"at most {self.frames.rate:g} frames a second that are no messages"
            # Nothing more is parsed.
            self.decision = Refusal(400, 1008, "too_many_frames", most)
            self._unread = b""
            self._leaving = self.loop.create_task(self.close(1008, f"too many frames: {most}"))
            self.throttle.log_info("flooded", "too_many_frames", peer=peer_of(self), reason=most)

    def _feed_all(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        rest, self._unread = self._unread, b""
        if rest:
            super().data_received(rest)

    def _fill(self) -> None:
        self._full = True
        self._stop_reading()

    def _drain(self) -> None:
        self._full = False
        if self._turn is None and not self._lost:
            self._turn = self.loop.call_soon(self._feed)

    def _stop_reading(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self.arrivals.pause(time.monotonic())
        self.transport.pause_reading()

    def _read_on(self) -> None:
        self.transport.resume_reading()
        if self.arrivals.resume(time.monotonic()):
            self._ask(_TURNS_TO_ASK)

    def _ask(self, turns: int) -> None:
        """Wait some turns: what the socket has not given by then was not there."""
        if turns:
            self._asking = self.loop.call_soon(self._ask, turns - 1)
        else:
            self.arrivals.settle()

    def _withhold_pongs(self) -> None:
        """Keep the last answer to a ping for later, and let go of the others."""
        writes = self.protocol.writes
        pongs = [data for data in writes if data and data[0] == _PONG]
        if not pongs:
            return
        self._owed = pongs[-1]
        self.protocol.writes = [data for data in writes if not data or data[0] != _PONG]
        if not self._withheld:
            self._withheld = True
            why = "answers to its pings are not read"
            self.throttle.log_info("unread", "unread", peer=peer_of(self), reason=why)
