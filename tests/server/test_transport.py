"""One connection: when its messages came, what waits of them, and what it is answered."""

from __future__ import annotations

import asyncio
import logging
import struct
import time

import pytest
from websockets.protocol import Protocol

from streamser.logs import FIELDS
from streamser.server.app import EmotionServer
from streamser.server.limits import MessagePace
from streamser.server.stream import LiveStream
from streamser.server.transport import ClientSocket
from tests.server.serving import Narrow, demo, dial, encode, patience, serving

ROOM = 65_536 + 4096
"""Bytes that may wait unread, and the answers to what is parsed at once."""


def only_connection(server: EmotionServer) -> ClientSocket:
    """Return the server's side of the one connection there is."""
    (connection,) = server._port._connections()
    assert isinstance(connection, ClientSocket)
    return connection


def arrivals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of when the pieces of sound that are heard from now on came."""
    came: list[float] = []
    hear = LiveStream.push_audio

    def watch(self: LiveStream, data: bytes, at: float) -> None:
        came.append(at)
        hear(self, data, at)

    monkeypatch.setattr(LiveStream, "push_audio", watch)
    return came


def test_sound_that_waits_in_its_socket_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns, but the stream waits for its finals, and what is read then is not new."""

    async def scene() -> tuple[float, float]:
        room = asyncio.Event()
        room.set()

        async def wait(self: LiveStream) -> None:
            await room.wait()

        monkeypatch.setattr(LiveStream, "wait_for_room", wait)
        async with serving() as server, dial(server, query="rate=16000") as wire:
            await wire.settle()
            connection = only_connection(server)
            room.clear()
            await wire.sound(encode(demo(1.0)), size=640)
            while not connection._full:
                await asyncio.sleep(0)
            began = time.monotonic()
            time.sleep(0.3)
            stood = time.monotonic() - began
            for _ in range(8):
                await asyncio.sleep(0)
            assert connection._full
            room.set()
            (*_, started) = await wire.until("input_audio_buffer.speech_started")
            await wire.finish()
        return stood, started["lag_ms"] / 1000

    stood, lag = asyncio.run(patience(scene()))
    assert lag >= stood - 0.001


def test_sound_that_is_poured_in_comes_as_fast_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty seconds at once, the rest by the pace: who sends too fast makes nobody late."""
    came = arrivals(monkeypatch)

    async def scene() -> None:
        flags, query = {"server.speed": 500.0}, "rate=16000"
        async with serving(flags) as server, dial(server, query=query) as wire:
            await wire.raw(bytes(2 * 16_000 * 60))
            await wire.finish()

    asyncio.run(patience(scene()))
    assert len(came) == 120
    assert came[0] == came[59]
    assert came[-1] - came[0] == pytest.approx(30 / 500)


def test_who_is_made_to_wait_is_not_heard_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound behind too many messages counts from when these are through."""
    came = arrivals(monkeypatch)

    async def scene() -> None:
        flags = {"server.message_rate": 100.0, "server.message_burst": 1}
        async with serving(flags) as server, dial(server, query="rate=16000") as wire:
            for _ in range(4):
                await wire.raw("x")
            # Of one moment, whatever the machine does meanwhile.
            began = time.monotonic()
            monkeypatch.setattr(ClientSocket, "came", property(lambda _: began, _nowhere))
            await wire.raw(bytes(640))
            await wire.finish()
        assert came[0] > began

    asyncio.run(patience(scene()))


