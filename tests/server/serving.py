"""A server in this process, and clients that speak its protocol by hand."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias, TypeVar
from urllib.parse import urlencode, urlsplit

import numpy as np
import soundfile
import soxr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.events import decode_event
from streamser.server.app import EmotionServer
from streamser.settings import Settings
from streamser.settings_loader import load_settings
from tests.cli.running import DEMO

__all__ = [
    "DELTAS",
    "EMOTION",
    "FAILED",
    "Narrow",
    "Served",
    "Stage",
    "Told",
    "Wire",
    "address",
    "bare",
    "check_stream",
    "demo",
    "dial",
    "encode",
    "finals_of",
    "kinds",
    "of_kind",
    "patience",
    "refusal",
    "resampled",
    "server_settings",
    "serving",
    "unnumbered",
    "whole",
]

Told: TypeAlias = dict[str, Any]
"""An event as it came over the wire."""

T = TypeVar("T")

EMOTION: Final = "streamser.emotion.completed"
FAILED: Final = "conversation.item.input_audio_transcription.failed"
DELTAS: Final = (
    "streamser.transcript.partial",
    "streamser.emotion.delta",
    "conversation.item.input_audio_transcription.delta",
)
_GIVE_UP_S: Final = 60
"""A scene that takes longer hangs."""


# The server


def server_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Set up a server without words, on any free port, that takes sound as fast as it comes.

    Its models are in this process, unless the flags say otherwise.
    """
    usual = {
        "server.port": 0,
        "server.speed": 1000.0,
        "server.message_rate": 1000.0,
        "worker.max_wait_ms": 0,
        "worker.processes": 0,
    }
    return load_settings("voice-only", flags={**usual, **(flags or {})}, environ={})


@asynccontextmanager
async def serving(
    flags: Mapping[str, Any] | None = None, *, load: bool = True
) -> AsyncIterator[EmotionServer]:
    """Run a server with these settings; without ``load`` its models are still to come."""
    server = EmotionServer(server_settings(flags), lambda line: None)
    await server.start()
    try:
        if load:
            await server.load()
        yield server
    finally:
        await server.stop()


class Stage:
    """Keep a server and its event loop for several scenes."""

    def __init__(self, flags: Mapping[str, Any] | None = None) -> None:
        self._runner = asyncio.Runner()
        self._context = serving(flags)
        self.server = self._runner.run(self._context.__aenter__())

    def play(self, scene: Coroutine[Any, Any, T]) -> T:
        """Run a scene; the server lives while one does."""
        return self._runner.run(patience(scene))

    def close(self) -> None:
        """Stop the server."""
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()


async def patience(scene: Coroutine[Any, Any, T]) -> T:
    """Run a scene, and fail where it hangs."""
    async with asyncio.timeout(_GIVE_UP_S):
        return await scene


# Clients


class Served(Protocol):
    """Whatever has a port."""

    @property
    def url(self) -> str:
        """Return the address of its page."""
        ...


def address(server: Served, path: str = "/v1/realtime", query: str = "") -> str:
    """Return where a socket of a server is found."""
    url = server.url.replace("http", "ws", 1).rstrip("/")
    return f"{url}{path}{'?' if query else ''}{query}"


class Wire:
    """One connection, spoken by hand: JSON out, JSON in, every event a valid one."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.code: int | None = None
        self.reason = ""

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def raw(self, message: str | bytes) -> None:
        """Send whatever it is."""
        await self.connection.send(message)

    async def sound(self, data: bytes, *, size: int = 4800) -> None:
        """Send raw sound in binary frames of at most ``size`` bytes."""
        for offset in range(0, len(data), size):
            await self.connection.send(data[offset : offset + size])

    async def append(self, data: bytes, *, size: int = 4800) -> None:
        """Send raw sound as OpenAI's clients do: in base64, inside JSON."""
        for offset in range(0, len(data), size):
            audio = base64.b64encode(data[offset : offset + size]).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def update(
        self,
        audio: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        **own: Any,
    ) -> list[Told]:
        """Change ``session.audio.input`` and ``session.streamser``; return up to the answer."""
        session = {"type": "transcription", "audio": {"input": audio or {}}, "streamser": own}
        await self.send("session.update", session=session, event_id=event_id)
        return await self.until("session.updated", "error")

    async def next(self) -> Told:
        """Wait for the next event."""
        text = await self.connection.recv(decode=True)
        decode_event(text)
        told: Told = json.loads(text)
        return told

    async def until(self, *wanted: str) -> list[Told]:
        """Wait for an event of these types; return it and all before it."""
        events = [await self.next()]
        while events[-1]["type"] not in wanted:
            events.append(await self.next())
        return events

    async def settle(self, name: str = "m") -> list[Told]:
        """Return everything that is told up to the echo of a marker."""
        await self.send("streamser.marker", id=name)
        return await self.until("streamser.marker")

    async def rest(self) -> list[Told]:
        """Return everything that comes until the connection closes; note how it closes."""
        events = []
        try:
            while True:
                events.append(await self.next())
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.code, self.reason = closed.rcvd.code, closed.rcvd.reason
        return events

    async def finish(self) -> list[Told]:
        """End the stream; return everything still told."""
        await self.send("streamser.finish")
        return await self.rest()

    async def break_off(self) -> None:
        """Let the connection vanish without a word, as networks do."""
        self.connection.transport.abort()
        await self.connection.wait_closed()


