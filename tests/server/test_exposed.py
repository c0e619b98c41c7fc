"""Pages of other sites, and other machines: what is asked for before they may connect."""

from __future__ import annotations

import asyncio
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamser.errors import ConfigError
from streamser.server.app import EmotionServer
from tests.certificates import self_signed
from tests.server.guarding import (
    BOTH,
    LISTEN,
    SEND,
    WRONG,
    bearer,
    guarded,
    raw_request,
)
from tests.server.serving import Told, dial, patience, refusal, server_settings, serving
from tests.server.test_limits import turned_away


def test_pages_of_other_sites_may_not_connect() -> None:
    """Only the server's own page and those that were named may; a program names no page."""
    friend = "https://meet.example"

    async def scene() -> None:
        async with serving({"server.origins": f" {friend} , https://other.example"}) as server:
            own = server.url.rstrip("/")
            for origin in (own, friend, "https://other.example"):
                async with dial(server, origin=origin) as wire:
                    assert (await wire.next())["type"] == "session.created"
            for origin in (
                "https://evil.example",
                "http://meet.example",
                "https://meet.example.evil.example",
                f"{own}.evil.example",
                "null",
            ):
                error, code, reason = await turned_away(server, origin=origin)
                assert (error["code"], code, reason) == ("wrong_origin", 4403, "wrong_origin")
                error, code, _ = await turned_away(server, "/v1/events", query="all", origin=origin)
                assert (error["code"], code) == ("wrong_origin", 4403)

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    "origin",
    [
        b"http://\xff\xfe",
        b"http://[",
        b"://",
        b"",
    ],
)
def test_an_origin_that_is_none_is_refused_like_any_other(origin: bytes) -> None:
    """Nothing that a header may hold breaks the server: the page gets its error and 4403."""

    async def scene() -> bytes:
        async with serving() as server:
            return await raw_request(server, b"/v1/realtime", b"Origin: " + origin)

    answer = asyncio.run(patience(scene()))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b'"wrong_origin"' in answer
    assert (4403).to_bytes(2, "big") in answer


def test_a_page_cannot_reach_it_under_another_name(token_file: str) -> None:
    """Without tokens the server answers to its own names only; with them to any."""

    async def under(server: EmotionServer, name: str, **how: Any) -> Told:
        place = urlsplit(server.url)
        how.update(host=place.hostname, port=place.port)
        # The library connects to ``host`` and asks for what stands in the address.
        renamed = Renamed(server, f"http://{name}:{place.port}/")
        async with dial(renamed, **how) as wire:
            return await wire.next()

    async def scene() -> None:
        async with serving() as server:
            assert (await under(server, "localhost"))["type"] == "session.created"
            told = await under(server, "evil.example", origin="http://evil.example:80")
            assert told["error"]["code"] == "wrong_host"
            place = urlsplit(server.url)
            renamed = Renamed(server, f"http://evil.example:{place.port}/")
            code, _, error = await refusal(renamed, host=place.hostname, port=place.port)
            assert (code, error["code"]) == (403, "wrong_host")
        async with guarded(token_file) as server:
            told = await under(server, "proxy.example", headers=bearer(BOTH))
            assert told["type"] == "session.created"

    asyncio.run(patience(scene()))


class Renamed(EmotionServer):
    """Stand for a server as it is seen under another name."""

    def __init__(self, server: EmotionServer, url: str) -> None:
        self.server = server
        self._url = url

    @property
    def url(self) -> str:
        """Return the address under the other name."""
        return self._url


@pytest.mark.parametrize("path", ["metrics", "v1/meetings"])
def test_what_goes_on_is_for_those_who_may_listen(token_file: str, path: str) -> None:
    """With tokens for them; without, under the server's own names, and for no other's page."""

    async def asked(server: EmotionServer, target: bytes, *headers: bytes) -> bytes:
        return (await raw_request(server, target, *headers)).splitlines()[0]

    async def scene() -> None:
        async with guarded(token_file) as server:
            for token, code in ((LISTEN, 200), (BOTH, 200), (SEND, 403), (WRONG, 401)):
                head = f"Authorization: Bearer {token}".encode()
                assert f" {code} ".encode() in await asked(server, f"/{path}".encode(), head)
                target = f"/{path}?token={token}".encode()
                assert f" {code} ".encode() in await asked(server, target)
            assert b" 401 " in await asked(server, f"/{path}".encode())
            for free in (b"/healthz", b"/readyz", b"/v1/protocol.json", b"/"):
                assert b" 200 " in await asked(server, free)
        async with serving() as server:
            assert b" 200 " in await asked(server, f"/{path}".encode())
            elsewhere = b"Origin: http://evil.example"
            assert b" 403 " in await asked(server, f"/{path}".encode(), elsewhere)
            # What a page sees that has renamed its own host to this machine's.
            request = urllib.request.Request(
                f"{server.url}{path}", headers={"Host": "evil.example"}
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                await asyncio.to_thread(urllib.request.urlopen, request)
            assert refused.value.code == 403

    asyncio.run(patience(scene()))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "server.example"])
