"""One request with a body, and its answer; and who of the two protocols a new connection speaks.

The library of the websockets reads requests without a body alone. Which one it is, is known by the
first byte: ``GET`` and ``HEAD`` are its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, Final

import h11
from websockets.http11 import Response

from streamser.cluster.tunnel import FORWARDED
from streamser.server.connections import ConnectionTable, ends_of
from streamser.server.handshake import ConnectRequest
from streamser.server.limits import Refusal
from streamser.server.telemetry import peer_of

_WRITERS: Final = frozenset(b"PDOCT")
"""How POST, PUT, PATCH, DELETE, OPTIONS, CONNECT and TRACE begin."""
_HEAD_S: Final = 10.0
_HEAD_BYTES: Final = 65_536
_HEAD_LINES: Final = 128
_END_OF_HEAD: Final = b"\r\n\r\n"
_STILL_S: Final = 10.0
"""How long nothing may come of a body."""
_UPLOAD_S: Final = 300.0
"""How long a body may take: 25 MiB at 0.7 Mbit/s."""
_SLICE: Final = 4096
"""Bytes of a body that are parsed before others get their turn: they may be a thousand chunks."""
_LINGER_S: Final = 5.0
"""How long what still comes after an answer is read, so that the answer is not lost with it."""
_IGNORED_BYTES: Final = 32 << 20
"""What is read so of somebody unknown: a client that sends a file first hears of its token then."""
_UNREAD_S: Final = 30.0
"""How long an answer may wait for somebody who does not read it."""
_FORWARDED: Final = FORWARDED.lower().encode()
_ONCE: Final = (b"host", b"origin", b"authorization", b"content-type")


class RefusedUpload(Exception):  # noqa: N818 - no error of ours
    """Say no to a request; ``param`` is the field of the form that is at fault."""

    def __init__(self, refusal: Refusal, param: str | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.param = param


def refused(
    status: int, code: str, message: str, *, param: str | None = None, retry_s: int | None = None
) -> RefusedUpload:
    """Make what is raised to say no by an HTTP status."""
    return RefusedUpload(Refusal(status, 1008, code, message, retry_s), param)


class FirstByte(asyncio.Protocol):
    """Wait for the first byte of a connection, then hand it to who speaks its protocol.

    ``websocket`` and ``exchange`` make the two. Who says nothing in time is hung up on. ``here``
    holds it until it is handed over or gone.
    """

    def __init__(
        self,
        protocol: Any,
        websocket: Callable[[], asyncio.Protocol],
        exchange: Callable[[], asyncio.Protocol],
        here: set[FirstByte | Exchange],
    ) -> None:
        self.protocol = protocol
        """What the library looks for in a connection of its own."""
        self._websocket = websocket
        self._exchange = exchange
        self._here = here
        self._transport: Any = None
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait."""
        self._transport = transport
        self._here.add(self)
        self._expiry = asyncio.get_running_loop().call_later(_HEAD_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Hand the connection over, with what has come of it."""
        self._leave()
        chosen = self._exchange() if data[0] in _WRITERS else self._websocket()
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        chosen.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._leave()

    def abort(self) -> None:
        """Hang up."""
        self._transport.abort()

    def _leave(self) -> None:
        self._here.discard(self)
        if self._expiry is not None:
            self._expiry.cancel()


class RequestHead:
    """Hold what a request says before its body."""

    def __init__(self, head: h11.Request) -> None:
        self.method = head.method.decode("ascii")
        self._fields: dict[bytes, str] = {}
        self.ambiguous = False
        """Whether what may stand there once stands there twice."""
        self.forwarded: list[str] = []
        """For whom proxies say that they bring it, in order."""
        for name, value in head.headers:
            if name == _FORWARDED:
                self.forwarded.append(value.decode("ascii", "replace"))
            self.ambiguous |= name in _ONCE and name in self._fields
            # As the library of the websockets has them.
            self._fields[name] = value.decode("ascii", "surrogateescape")
        self.request = ConnectRequest(
            target=head.target.decode("ascii", "surrogateescape"),
            host=self.field(b"host"),
            origin=self.field(b"origin"),
            authorization=self.field(b"authorization"),
        )

    def field(self, name: bytes) -> str | None:
        """Return a header, by its name in small letters."""
        return self._fields.get(name)

    @property
    def announced(self) -> int | None:
        """Return how many bytes the body is to have, where that is said."""
        length = self.field(b"content-length")
        return None if length is None else int(length)


class Exchange(asyncio.Protocol):
    """Take one request, let ``serve`` answer it, and end the connection.

    Of a body nothing is parsed before ``serve`` asks for it, and little is read ahead of that.
    Where the other side hangs up, ``serve`` is cancelled. ``here`` holds it until it is gone.
    """

    def __init__(
        self,
        serve: Callable[[Exchange], Coroutine[Any, Any, None]],
        connections: ConnectionTable,
        here: set[FirstByte | Exchange],
    ) -> None:
        self._here = here
        self._serve = serve
        self._connections = connections
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_SLICE)
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._task: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._unread = bytearray()
        self._ignored = 0
        self._most_ignored = _IGNORED_BYTES
        self._arrived = asyncio.Event()
        self._complete = self._answered = False
        self.head: RequestHead | None = None
        """``None`` where what has come is no request; ``fault`` says why."""
        self.client_address: str | None = None
        """For whom a proxy has brought it, if one has."""
        self.fault: RefusedUpload | None = None

    @property
    def peer(self) -> str | None:
        """Return the other side as ``peer_of`` does."""
        return peer_of(self)

    @property
    def remote_address(self) -> Any:
        """Return the other side, as sockets have it."""
        return self._transport.get_extra_info("peername")

    @property
    def answered(self) -> bool:
        """Return whether an answer has begun."""
        return self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket over."""
        self._transport = transport
        self._here.add(self)
        self._expiry = self._loop.call_later(_HEAD_S, self._give_up_head)

    def data_received(self, data: bytes) -> None:
        """Take what the other side sends."""
        if self._answered or self._complete or self.fault is not None:
            self._ignored += len(data)
            if self._ignored > self._most_ignored:
                self._transport.abort()
            return
        searched = max(0, len(self._unread) - len(_END_OF_HEAD) + 1)
        self._unread += data
        if self._task is None:
            self._take_head(searched)
        else:
            self._transport.pause_reading()
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was done for the other side."""
        self._here.discard(self)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._task is not None:
            self._task.cancel()
        self._answered = True

    def eof_received(self) -> None:
        """Hang up as the other side has: nobody is there any more to read an answer."""

    def settle(self, most_ignored: int) -> None:
        """Note that the other side is known here; so much is read after an early answer."""
        self._most_ignored = most_ignored
        self._connections.settle(self._ends)

    def interrupt(self) -> None:
        """Stop what is done for the other side; ``serve`` still has an answer to give."""
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Hang up."""
        self._transport.abort()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it comes; raises ``RefusedUpload`` where it does not."""
        if self._parser.they_are_waiting_for_100_continue:
            proceed = self._parser.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._transport.write(proceed)
        until = time.monotonic() + _UPLOAD_S
        while not self._complete:
            if self._unread:
                part = self._parse()
                # Others have their turn.
                await asyncio.sleep(0)
                if part:
                    yield part
                continue
            self._arrived.clear()
            self._transport.resume_reading()
            try:
                async with asyncio.timeout(min(_STILL_S, max(0.0, until - time.monotonic()))):
                    await self._arrived.wait()
            except TimeoutError:
                raise refused(408, "request_timeout", _too_slow()) from None
        # To see whether it hangs up.
        self._transport.resume_reading()

    def answer(self, response: Response) -> int:
        """Send an answer, and end the connection once it is read; returns its status."""
        self.begin_answer(response)
        self.end_answer()
        return response.status_code

    def begin_answer(self, response: Response) -> None:
        """Send an answer, or its beginning."""
        self._answered = True
        self._unread.clear()
        self.go_on(response.serialize())

    def go_on(self, data: bytes) -> None:
        """Send more of an answer; nobody waits for whoever reads it."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def end_answer(self) -> None:
        """End the connection once all is read that was sent."""
        if self._expiry is not None:
            self._expiry.cancel()
        if self._transport.is_closing():
            return
        self._connections.start_closing(self._ends)
        if self._complete:
            self._transport.close()
            self._expiry = self._loop.call_later(_UNREAD_S, self._transport.abort)
            return
        # Closed while something still comes, the connection would be reset, and the answer lost.
        if self._transport.can_write_eof():
            with suppress(OSError):
                self._transport.write_eof()
        self._transport.resume_reading()
        self._expiry = self._loop.call_later(_LINGER_S, self._transport.abort)

    @property
    def _ends(self) -> Hashable:
        return ends_of(self.remote_address, self._transport.get_extra_info("sockname"))

    def _take_head(self, searched: int) -> None:
        """Begin once there is a whole head; what is behind it waits."""
        at = self._unread.find(_END_OF_HEAD, searched)
        end = len(self._unread) if at < 0 else at + len(_END_OF_HEAD)
        if end > _HEAD_BYTES or self._unread.count(b"\n", 0, end) > _HEAD_LINES:
            self.fault = refused(431, "invalid_request", "the head of the request is too long")
            self._begin(None)
        elif at >= 0:
            head = bytes(self._unread[:end])
            del self._unread[:end]
            try:
                self._parser.receive_data(head)
                found = self._parser.next_event()
                assert isinstance(found, h11.Request), "a whole head is a request, or none at all"
                self._complete = isinstance(self._parser.next_event(), h11.EndOfMessage)
                self._begin(RequestHead(found))
            except h11.RemoteProtocolError as error:
                self.fault = _no_http(error)
                self._begin(None)

    def _parse(self) -> bytes:
        """Parse some of a body; raises ``RefusedUpload`` where it is none."""
        part = bytes(self._unread[:_SLICE])
        del self._unread[:_SLICE]
        found = []
        try:
            self._parser.receive_data(part)
            while isinstance(event := self._parser.next_event(), h11.Data):
                found.append(bytes(event.data))
        except h11.RemoteProtocolError as error:
            raise _no_http(error) from None
        self._complete = isinstance(event, h11.EndOfMessage)
        return b"".join(found)

    def _begin(self, head: RequestHead | None) -> None:
        if self._task is None:
            if self._expiry is not None:
                self._expiry.cancel()
            self.head = head
            address = self.remote_address
            if head is not None and address:
                self.client_address = self._connections.identify(
                    self._ends, address[0], head.forwarded
                )
            self._task = self._loop.create_task(self._serve(self))

    def _give_up_head(self) -> None:
        self.fault = refused(408, "request_timeout", f"a request has {_HEAD_S:g} s to come")
        self._begin(None)


def _no_http(error: h11.RemoteProtocolError) -> RefusedUpload:
    status = error.error_status_hint or 400
    return refused(status, "invalid_request", f"this is no HTTP/1.1: {error}")


def _too_slow() -> str:
    return f"a body may pause for {_STILL_S:g} s and take {_UPLOAD_S:g} s in all"
