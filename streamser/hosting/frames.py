"""Messages over a socket between processes: MessagePack, each after its length."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

_LENGTH: Final = 4

_M = TypeVar("_M")


def frame(message: msgspec.Struct) -> bytes:
    """Write a message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


def receive_all(link: socket.socket, size: int) -> bytes:
    """Wait for so many bytes; raises ``EOFError`` where the other end is closed."""
    data = bytearray()
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise EOFError("the other end is closed")
        data += more
    return bytes(data)


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
        if self._transport is not None:
            self._transport.write(frame(message))

    def close(self) -> None:
        """Close the connection, once what is to be sent is."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()