def test_other_machines_are_served_only_with_tokens_and_tls(host: str, token_file: str) -> None:
    """Without both the server does not start, and says what is missing; unless told otherwise."""

    def make(**flags: Any) -> EmotionServer:
        flags = {f"server.{name}": value for name, value in flags.items()}
        return EmotionServer(server_settings({"server.host": host, **flags}), lambda line: None)

    with pytest.raises(ConfigError, match=r"token.*TLS.*--insecure"):
        make()
    with pytest.raises(ConfigError, match=r"give TLS") as caught:
        make(token_file=token_file)
    assert BOTH not in str(caught.value)
    make(insecure=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Make a certificate for this machine that nobody has signed, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_it_serves_over_tls(certificate: tuple[str, str], token_file: str) -> None:
    """With a certificate everything is encrypted, and the address says so."""
    cert, key = certificate
    trust = ssl.create_default_context(cafile=cert)

    async def scene() -> None:
        flags = {"server.tls_cert": cert, "server.tls_key": key, "server.token_file": token_file}
        async with serving(flags) as server:
            assert server.url.startswith("https://")
            async with dial(server, ssl=trust, headers=bearer(SEND)) as wire:
                assert (await wire.next())["type"] == "session.created"
                await wire.finish()
                assert wire.code == 1000
            code, _, _ = await refusal(server, ssl=trust)
            assert code == 401
            with pytest.raises((OSError, EOFError)):
                await plainly(server)

    async def plainly(server: EmotionServer) -> None:
        place = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            await reader.readexactly(12)
        finally:
            writer.close()

    asyncio.run(patience(scene()))


def test_a_certificate_is_read_anew_and_nobody_notices(tmp_path: Path) -> None:
    """Who is there goes on; who comes gets the new one; a file that is none changes nothing."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    cert, key = map(Path, self_signed(tmp_path / "old"))
    others = list(map(Path, self_signed(tmp_path / "new")))
    trust = [ssl.create_default_context(cafile=str(each)) for each in (cert, others[0])]

    async def scene() -> None:
        flags = {"server.tls_cert": str(cert), "server.tls_key": str(key)}
        async with serving(flags) as server, dial(server, ssl=trust[0]) as first:
            await first.next()
            whole = key.read_bytes()
            key.write_text("no key")
            await server.reload()
            async with dial(server, ssl=trust[0]) as second:
                await second.next()
            key.write_bytes(whole)
            for path, other in zip((cert, key), others, strict=True):
                path.write_bytes(other.read_bytes())
            await server.reload()
            async with dial(server, ssl=trust[1]) as third:
                await third.next()
            with pytest.raises(ssl.SSLError):
                async with dial(server, ssl=trust[0]):
                    """The old one is not shown any more."""
            await first.finish()
            assert first.code == 1000

    asyncio.run(patience(scene()))


def test_tokens_are_read_anew_and_those_that_have_gone_are_shown_out(token_file: str) -> None:
    """Others notice nothing, and a file without tokens changes nothing."""

    async def scene() -> None:
        async with (
            guarded(token_file) as server,
            dial(server, headers=bearer(BOTH)) as stays,
            dial(server, headers=bearer(SEND)) as goes,
            dial(server, "/v1/events", query="all", headers=bearer(LISTEN)) as listens,
        ):
            for wire in (stays, goes, listens):
                await wire.next()
            new = "newly-0123456789abcdef"
            Path(token_file).write_text("# by mistake\n")
            await server.reload()
            async with dial(server, headers=bearer(SEND)) as wire:
                assert (await wire.next())["type"] == "session.created"
            Path(token_file).write_text(f"meeting send,listen {BOTH}\nphone send {new}\n")
            await server.reload()
            for wire in (goes, listens):
                await wire.connection.wait_closed()
                assert wire.connection.close_code == 1008
            assert (await refusal(server, headers=bearer(SEND)))[0] == 401
            async with dial(server, headers=bearer(new)) as wire:
                assert (await wire.next())["type"] == "session.created"
            told = await stays.finish()
            assert told[-1]["type"] == "streamser.session.closed"
            assert stays.code == 1000

    asyncio.run(patience(scene()))


@pytest.mark.parametrize("lacking", ["server.tls_cert", "server.tls_key", "both", "a file"])
def test_tls_needs_certificate_and_key(certificate: tuple[str, str], lacking: str) -> None:
    """One without the other, or something else in their place, is refused before serving."""
    flags: dict[str, Any] = dict(
        zip(("server.tls_cert", "server.tls_key"), certificate, strict=True)
    )
    if lacking == "both":
        flags = dict.fromkeys(flags, __file__)
    elif lacking == "a file":
        flags["server.tls_cert"] = "/nowhere/cert.pem"
    else:
        flags[lacking] = None
    with pytest.raises(ConfigError, match=r"server\.tls_cert"):
        EmotionServer(server_settings(flags), lambda line: None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe that nobody writes to")
def test_a_file_that_hangs_keeps_nobody_from_being_shown_out(
    token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reading is given up with a line, and the next time is heard."""
    monkeypatch.setattr("streamser.server.app._READ_S", 0.05)

    async def scene() -> list[str]:
        said: list[str] = []
        async with guarded(token_file) as server, dial(server, headers=bearer(SEND)) as goes:
            server._tell = said.append
            await goes.next()
            Path(token_file).unlink()
            os.mkfifo(token_file)
            await server.reload()
            monkeypatch.setattr("streamser.server.app._READ_S", 60.0)
            Path(token_file).unlink()
            Path(token_file).write_text(f"meeting send,listen {BOTH}\n")
            await server.reload()
            await goes.connection.wait_closed()
        return said

    said = asyncio.run(patience(scene()))
    assert said[0] == (
        "Tokens and certificate stay as they were: their files cannot be read within 0.05 s."
    )
    assert said[-1] == "Tokens and certificate are read anew."