class Narrow:
    """A connection with hardly any room for what comes, and which reads only when told to.

    A websocket by hand: no library reads ahead here, and the segments are so small that the
    kernel keeps little for it.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self.code: int | None = None

    @classmethod
    @asynccontextmanager
    async def dial(
        cls, server: EmotionServer, path: str, *, query: str = ""
    ) -> AsyncIterator[Narrow]:
        """Connect to a server and read its answer, but nothing of what follows."""
        place = urlsplit(server.url)
        with socket.socket() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            link.setblocking(False)
            self = cls(link)
            await self._loop.sock_connect(link, (place.hostname, place.port))
            lines = (
                f"GET {path}?{query} HTTP/1.1",
                f"Host: {place.netloc}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
                "\r\n",
            )
            await self._loop.sock_sendall(link, "\r\n".join(lines).encode())
            while b"\r\n\r\n" not in self._data:
                await self._receive()
            answer, _, self._data = self._data.partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101"), answer
            yield self

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        body = json.dumps({"type": kind, **fields}).encode()
        length = struct.pack(">BH", 0x80 | 126, len(body))
        # Clients must mask; with a mask of zeros the body stays as it is.
        await self._loop.sock_sendall(self._link, b"\x81" + length + bytes(4) + body)

    async def next(self) -> Told | None:
        """Wait for the next event; None where the connection is closed, with its ``code``."""
        try:
            opcode, body = await self._frame()
            while opcode == 9:
                # On a slow machine the server asks for a sign of life.
                opcode, body = await self._frame()
        except ConnectionError:
            return None
        if opcode == 8:
            self.code = int.from_bytes(body[:2], "big")
            return None
        assert opcode == 1, opcode
        told: Told = json.loads(body)
        return told

    async def rest(self) -> list[Told]:
        """Return everything that comes until the connection is closed."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events

    async def _frame(self) -> tuple[int, bytes]:
        first, length = await self._take(2)
        assert first & 0x80, "the server sends whole messages"
        if length >= 126:
            length = int.from_bytes(await self._take(2 if length == 126 else 8), "big")
        return first & 15, await self._take(length)

    async def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            await self._receive()
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    async def _receive(self) -> None:
        data = await self._loop.sock_recv(self._link, 65_536)
        if not data:
            raise ConnectionResetError("the server has left")
        self._data += data


@asynccontextmanager
async def dial(
    server: Served,
    path: str = "/v1/realtime",
    *,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    **more: Any,
) -> AsyncIterator[Wire]:
    """Connect to a server; ``query`` is given as it stands in the address."""
    options: dict[str, Any] = {
        "proxy": None,
        "max_size": None,
        "max_queue": None,
        "ping_interval": None,
        "compression": None,
        "additional_headers": dict(headers or {}),
        **more,
    }
    if origin is not None:
        options["origin"] = Origin(origin)
    if subprotocols:
        options["subprotocols"] = [Subprotocol(name) for name in subprotocols]
    async with connect(address(server, path, query), **options) as connection:
        yield Wire(connection)


async def refusal(
    server: Served, path: str = "/v1/realtime", **how: Any
) -> tuple[int, Mapping[str, str], Told]:
    """Connect where no socket is opened; return status, headers and error."""
    try:
        async with dial(server, path, **how):
            raise AssertionError("the server has let the client in")
    except InvalidStatus as refused:
        response = refused.response
        error: Told = json.loads(response.body or b"")["error"]
        return response.status_code, response.headers, error


async def whole(
    server: EmotionServer, data: bytes, *, size: int = 4800, **query: str
) -> list[Told]:
    """Send a recording from beginning to end; return all events, which must fit together."""
    async with dial(server, query=urlencode(query)) as wire:
        await wire.sound(data, size=size)
        events = await wire.finish()
        assert wire.code == 1000
    check_stream(events)
    return events


# Events


def kinds(events: Iterable[Told]) -> list[str]:
    """List types."""
    return [event["type"] for event in events]


def of_kind(events: Iterable[Told], *wanted: str) -> list[Told]:
    """Pick the events of some types."""
    return [event for event in events if event["type"] in wanted]


def finals_of(events: Iterable[Told]) -> list[Told]:
    """Pick what was finally judged, without what depends on place and time."""
    return unnumbered(of_kind(events, EMOTION, FAILED))


def unnumbered(events: Iterable[Told]) -> list[Told]:
    """Return events as one compares them where others stand between them."""
    return [{**bare(event), "seq": None, "event_id": None} for event in events]


