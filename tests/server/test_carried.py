"""A stream that comes to another server than its meeting's, and is carried on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from streamser.certificates import trusted
from streamser.cluster.records import NodeState
from streamser.cluster.tunnel import CARRIED
from streamser.errors import ConfigError
from streamser.server.app import EmotionServer
from streamser.server.cluster import Arrival
from tests.certificates import self_signed
from tests.server.serving import Wire, address, dial, kinds, patience, serving

MEETING = "meeting=a%2Fb%20c%C3%BC"


@asynccontextmanager
async def mistaken(
    home: Mapping[str, Any] | None = None, wrong: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[EmotionServer, EmotionServer]]:
    """Run a server that has all meetings, and one to which everybody comes by mistake."""
    joined = {"cluster.redis": "redis://127.0.0.1:1/0", "cluster.address": "ws://127.0.0.1:1"}
    async with serving(home) as right, serving({**joined, **(wrong or {})}) as other:
        where = Arrival(NodeState(name="home-1", address=address(right, "/")))

        async def arrive(grant: object) -> Arrival:
            return where

        node = cast(Any, other)._cluster
        node.arrive = arrive
        yield right, other


async def one(home: EmotionServer, wire: Wire) -> str:
    """See that a stream has begun at its meeting's server; return the meeting it is of."""
    assert (await wire.next())["type"] == "session.created"
    (live,) = cast(Any, home)._live_meetings()
    return str(live.meeting)


@pytest.mark.parametrize(
    ("query", "meeting"),
    [(MEETING, "a/b cü"), ("meeting=a+b&x={}", "a b"), ("meeting=a#b", "a#b")],
)
def test_a_meetings_name_comes_along_as_it_was_written(query: str, meeting: str) -> None:
    """Whatever signs a client does not escape, and whether or not it has one of its own."""

    async def scene() -> None:
        async with mistaken() as (home, wrong):
            place = urlsplit(wrong.url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
            head = (f"GET /v1/realtime?{query} HTTP/1.1", f"Host: {place.netloc}", *lines)
            key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
            writer.write("\r\n".join((*head, key, "\r\n")).encode())
            await reader.readuntil(b'"session.created"')
            assert [live.meeting for live in cast(Any, home)._live_meetings()] == [meeting]
            writer.close()

    asyncio.run(patience(scene()))


def test_a_page_is_let_in_by_mistake_too() -> None:
    """Its origin was looked at where it came in; the other server is called otherwise."""

    async def scene() -> None:
        async with mistaken() as (home, wrong):
            async with dial(wrong, query=MEETING, origin=wrong.url.rstrip("/")) as wire:
                assert await one(home, wire) == "a/b cü"
            async with dial(wrong, query=MEETING, origin="http://evil.example") as wire:
                assert [event["error"]["code"] for event in await wire.rest()] == ["wrong_origin"]

    asyncio.run(patience(scene()))


def test_whoever_says_to_have_been_carried_harms_itself_alone() -> None:
    """It is sent away; its meeting is where it was, and nowhere else."""

    async def scene() -> None:
        async with mistaken() as (home, wrong), dial(wrong, query=MEETING) as wire:
            await one(home, wire)
            async with dial(wrong, query=MEETING, headers={CARRIED: "home-1"}) as liar:
                assert await liar.rest() == []
                assert (liar.code, "retry in 1 s" in liar.reason) == (1013, True)
            assert cast(Any, wrong)._hub.meetings == 0
            assert kinds(await wire.settle()) == ["streamser.marker"]

    asyncio.run(patience(scene()))


def test_what_the_other_server_refuses_is_told_in_its_words() -> None:
    """As a code and when to come again, as it would have closed the socket itself."""

    async def scene() -> None:
        full = mistaken({"server.max_sessions": 1})
        async with full as (home, wrong), dial(home), dial(wrong, query=MEETING) as wire:
            assert await wire.rest() == []
            assert (wire.code, wire.reason) == (1013, "too_many_sessions; retry in 5 s")

    asyncio.run(patience(scene()))


def test_nothing_is_kept_of_what_has_passed() -> None:
    """However many messages there were."""

    async def scene() -> None:
        async with mistaken() as (home, wrong), dial(wrong, query=MEETING) as wire:
            await one(home, wire)
            await wire.sound(bytes(64_000), size=320)
            await wire.settle()
            (socket,) = cast(Any, wrong)._port._connections()
            assert len(socket._stamps) == 0

    asyncio.run(patience(scene()))


def test_a_server_that_ends_sends_those_it_carries_back_to_their_meeting() -> None:
    """By the usual code; where they were they may come back to their stream."""

    async def scene() -> None:
        async with mistaken() as (home, wrong):
            query = f"{MEETING}&stream=a-secret-of-some-length"
            async with dial(wrong, query=query) as wire:
                begun = (await wire.next())["session_id"]
                await wrong.stop()
                await wire.rest()
                assert (wire.code, wire.reason) == (1001, "the server is going away")
            async with dial(home, query=query) as back:
                assert (await back.next())["session_id"] == begun

    asyncio.run(patience(scene()))


def test_the_meetings_server_is_told_whose_connection_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It believes that where it knows the other for a proxy."""
    caplog.set_level(logging.INFO)

    async def scene(**home: str) -> None:
        async with mistaken(home, {"server.proxies": "127.0.0.1"}) as (right, wrong):
            headers = {"X-Forwarded-For": "203.0.113.9"}
            async with dial(wrong, query=MEETING, headers=headers) as wire:
                await one(right, wire)

    asyncio.run(patience(scene()))
    assert "peer=203.0.113.9" not in caplog.text
    asyncio.run(patience(scene(**{"server.proxies": "127.0.0.1"})))
    assert "peer=203.0.113.9" in caplog.text


def test_servers_speak_tls_with_certificates_of_their_own(tmp_path: Path) -> None:
    """Those of ``cluster.tls_ca`` are believed; without it, those of the machine alone."""
    cert, key = self_signed(tmp_path)
    home = {"server.tls_cert": cert, "server.tls_key": key}

    async def scene() -> None:
        known = mistaken(home, {"cluster.tls_ca": cert})
        async with known as (right, wrong), dial(wrong, query=MEETING) as wire:
            assert await one(right, wire) == "a/b cü"
        async with mistaken(home) as (_, wrong), dial(wrong, query=MEETING) as wire:
            assert await wire.rest() == []
            assert (wire.code, "cannot be reached" in wire.reason) == (1013, True)

    asyncio.run(patience(scene()))


def test_certificates_that_cannot_be_read_are_told_at_once(tmp_path: Path) -> None:
    """In one line that names setting and file."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file, why in (
        (str(empty), "it holds no certificate"),
        (str(tmp_path / "none.pem"), "No such file or directory"),
        (str(tmp_path), "Is a directory"),
        ("a\0b", "this is no name of a file"),
    ):
        with pytest.raises(ConfigError, match=f"^cluster.tls_ca .*: {why}; give a PEM file"):
            trusted(file, "cluster.tls_ca")
