"""Requests with a body on the port of the websockets: all that can be wrong with one."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from streamser.server.rest import exchange
from tests.certificates import self_signed
from tests.server.rest.asking import (
    BOUNDARY,
    Answer,
    answer_of,
    form,
    head,
    part,
    post,
    request,
    wav,
    wired,
)
from tests.server.serving import Stage, dial, patience, serving

END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Keep a server without words."""
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize(
    ("body", "more", "status", "code"),
    [
        (form(None), {}, 400, "missing_field"),
        (b"", {}, 400, "invalid_form"),
        (form(b"sound")[:-5], {}, 400, "invalid_form"),
        (form(b"sound").replace(BOUNDARY.encode(), b"another"), {}, 400, "invalid_form"),
        (b"no form at all", {}, 400, "invalid_form"),
        (part("file", b"a", filename="a") * 2 + END, {}, 400, "invalid_form"),
        (part("x", b"") * 65 + END, {}, 400, "invalid_form"),
        (part("prompt", b"x" * 70_000) + END, {}, 413, "field_too_long"),
        (form(b"sound"), {"Content-Type": ""}, 415, "unsupported_media_type"),
        (form(b"sound"), {"Content-Type": "audio/wav"}, 415, "unsupported_media_type"),
        (form(b"sound"), {"Content-Type": "multipart/form-data"}, 400, "invalid_form"),
        (
            form(b"sound"),
            {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"},
            400,
            "invalid_form",
        ),
        (
            form(b"sound"),
            {"Transfer-Encoding": "gzip", "Content-Length": ""},
            501,
            "invalid_request",
        ),
        (form(b"sound"), {"Content-Length": "many"}, 400, "invalid_request"),
        (form(b"sound"), {"Host": ""}, 400, "invalid_request"),
        (form(b"sound"), {"Padding": "x" * 70_000}, 431, "invalid_request"),
        (form(b"sound"), {f"Padding-{n}": "x" for n in range(130)}, 431, "invalid_request"),
    ],
    ids=[
        *("no file", "nothing", "no end", "another boundary", "no form", "two files"),
        *("many parts", "a long field", "no type", "another type", "no boundary"),
        *("a long boundary", "an encoding", "no length", "no host", "a long head", "many headers"),
    ],
)
def test_a_request_that_cannot_be_read_is_answered(
    stage: Stage, body: bytes, more: dict[str, str], status: int, code: str
) -> None:
    """With what is wrong, in the words of an error of OpenAI's."""
    answer = stage.play(post(stage.server, body, headers=more))
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Content-Type"])
def test_a_header_twice_is_no_request(stage: Stage, name: str) -> None:
    """Nobody knows which one is meant."""
    once = head(0, headers={name: "localhost"})
    twice = once.replace(b"\r\n\r\n", f"\r\n{name}: localhost\r\n\r\n".encode())
    answer = stage.play(request(stage.server, twice))
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


def test_both_protocols_may_come_byte_by_byte(stage: Stage) -> None:
    """The first byte says which one it is."""

    async def drip(data: bytes) -> Answer:
        async with wired(stage.server) as (reader, writer):
            for at in range(len(data)):
                writer.write(data[at : at + 1])
                await writer.drain()
            return await answer_of(reader)

    async def scene() -> None:
        body = form(wav(0.1))
        assert (await drip(head(len(body)) + body)).status == 200
        assert (await drip(head(None, method="GET", path="/healthz"))).body == b"ok\n"
        assert (await drip(head(None, method="GARBAGE"))).status == 405
        async with dial(stage.server) as wire:
            assert (await wire.next())["type"] == "session.created"

    stage.play(scene())


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("_HEAD_S", head(9)[:30]),
        ("_STILL_S", head(9) + b"-"),
        ("_UPLOAD_S", head(9) + b"-"),
    ],
)
def test_who_does_not_go_on_is_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, sent: bytes
) -> None:
    """Half a head, or half a body, holds nothing for long."""
    monkeypatch.setattr(exchange, name, 0.05)
    answer = stage.play(request(stage.server, sent))
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")