def bare(event: Told) -> Told:
    """Return an event without names that are made up anew each time, and without time and lag."""
    session_id = event["session_id"]
    text = json.dumps(event)
    told: Told = json.loads(text.replace(session_id, "SESSION") if session_id else text)
    for key in ("lag_ms", "cursor", "meeting", "at_ms"):
        told.pop(key, None)
    return told


def check_stream(events: Sequence[Told], *, closed: bool = True) -> None:
    """Assert what holds for every session's events, from the first to the last.

    Numbered without gaps; items chained, in order and apart; one final for each committed item,
    in their order; nothing for others.
    """
    assert kinds(events)[0] == "session.created"
    # What a client does wrong is told to it alone, and has no number; nor has it that a final was
    # late, as on a slow machine.
    numbered = (event for event in events if event.get("kind") != "finals")
    events = [event for event in numbered if event["seq"] or event["type"] != "error"]
    numbers = [(event["seq"], event["type"]) for event in events]
    assert [number for number, _ in numbers] == list(range(1, len(events) + 1)), numbers
    assert len({event["event_id"] for event in events}) == len(events)
    assert len({event["session_id"] for event in events}) == 1
    stopped = of_kind(events, "input_audio_buffer.speech_stopped")
    committed = of_kind(events, "input_audio_buffer.committed")
    started = {
        event["item_id"]: event["audio_start_ms"]
        for event in of_kind(events, "input_audio_buffer.speech_started")
    }
    items = [event["item_id"] for event in committed]
    assert [event["item_id"] for event in stopped] == items
    assert [event["previous_item_id"] for event in committed] == [None, *items][: len(items)]
    spans = [(started[event["item_id"]], event["audio_end_ms"]) for event in stopped]
    assert all(start < end for start, end in spans), spans
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans
    finals = of_kind(events, EMOTION, FAILED)
    known = [event["item_id"] for event in finals]
    # A final never comes before its utterance is over.
    place = {event["item_id"]: event["seq"] for event in committed}
    assert all(place[event["item_id"]] < event["seq"] for event in finals)
    assert known == (items if closed else items[: len(known)])
    words = of_kind(events, "conversation.item.input_audio_transcription.completed")
    assert {event["item_id"] for event in words} <= set(items)
    for event in of_kind(events, *DELTAS):
        assert event["item_id"] in started
    assert kinds(events).count("streamser.session.closed") == closed
    if closed:
        assert kinds(events)[-1] == "streamser.session.closed"
        end = events[-1]
        assert (end["utterances"], end["failed"]) == (len(items), len(of_kind(events, FAILED)))


# Sound


@cache
def demo(seconds: float = 15.2, begin: float = 0.0) -> Samples:
    """Return a stretch of the bundled conversation; its first 15.2 s are four utterances."""
    first = round(begin * SAMPLE_RATE)
    sound, rate = soundfile.read(
        DEMO, round(seconds * SAMPLE_RATE), first, dtype="float32", fill_value=0.0
    )
    assert rate == SAMPLE_RATE
    samples: Samples = sound
    return samples


def resampled(samples: Samples, rate: int) -> Samples:
    """Return sound of 16 kHz at another rate."""
    out: Samples = soxr.resample(samples, SAMPLE_RATE, rate).astype(np.float32)
    return out


def encode(samples: Samples, encoding: str = "s16le") -> bytes:
    """Write samples as a client of the encoding does."""
    if encoding == "f32le":
        return samples.astype("<f4").tobytes()
    whole_numbers = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    writers: dict[str, Callable[[Any], bytes]] = {
        "s16le": lambda x: bytes(x.tobytes()),
        "pcmu": _mu_law,
        "pcma": _a_law,
    }
    return writers[encoding](whole_numbers)


def _mu_law(samples: Any) -> bytes:
    """Encode 16-bit samples, ITU-T G.711 table 2a: sign, exponent of the biased size, mantissa."""
    sign = np.where(samples < 0, 0x80, 0)
    size = np.minimum(np.abs(samples.astype(np.int32)), 32635) + 132
    exponent = np.floor(np.log2(size)).astype(np.int32) - 7
    mantissa = (size >> (exponent + 3)) & 15
    return bytes((~(sign | exponent << 4 | mantissa) & 0xFF).astype(np.uint8).tobytes())


def _a_law(samples: Any) -> bytes:
    """Encode 16-bit samples, ITU-T G.711 table 1a."""
    sign = np.where(samples < 0, 0, 0x80)
    size = np.where(samples < 0, ~samples.astype(np.int32), samples) >> 4
    exponent = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int32) - 3, 0)
    mantissa = np.where(exponent == 0, size, size >> np.maximum(exponent - 1, 0)) & 15
    return bytes(((sign | exponent << 4 | mantissa) ^ 0x55).astype(np.uint8).tobytes())
