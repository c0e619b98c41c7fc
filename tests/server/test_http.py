"""The port of a server: every request gets an answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.protocol import Protocol
from websockets.typing import Subprotocol

from streamser.errors import ConfigError
from streamser.logs import FIELDS
from streamser.server.app import EmotionServer
from streamser.server.http import _select_subprotocol
from streamser.server.limits import shared_file
from tests.server.serving import Narrow, dial, patience, server_settings, serving

HEAD = "HTTP/1.1\r\nHost: localhost\r\n"


def answers(*requests: str) -> list[tuple[str, str, str]]:
    """Send requests as they stand here; return status, head and body of each answer."""

    async def ask(place: str, request: str) -> tuple[str, str, str]:
        link = urlsplit(place)
        reader, writer = await asyncio.open_connection(link.hostname, link.port)
        writer.write(request.encode())
        # The server ends what it has answered, or nothing would come to an end here.
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        status = head.split(" ")[1] if head else ""
        return status, head, body

    async def scene() -> list[tuple[str, str, str]]:
        async with serving(load=False) as server:
            return [await ask(server.url, request) for request in requests]

    return asyncio.run(patience(scene()))


def test_who_wants_to_write_is_told_that_there_is_only_reading() -> None:
    """With a body or without, on every path, whatever the method."""
    told = answers(
        f"POST /v1/realtime {HEAD}Content-Length: 5\r\n\r\nhello",
        f"POST /v1/listen {HEAD}Content-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n",
        f"PUT /healthz {HEAD}\r\n",
        f"OPTIONS /v1/events {HEAD}\r\n",
    )
    for status, head, body in told:
        assert status == "405"
        assert "Allow: GET, HEAD" in head
        error = json.loads(body)["error"]
        assert error["code"] == "method_not_allowed"
        assert "POST /v1/audio/transcriptions" in error["message"]


def test_what_is_no_request_is_answered_as_well() -> None:
    """A body where none belongs, another HTTP, too many words."""
    told = answers(
        f"GET /healthz {HEAD}Content-Length: 5\r\n\r\nhello",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
    )
    assert [status for status, _, _ in told] == ["400"] * 3
    assert json.loads(told[0][2])["error"]["code"] == "invalid_request"


def test_a_request_for_the_head_gets_no_body() -> None:
    """As a load balancer asks for health; its length is told all the same."""
    (whole, bare) = answers(f"GET /healthz {HEAD}\r\n", f"HEAD /healthz {HEAD}\r\n")
    assert whole == (whole[0], whole[1], "ok\n")
    assert bare == (whole[0], whole[1], "")
    assert "Content-Length: 3" in bare[1]


@pytest.mark.parametrize("path", ["/v1/realtime/", "//v1/realtime", "/v1//events/"])
def test_slashes_too_many_lead_to_the_same_place(path: str) -> None:
    """An address that ends in one is joined with a path that begins with one."""

    async def scene() -> None:
        query = "all" if "events" in path else ""
        async with serving() as server, dial(server, path, query=query) as wire:
            first = (await wire.next())["type"]
            assert first in ("session.created", "streamser.snapshot")

    asyncio.run(patience(scene()))


def test_health_is_found_behind_a_slash() -> None:
    """And what is nowhere still is not."""
    told = answers(f"GET /healthz/ {HEAD}\r\n", f"GET //readyz {HEAD}\r\n", f"GET /no/ {HEAD}\r\n")
    assert [status for status, _, _ in told] == ["200", "503", "404"]


EMPTY = bytes([0x82, 0x80, 0, 0, 0, 0])
"""A message of no bytes, masked by zeros."""

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def written(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the fields of what has been logged, but for how the loop of this machine does."""
    lines = [getattr(record, FIELDS) for record in caplog.records if hasattr(record, FIELDS)]
    return [line for line in lines if line["event"] != "loop_late"]


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Upgrade"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/v1/realtime"])
def test_a_header_twice_is_no_request(
    path: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows which one is meant; and it is no fault of ours to be written down."""
    caplog.set_level(logging.INFO)
    twice = f"{name}: localhost\r\n" * (1 if name == "Host" else 2)
    ((status, _, body),) = answers(f"GET {path} {HEAD}{twice}\r\n")
    assert status == "400"
    assert json.loads(body)["error"]["code"] == "invalid_request"
    assert not [record for record in caplog.records if record.exc_info]


def test_the_page_too_is_found_under_the_names_of_the_server_alone() -> None:
    """Else another site could give this machine a name of its own; health is told to all."""
    strange = "HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    paths = ("/", "/app.js", "/metrics", "/v1/protocol.json", "/healthz", "/readyz")
    told = answers(*(f"GET {path} {strange}" for path in paths))
    assert [status for status, _, _ in told] == ["403"] * 4 + ["200", "503"]
    assert json.loads(told[0][2])["error"]["code"] == "wrong_host"


def test_the_page_may_connect_to_where_it_came_from_alone() -> None:
    """Under the name by which it was called; a strange name is not repeated."""
    (page, odd) = answers(
        f"GET / {HEAD}\r\n", "GET /healthz HTTP/1.1\r\nHost: a;b ws://evil\r\n\r\n"
    )
    assert "connect-src 'self' ws://localhost wss://localhost;" in page[1]
    assert "connect-src 'self';" in odd[1]


def test_what_strangers_cause_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A few lines of a kind, and later how many there would have been."""
    caplog.set_level(logging.INFO, "streamser")
    answers(*["GET /v1/realtime HTTP/1.1\r\nHost: evil.example\r\n" + UPGRADE + "\r\n"] * 60)
    assert Counter(line["reason"] for line in written(caplog)) == {"wrong_host": 20}


def watch_parser(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of how many bytes are parsed from now on, a number for each time."""
    parts: list[int] = []
    receive = Protocol.receive_data

    def watch(self: Protocol, part: bytes) -> None:
        parts.append(len(part))
        receive(self, part)

    monkeypatch.setattr(Protocol, "receive_data", watch)
    return parts


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return what still comes, however the connection ends."""
    told = b""
    with suppress(ConnectionResetError):
        while part := await reader.read(65_536):
            told += part
    return told


def test_nothing_is_parsed_that_comes_with_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has to wait for the answer."""
    head = f"GET /v1/realtime {HEAD}{UPGRADE}\r\n"

    async def scene() -> None:
        async with serving() as server:
            link = urlsplit(server.url)
            reader, writer = await asyncio.open_connection(link.hostname, link.port)
            parts = watch_parser(monkeypatch)
            writer.write(head.encode() + EMPTY * 40_000)
            assert (await to_the_end(reader)).startswith(b"HTTP/1.1 400 ")
            writer.close()
            assert sum(parts) == len(head)

    asyncio.run(patience(scene()))


def test_next_to_nothing_is_parsed_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is refused on an open socket; a goodbye is heard, a flood is not."""

    async def scene() -> None:
        async with serving() as server:
            link = urlsplit(server.url)
            head = f"GET /v1/realtime {HEAD}Origin: https://evil.example\r\n{UPGRADE}\r\n"
            reader, writer = await asyncio.open_connection(link.hostname, link.port)
            writer.write(head.encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            parts = watch_parser(monkeypatch)
            # A goodbye behind all that is not heard; the flood is too much to wait for it.
            writer.write(EMPTY * 200_000)
            await to_the_end(reader)
            writer.close()
            assert sum(parts) <= 1024

    asyncio.run(patience(scene()))


def test_a_burst_of_messages_is_parsed_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that others get their turn, and what nobody has read yet is not parsed at all."""

    async def scene() -> list[int]:
        async with serving() as server, dial(server, query="rate=16000") as wire:
            await wire.next()
            parts = watch_parser(monkeypatch)
            wire.connection.transport.write(EMPTY * 10_000)
            await wire.finish()
            return parts

    parts = asyncio.run(patience(scene()))
    assert sum(parts) > 60_000
    assert max(parts) <= 4096


def test_a_message_of_too_many_parts_is_too_big() -> None:
    """Each of them costs, also an empty one."""

    async def scene() -> None:
        flags = {"server.message_rate": 1e9}
        async with serving(flags) as server, dial(server, query="rate=16000") as wire:
            await wire.next()
            part = bytes([0x00, 0x80, 0, 0, 0, 0])
            wire.connection.transport.write(bytes([0x02, *part[1:]]) + part * 5000)
            await wire.rest()
            assert wire.code == 1009

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (("streamser.token.0123456789abcdef",), None),
        (("openai-insecure-api-key.0123456789abcdef", "realtime"), "realtime"),
        (("bearer", "0123456789abcdef"), "bearer"),
        (("streamser.token.0123456789abcdef", "mine"), "mine"),
        (("mine", "yours"), "mine"),
        ((), None),
    ],
)
def test_a_token_is_never_said_again(offered: tuple[str, ...], taken: str | None) -> None:
    """Answers are written into logs on their way; another subprotocol is taken instead."""
    connection: Any = None
    assert _select_subprotocol(connection, [Subprotocol(name) for name in offered]) == taken


def test_a_token_file_that_others_may_read_is_told_of(tmp_path: Path) -> None:
    """In one line that says what to do; a closed one is not."""
    tokens = tmp_path / "tokens"
    tokens.write_text("hall send,listen 0123456789abcdef\n")
    said: list[str] = []
    for mode, lines in ((0o600, 0), (0o640, 1), (0o604, 2)):
        tokens.chmod(mode)
        EmotionServer(server_settings({"server.token_file": str(tokens)}), said.append)
        assert len(said) == lines
    assert said[0].endswith(f"chmod 600 {tokens}")


def test_a_token_file_given_to_the_servers_group_is_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another owner, as Kubernetes mounts a secret; one that all may read is."""
    tokens = tmp_path / "tokens"
    tokens.write_text("hall send,listen 0123456789abcdef\n")
    other = tokens.stat().st_uid + 1
    monkeypatch.setattr("os.geteuid", lambda: other)
    for mode, told in ((0o440, False), (0o460, True), (0o444, True)):
        tokens.chmod(mode)
        assert (shared_file(str(tokens)) is not None) == told


def test_a_name_that_begins_like_an_address_is_not_this_machine() -> None:
    """It is anybody's."""
    for host in ("127.evil.example", "127.0.0.1.evil.example"):
        with pytest.raises(ConfigError, match="can be reached from other machines"):
            EmotionServer(server_settings({"server.host": host}), lambda line: None)
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        EmotionServer(server_settings({"server.host": host}), lambda line: None)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/realtime", "stream=a-secret-of-a-stream"),
        ("/v1/listen", ""),
        ("/v1/events", "session=nobody"),
    ],
)
def test_who_is_to_leave_and_says_no_goodbye_holds_no_place(path: str, query: str) -> None:
    """Finished, or turned away on an open socket: it stands at the door until it is closed."""

    async def scene() -> tuple[int, int]:
        async with serving() as server, Narrow.dial(server, path, query=query) as narrow:
            if path != "/v1/events":
                await narrow.send("CloseStream" if path == "/v1/listen" else "streamser.finish")
            await narrow.rest()
            assert narrow.code in (1000, 4404)
            table = server._port._table
            return table.waiting, table.open

    assert asyncio.run(patience(scene())) == (1, 1)


def test_who_is_refused_has_never_been_through_the_door() -> None:
    """A page of another site, whose socket is opened to tell it so, and which never goes."""

    async def scene() -> tuple[int, int]:
        async with serving() as server:
            link = urlsplit(server.url)
            reader, writer = await asyncio.open_connection(link.hostname, link.port)
            head = f"GET /v1/realtime {HEAD}Origin: https://evil.example\r\n{UPGRADE}\r\n"
            writer.write(head.encode())
            await reader.readuntil(b"\r\n\r\n")
            # Two frames: the error, and the goodbye that is never answered.
            await reader.readuntil(b"wrong_origin")
            await reader.readuntil(b"wrong_origin")
            table = server._port._table
            state = table.waiting, table.open
            writer.close()
            return state

    assert asyncio.run(patience(scene())) == (1, 1)