def test_a_body_without_an_end_is_no_http(stage: Stage) -> None:
    """Chunks whose lengths are no numbers; trailers without end."""
    chunked = head(None, headers={"Transfer-Encoding": "chunked"})
    for wrong in (b"zz\r\n", b"1\r\nab\r\n", b"0\r\n" + b"a: b\r\n" * 2000):
        answer = stage.play(request(stage.server, chunked, wrong))
        assert (answer.status // 100, answer.error["code"]) == (4, "invalid_request")


def test_a_request_without_a_body_is_whole(stage: Stage) -> None:
    """It is answered, and the connection closed at once: nothing more can come."""

    async def scene() -> tuple[Answer, bool]:
        async with wired(stage.server) as (reader, writer):
            writer.write(head(None) + b"")
            return await answer_of(reader), await closed(writer)

    async def closed(writer: asyncio.StreamWriter) -> bool:
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            return True

    answer, over = stage.play(scene())
    assert (answer.status, answer.error["code"], over) == (400, "invalid_form", True)


def test_one_byte_a_chunk_does_not_keep_others_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is parsed in a turn of the loop is bounded, and of somebody unknown nothing is."""
    parsed: list[int] = []
    parse = exchange.Exchange._parse

    def counted(self: exchange.Exchange) -> bytes:
        before = len(self._unread)
        found = parse(self)
        parsed.append(before - len(self._unread))
        return found

    monkeypatch.setattr(exchange.Exchange, "_parse", counted)
    drops = b"".join(b"1\r\n%c\r\n" % each for each in form(wav(0.5))) + b"0\r\n\r\n"
    chunked = {"Transfer-Encoding": "chunked"}
    stranger = head(None, headers={**chunked, "Origin": "https://evil.example"})
    assert stage.play(request(stage.server, stranger + drops)).status == 403
    assert parsed == []
    assert stage.play(request(stage.server, head(None, headers=chunked) + drops)).status == 200
    assert sum(parsed) == len(drops)
    assert max(parsed) <= 4096


def test_who_says_nothing_is_hung_up_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to answer."""
    monkeypatch.setattr(exchange, "_HEAD_S", 0.05)

    async def scene() -> bytes:
        async with wired(stage.server) as (reader, _):
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""

    assert stage.play(scene()) == b""


def test_a_refusal_is_read_by_who_is_still_sending(stage: Stage) -> None:
    """Closed at once, the connection would be reset, and the answer lost with it."""

    async def scene() -> Answer:
        size = 8 * 2**20
        async with wired(stage.server) as (reader, writer):
            writer.write(head(size, path="/v1/audio/transcriptions", headers={"Origin": "null"}))
            for _ in range(4):
                writer.write(bytes(2**16))
                await writer.drain()
            return await answer_of(reader)

    answer = stage.play(scene())
    assert (answer.status, answer.error["code"]) == (403, "wrong_origin")


def test_who_pours_on_after_a_refusal_is_hung_up_on(stage: Stage) -> None:
    """Of somebody unknown 32 MiB are read, and no more."""

    async def scene() -> bool:
        async with wired(stage.server) as (_, writer):
            writer.write(head(2**30, headers={"Origin": "null"}))
            try:
                for _ in range(4096):
                    writer.write(bytes(2**16))
                    await writer.drain()
            except ConnectionError:
                return True
        return False

    assert stage.play(scene())


def test_what_comes_behind_a_request_is_not_read_as_another(stage: Stage) -> None:
    """One request a connection."""
    body = form(wav(0.1))
    once = head(len(body)) + body
    answer = stage.play(request(stage.server, once + once))
    assert answer.status == 200
    assert answer.body.count(b"usage") == 1


def test_a_file_that_a_proxy_brings_is_its_clients(caplog: pytest.LogCaptureFixture) -> None:
    """The last who is no proxy, whatever stands before; in the log, and at the door."""
    caplog.set_level(logging.INFO)
    told = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 127.0.0.1"}

    async def scene() -> None:
        async with serving({"server.proxies": "127.0.0.1"}) as server:
            assert (await post(server, form(b"sound"), headers=told)).status == 400
            assert (await post(server, form(wav(0.5)), headers=told)).status == 200

    asyncio.run(patience(scene()))
    assert caplog.text.count("peer=203.0.113.9 ") == caplog.text.count("peer=") > 1


def test_it_is_spoken_over_tls(tmp_path: Path) -> None:
    """Also a refusal in the middle of a body, where nothing can be half closed."""
    cert, key = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=cert)

    async def scene() -> list[Answer]:
        flags = {"server.tls_cert": cert, "server.tls_key": key}
        answers = []
        async with serving(flags) as server:
            place = urlsplit(server.url)
            body = form(wav(0.5))
            for sent in (head(len(body)) + body, head(40 * 2**20) + body):
                reader, writer = await asyncio.open_connection(
                    place.hostname, place.port, ssl=trusting, server_hostname="localhost"
                )
                writer.write(sent)
                start = await reader.readuntil(b"\r\n\r\n")
                lines = start.decode().split("\r\n")
                (length,) = [line[16:] for line in lines if line.startswith("Content-Length: ")]
                whole = asyncio.StreamReader()
                whole.feed_data(start + await reader.readexactly(int(length)))
                whole.feed_eof()
                answers.append(await answer_of(whole))
                writer.transport.abort()
        return answers

    good, long = asyncio.run(patience(scene()))
    assert (good.status, long.status, long.error["code"]) == (200, 413, "file_too_big")
