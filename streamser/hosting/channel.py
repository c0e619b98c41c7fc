"""What connects two processes: messages over a socket, a board in shared memory, lines of a log.

Messages are MessagePack, each after its length. The board says what the models of a process are
busy with: no message could still be sent by one that is killed, or that hangs. What a process logs
has a way of its own, on which nothing is waited for, and is written by the one that has the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.context import BaseContext
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from streamser.logs import fault_of, log_line, log_thread_fault

_LENGTH: Final = 4

_M = TypeVar("_M")


def frame(message: msgspec.Struct) -> bytes:
    """Write a message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


class FrameProtocol(asyncio.Protocol, Generic[_M]):
    """Send and receive messages on an event loop's thread.

    ``kinds`` is the union of what comes; ``on_message`` gets each, and ``on_end`` is called once
    when the other end is gone.
    """

    def __init__(
        self, kinds: Any, on_message: Callable[[_M], None], on_end: Callable[[], None]
    ) -> None:
        self._decoder = msgspec.msgpack.Decoder(kinds)
        self._on_message = on_message
        self._on_end = on_end
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport), "a socket can be read and written"
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Cut what comes into messages."""
        self._data += data
        begin = 0
        while len(self._data) - begin >= _LENGTH:
            end = begin + _LENGTH + int.from_bytes(self._data[begin : begin + _LENGTH], "big")
            if len(self._data) < end:
                break
            message: _M = self._decoder.decode(self._data[begin + _LENGTH : end])
            begin = end
            self._on_message(message)
        del self._data[:begin]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the other end is gone."""
        self._transport = None
        self._on_end()

    def send(self, message: msgspec.Struct) -> None:
        """Send a message, unless the other end is gone; never waits."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(message))

    def close(self) -> None:
        """Close the connection, once what is to be sent is."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class FrameSender:
    """Send messages from any thread: straight away until a loop has the socket, by it from then on.

    Two that write to one socket would mix their frames where it takes only a part at once.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._by_loop: Callable[[msgspec.Struct], None] | None = None

    def send(self, message: msgspec.Struct) -> None:
        """Send a message; waits only while no loop has the socket."""
        with self._lock:
            if self._by_loop is None:
                self._link.sendall(frame(message))
            else:
                self._by_loop(message)

    def hand_over(self, loop: asyncio.AbstractEventLoop, protocol: FrameProtocol[Any]) -> None:
        """Let a loop do it, whose ``protocol`` is about to get the socket."""
        with self._lock:
            self._by_loop = lambda message: _schedule(loop, protocol, message)


def _schedule(
    loop: asyncio.AbstractEventLoop, protocol: FrameProtocol[Any], message: msgspec.Struct
) -> None:
    # A loop that is over has nobody left to tell.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(protocol.send, message)


_ROOM: Final = 16 * 1024
ModelKind = Literal["words", "emotion"]
Activity = Literal[ModelKind, "hearing"]
_PLACES: Final[tuple[Activity, ...]] = ("words", "emotion", "hearing")


class InHand(msgspec.Struct, frozen=True):
    """Hold the utterances that models are busy with, as session and number; and why they stopped.

    Of the thread that hears: the session it is at, with the number 0.

    ``stuck`` is a line, where they did not answer in time.
    """

    utterances: tuple[tuple[str, int], ...] = ()
    stuck: str | None = None


class ActivityBoard:
    """Note what models are busy with; each place is written by one thread of one process."""

    def __init__(self, context: BaseContext) -> None:
        self._memory: Any = context.RawArray("c", len(_PLACES) * _ROOM)

    def note(self, activity: Activity, in_hand: InHand) -> None:
        """Write down what is begun; nothing, once it is done."""
        data = msgspec.msgpack.encode(in_hand)
        if len(data) > _ROOM - _LENGTH:
            data = msgspec.msgpack.encode(InHand(in_hand.utterances[:64], in_hand.stuck))
        begin = _PLACES.index(activity) * _ROOM
        view = self._view()
        # The length last: who reads half of it reads what was there before.
        view[begin : begin + _LENGTH] = bytes(_LENGTH)
        view[begin + _LENGTH : begin + _LENGTH + len(data)] = data
        view[begin : begin + _LENGTH] = len(data).to_bytes(_LENGTH, "big")

    def read(self) -> Sequence[InHand]:
        """Return what each kind of models was busy with, where that can be read."""
        view = self._view()
        found = []
        for place in range(len(_PLACES)):
            begin = place * _ROOM
            length = int.from_bytes(view[begin : begin + _LENGTH], "big")
            if 0 < length <= _ROOM - _LENGTH:
                data = bytes(view[begin + _LENGTH : begin + _LENGTH + length])
                try:
                    found.append(msgspec.msgpack.decode(data, type=InHand))
                except msgspec.DecodeError:
                    continue
        return found

    def _view(self) -> memoryview:
        return memoryview(self._memory).cast("B")


_RECORD: Final = b"\x1e"
"""Before a line that was logged, as JSON; any other was written to stderr by whomever."""
_LONGEST_LINE: Final = 65_536
_STDERR: Final = 2


class LoggedLine(msgspec.Struct, frozen=True):
    """Hold a line that a process has logged, ``created`` s since 1970."""

    name: str
    level: int
    created: float
    message: str
    reason: str | None = None


def send_logs(link: socket.socket, *, with_stderr: bool) -> None:
    """Send what this process logs to the other end from now on, and what libraries warn of.

    ``with_stderr``: what anybody in it writes to stderr as well, where the platform can do that.
    """
    logging.getLogger().addHandler(_LinkHandler(link))
    logging.getLogger("streamser").setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = log_thread_fault
    if with_stderr and os.name == "posix":
        os.dup2(link.fileno(), _STDERR)


class _LinkHandler(logging.Handler):
    def __init__(self, link: socket.socket) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        told = record.getMessage()
        line = LoggedLine(record.name, record.levelno, record.created, told, fault_of(record))
        # Who has the log may be gone.
        with suppress(OSError):
            self._link.sendall(_RECORD + msgspec.json.encode(line) + b"\n")


class LogProtocol(asyncio.Protocol):
    """Write what the worker process ``number`` has logged as lines of the log of this one."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._decoder = msgspec.json.Decoder(LoggedLine)
        self._data = bytearray()
        self.over = asyncio.Event()
        """Set once there can be no more."""

    def data_received(self, data: bytes) -> None:
        """Log the lines that are complete."""
        *lines, rest = (self._data + data).split(b"\n")
        for line in lines:
            self._log(line)
        self._data = rest
        if len(rest) > _LONGEST_LINE:
            self._log(rest)
            self._data = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:
        """Log what is left."""
        self._log(self._data)
        self.over.set()

    def _log(self, data: bytearray) -> None:
        raw, mark, record = data.partition(_RECORD)
        if text := raw.decode("utf-8", "replace").strip():
            log_line(__name__, logging.WARNING, text, worker=self._number)
        if not mark:
            return
        try:
            line = self._decoder.decode(record)
        except msgspec.DecodeError:
            # Somebody has written into its midst.
            log_line(__name__, logging.WARNING, record.decode("utf-8", "replace"))
            return
        log_line(
            *(line.name, line.level, line.message),
            reason=line.reason,
            created=line.created,
            worker=self._number,
        )