def _nowhere(connection: ClientSocket, came: float) -> None:
    return


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/events"])
def test_who_reads_no_answers_to_its_pings_gets_the_last_one_alone(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it reads; until then no more of them wait than a little, and one line says so."""
    caplog.set_level(logging.INFO, "streamser")
    pings = [
        bytes([0x89, 0x80 | 125]) + bytes(4) + struct.pack(">125s", b"%d" % n)
        for n in range(60_000)
    ]
    parsed = 0
    receive = Protocol.receive_data

    def watch(self: Protocol, part: bytes) -> None:
        nonlocal parsed
        receive(self, part)
        parsed += len(part)

    async def scene() -> int:
        flags = {"server.message_rate": 1e9}
        async with serving(flags) as server, Narrow.dial(server, path, query="all") as narrow:
            monkeypatch.setattr(Protocol, "receive_data", watch)
            connection = only_connection(server)
            flood = b"".join(pings)
            await narrow._loop.sock_sendall(narrow._link, flood)
            while parsed < len(flood):
                await asyncio.sleep(0)
            waiting = connection.transport.get_write_buffer_size()
            opcode, body = await narrow._frame()
            while opcode != 10 or not body.startswith(b"59999\0"):
                opcode, body = await narrow._frame()
            return waiting

    assert asyncio.run(patience(scene())) <= ROOM
    lines = [getattr(record, FIELDS, {}) for record in caplog.records]
    assert [line["event"] for line in lines].count("unread") == 1


PING = bytes([0x89, 0x80]) + bytes(4)
PONG = bytes([0x8A, 0x80]) + bytes(4)
OPENING, PART = bytes([0x02, 0x80]) + bytes(4), bytes([0x00, 0x80]) + bytes(4)


@pytest.mark.parametrize(
    "flood", [PING * 10_000, PONG * 10_000, OPENING + PART * 10_000], ids=["ping", "pong", "part"]
)
@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/events"])
def test_frames_that_are_no_messages_are_paced(
    path: str, flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a burst its socket is not read: others are served as if there were no flood."""

    async def scene() -> int:
        flags = {"server.message_rate": 20.0, "server.message_burst": 100}
        async with serving(flags) as server, dial(server, path, query="all") as wire:
            await wire.next()
            flooded = only_connection(server)
            parts = parsed(flooded, monkeypatch)
            wire.connection.transport.write(flood)
            async with dial(server, query="rate=16000") as honest:
                for _ in range(10):
                    await honest.settle()
                await honest.finish()
            flooded.transport.abort()
            await flooded.wait_closed()
            return sum(parts)

    assert 0 < asyncio.run(patience(scene())) <= 2 * 4096


def test_who_goes_on_sending_such_frames_is_sent_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client is told why, and the log once."""
    caplog.set_level(logging.INFO, "streamser")

    async def scene() -> tuple[int | None, str]:
        async with serving() as server, dial(server, query="rate=16000") as wire:
            await wire.next()
            monkeypatch.setattr(MessagePace, "wait_s", lambda *_: None)
            wire.connection.transport.write(PONG * 1000)
            await wire.rest()
            return wire.code, wire.reason

    code, reason = asyncio.run(patience(scene()))
    assert code == 1008
    assert "too many frames" in reason
    lines = [getattr(record, FIELDS, {}) for record in caplog.records]
    assert [line["event"] for line in lines].count("flooded") == 1


def test_what_a_lost_connection_leaves_is_parsed_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quarter of a MiB of tiny frames would hold up everybody."""

    async def scene() -> list[int]:
        async with serving() as server, dial(server, query="rate=16000") as wire:
            await wire.next()
            connection = only_connection(server)
            parts = parsed(connection, monkeypatch)
            connection._unread = (bytes([0x82, 0x82]) + bytes(6)) * 10_000
            connection.transport.abort()
            await connection.wait_closed()
            return parts

    parts = asyncio.run(patience(scene()))
    assert sum(parts) == 80_000
    assert max(parts) <= 4096


def parsed(connection: ClientSocket, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of how many bytes of a connection are parsed at once from now on."""
    parts: list[int] = []
    receive = Protocol.receive_data

    def watch(self: Protocol, part: bytes) -> None:
        if self is connection.protocol:
            parts.append(len(part))
        receive(self, part)

    monkeypatch.setattr(Protocol, "receive_data", watch)
    return parts
