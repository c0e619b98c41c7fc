"""Clients behind a real HAProxy: each counts by itself, whatever it says of itself."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from streamser.cluster.haproxy import Backend, haproxy_config
from streamser.server.app import EmotionServer
from tests.deploy.sockets import free_port
from tests.server.guarding import LISTEN, bearer
from tests.server.serving import Wire, dial, patience, serving

pytestmark = pytest.mark.cluster

CLIENTS = 100
HOSTILE = "127.0.0.2"
PESTS = 60


class Front:
    """Say where an HAProxy is."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"


@asynccontextmanager
async def behind_haproxy(
    folder: Path, flags: Mapping[str, Any]
) -> AsyncIterator[tuple[EmotionServer, Front]]:
    """Run a server, and an HAProxy before it that reaches it from 127.0.0.9."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is missing: apt-get install haproxy")
    async with serving({"server.max_listeners": 300, **flags}) as server:
        port, file = free_port(), folder / "haproxy.cfg"
        place = server.url.removeprefix("http://").rstrip("/")
        text = haproxy_config([Backend("a", place)], f"127.0.0.1:{port}")
        file.write_text(text + "    source 127.0.0.9\n", encoding="utf-8")
        front = Front(port)
        with subprocess.Popen([program, "-db", "-f", str(file)]) as child:
            try:
                while not await asyncio.to_thread(answers, front):
                    assert child.poll() is None
                yield server, front
            finally:
                child.kill()


def answers(front: Front) -> bool:
    """Return whether the server answers through the proxy."""
    try:
        with urlopen(f"{front.url}healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def linger(front: Front, number: int) -> asyncio.StreamWriter:
    """Connect as a page does, without a token; wait for the goodbye and never give one."""
    place = urlsplit(front.url)
    reader, writer = await asyncio.open_connection(
        place.hostname, place.port, local_addr=(HOSTILE, 0)
    )
    head = (
        "GET /v1/events?all=1 HTTP/1.1",
        f"Host: {place.netloc}",
        f"Origin: http://{place.netloc}",
        f"X-Forwarded-For: 198.51.100.{number}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "\r\n",
    )
    writer.write("\r\n".join(head).encode())
    await reader.readuntil(b'"unauthorized"')
    return writer


def test_a_hundred_clients_of_a_proxy_get_in_at_one_moment(tmp_path: Path) -> None:
    """Also where all of them have one address, as an office has."""

    async def scene() -> None:
        known = {"server.proxies": "127.0.0.9"}
        async with behind_haproxy(tmp_path, known) as (server, front), AsyncExitStack() as guests:

            async def come() -> Wire:
                return await guests.enter_async_context(dial(front, "/v1/events", query="all=1"))

            wires = await asyncio.gather(*(come() for _ in range(CLIENTS)))
            told = await asyncio.gather(*(wire.next() for wire in wires))
            assert {event["type"] for event in told} == {"streamser.snapshot"}
            assert cast(Any, server)._admission.listeners == CLIENTS

    asyncio.run(patience(scene()))


def test_a_hostile_client_of_a_proxy_is_shown_out_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It never says goodbye, and claims each time to be another; others come and stay."""
    caplog.set_level(logging.INFO)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"display listen {LISTEN}\n")
    known = {"server.proxies": "127.0.0.9", "server.token_file": str(tokens)}
    friendly: dict[str, Any] = {"query": "all=1", "headers": bearer(LISTEN)}

    async def scene() -> None:
        async with behind_haproxy(tmp_path, known) as (server, front):
            table = cast(Any, server)._port._table
            async with dial(front, "/v1/events", **friendly) as friend:
                assert (await friend.next())["type"] == "streamser.snapshot"
                pests = [await linger(front, number) for number in range(PESTS)]
                assert 0 < table._of_one[HOSTILE] <= table.bounds.waiting_of_one < PESTS
                async with dial(front, "/v1/events", **friendly) as late:
                    assert (await late.next())["type"] == "streamser.snapshot"
                await friend.connection.ping()
                for pest in pests:
                    pest.close()

    asyncio.run(patience(scene()))
    assert f"peer={HOSTILE}" in caplog.text
    assert "peer=198.51.100." not in caplog.text
