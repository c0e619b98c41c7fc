"""The port of a server: every request gets an answer."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.server.serving import dial, patience, serving

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
        assert json.loads(body)["error"]["code"] == "method_not_allowed"


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
