"""Who may come in: tokens, roles, pages of other sites, other machines; and what nobody sees."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamser.errors import ConfigError
from streamser.server.app import EmotionServer
from streamser.server.auth import read_tokens
from streamser.settings_loader import load_settings
from tests.certificates import self_signed
from tests.server.serving import Told, Wire, dial, patience, refusal, server_settings, serving
from tests.server.test_limits import turned_away

BOTH = "both-0123456789abcdef"
SEND = "send-0123456789abcdef"
LISTEN = "listen-0123456789abcdef"
TOKENS = (BOTH, SEND, LISTEN)
WRONG = "wrong-0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """Write a file of tokens."""
    path = tmp_path / "tokens.txt"
    path.write_text(
        f"# who  may  token\nmeeting send,listen {BOTH}\nphone send {SEND} # of the hall\n\n"
        f"display listen {LISTEN}\n"
    )
    return str(path)


@asynccontextmanager
async def guarded(
    token_file: str, flags: dict[str, Any] | None = None
) -> AsyncIterator[EmotionServer]:
    """Run a server that wants tokens."""
    async with serving({"server.token_file": token_file, **(flags or {})}) as server:
        yield server


def bearer(token: str) -> dict[str, str]:
    """Give a token as programs do."""
    return {"Authorization": f"Bearer {token}"}


async def raw_request(server: EmotionServer, target: bytes, *headers: bytes) -> bytes:
    """Send a request with bytes no library would send; return the answer."""
    place = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    lines = [
        b"GET " + target + b" HTTP/1.1",
        b"Host: " + place.netloc.encode(),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *headers,
    ]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    answer = await reader.read(65_536)
    writer.close()
    return answer


# Tokens


@pytest.mark.parametrize(
    "how",
    [
        {"headers": bearer(BOTH)},
        {"headers": {"Authorization": f"bearer {BOTH}"}},
        {"headers": {"Authorization": f"Token {BOTH}"}},
        {"query": f"token={BOTH}"},
        {"subprotocols": ["streamser.v1", f"streamser.token.{BOTH}"]},
        {"subprotocols": ["realtime", f"openai-insecure-api-key.{BOTH}"]},
        {"subprotocols": ["token", BOTH]},
    ],
    ids=["bearer", "lower case", "Token", "query", "ours", "OpenAI's", "Deepgram's"],
)
def test_a_token_may_be_given_in_many_ways(token_file: str, how: dict[str, Any]) -> None:
    """By header, query or subprotocol, to send and to listen; the subprotocol answered has none."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            async with dial(server, **how) as wire:
                assert (await wire.next())["type"] == "session.created"
                chosen = wire.connection.subprotocol
                assert chosen == (how["subprotocols"][0] if "subprotocols" in how else None)
            if "query" in how:
                how["query"] += "&all"
            else:
                how["query"] = "all"
            async with dial(server, "/v1/events", **how) as wire:
                assert (await wire.next())["type"] == "streamser.snapshot"

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"headers": bearer(WRONG)},
        {"headers": bearer(BOTH[:-1])},
        {"headers": bearer(BOTH + "x")},
        {"headers": {"Authorization": f"Basic {BOTH}"}},
        {"headers": {"Authorization": BOTH}},
        {"query": f"token={WRONG}&token="},
        {"query": f"token={BOTH}%00"},
        {"subprotocols": ["streamser.v1", f"streamser.token.{WRONG}"]},
        # Where several are given, the header counts: nobody tries two at once.
        {"headers": bearer(WRONG), "query": f"token={BOTH}"},
    ],
)
def test_without_the_right_token_nobody_comes_in(token_file: str, how: dict[str, Any]) -> None:
    """Programs get 401 before a socket is opened, pages 4401 after an error that says why."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            query = how.pop("query", "")
            for path in ("/v1/realtime", "/v1/events", "/v1/listen"):
                asked = f"{query}&all" if path == "/v1/events" else query
                code, headers, error = await refusal(server, path, query=asked, **how)
                assert code == 401
                assert headers["WWW-Authenticate"].startswith("Bearer")
                assert error["type"] == "invalid_request_error"
                assert error["code"] == "unauthorized"
                assert not any(token in json.dumps(error) for token in (*TOKENS, WRONG))
                told, closed, _ = await turned_away(server, path, query=asked, **how)
                assert (told["code"], closed) == ("unauthorized", 4401)

    asyncio.run(patience(scene()))


def test_a_token_does_what_its_roles_say(token_file: str) -> None:
    """One that may only send cannot listen, and the other way round."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            for path, query, right, wrong in (
                ("/v1/realtime", "", SEND, LISTEN),
                ("/v1/listen", "", SEND, LISTEN),
                ("/v1/events", "all", LISTEN, SEND),
            ):
                how = {"query": query, "headers": bearer(wrong)}
                code, _, error = await refusal(server, path, **how)
                assert (code, error["code"]) == (403, "forbidden")
                assert wrong not in error["message"]
                told, closed, _ = await turned_away(server, path, **how)
                assert (told["code"], closed) == ("forbidden", 4403)
                async with dial(server, path, query=query, headers=bearer(right)):
                    pass

    asyncio.run(patience(scene()))


def test_tokens_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``STREAMSER_TOKENS`` holds them, with semicolons between; it is no setting."""
    monkeypatch.setenv("STREAMSER_TOKENS", f"a send {SEND}; b listen {LISTEN}")
    load_settings()

    async def scene() -> None:
        async with serving() as server:
            assert (await refusal(server))[0] == 401
            async with dial(server, headers=bearer(SEND)) as wire:
                await wire.next()

    asyncio.run(patience(scene()))


def test_a_stream_belongs_to_the_token_that_began_it(token_file: str) -> None:
    """Knowing a stream's secret is of no use with another token."""

    async def created(wire: Wire) -> Told:
        event = await wire.next()
        assert event["type"] == "session.created"
        return event

    async def scene() -> None:
        query = "stream=a-secret-of-the-client&after=1"
        async with (
            guarded(token_file) as server,
            dial(server, query=query, headers=bearer(BOTH)) as first,
        ):
            session_id = (await created(first))["session_id"]
            async with dial(server, query=query, headers=bearer(SEND)) as second:
                assert (await created(second))["session_id"] != session_id
            async with dial(server, query=query, headers=bearer(BOTH)) as third:
                resumed = await third.next()
                assert resumed["type"] == "streamser.session.resumed"
                assert resumed["session_id"] == session_id

    asyncio.run(patience(scene()))


def test_a_token_for_one_speaker_gets_no_stream_of_another(tmp_path: Path) -> None:
    """Though both have the same name, and it knows the secret."""
    file = tmp_path / "tokens"
    file.write_text(f"hall send speaker=Ann {SEND}\nhall send speaker=Ben {BOTH}\n")

    async def scene() -> None:
        query = "stream=a-secret-of-the-client"
        async with (
            guarded(str(file)) as server,
            dial(server, query=query, headers=bearer(SEND)) as ann,
            dial(server, query=query, headers=bearer(BOTH)) as ben,
        ):
            told = [await wire.next() for wire in (ann, ben)]
            assert [each["type"] for each in told] == ["session.created"] * 2
            speakers = [each["session"]["speaker"] for each in told]
            assert speakers == ["Ann", "Ben"]

    asyncio.run(patience(scene()))


def test_a_token_for_one_meeting_sees_that_it_is_held_and_no_other(tmp_path: Path) -> None:
    """In the list of meetings, and in what it hears."""
    file = tmp_path / "tokens"
    file.write_text(f"all send,listen {BOTH}\nguest listen meeting=all%20hands {LISTEN}\n")

    async def scene() -> None:
        async with (
            guarded(str(file)) as server,
            dial(server, query="meeting=board", headers=bearer(BOTH)) as board,
            dial(server, query="meeting=all+hands", headers=bearer(BOTH)) as hands,
        ):
            for wire in (board, hands):
                await wire.next()
            head = f"Authorization: Bearer {LISTEN}".encode()
            listed = await raw_request(server, b"/v1/meetings", head)
            assert b'"all hands"' in listed
            assert b'"board"' not in listed
            async with dial(server, "/v1/events", headers=bearer(LISTEN)) as guest:
                snapshot = await guest.next()
                (session,) = snapshot["sessions"]
                assert session["session"]["meeting"] == "all hands"

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    ("target", "header"),
    [
        (b"/v1/realtime", b"Authorization: Bearer \xff\xfe\xfd"),
        (b"/v1/realtime?token=%ff%fe", b"X-Nothing: here"),
        (b"/v1/realtime", b"Sec-WebSocket-Protocol: streamser.token.\xff"),
    ],
    ids=["header", "query", "subprotocol"],
)
def test_bytes_that_are_no_text_are_a_wrong_token(
    token_file: str, target: bytes, header: bytes
) -> None:
    """Whatever is given for a token, the answer is that it is not known: 401."""

    async def scene() -> bytes:
        async with guarded(token_file) as server:
            return await raw_request(server, target, header)

    assert asyncio.run(patience(scene())).startswith(b"HTTP/1.1 401 ")


# Pages


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


@pytest.mark.parametrize("given", ["0123456789abcdeX", "X123456789abcdef", "0123456789abcdef0"])
def test_secrets_of_streams_are_compared_whole(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a time that tells nothing: never by ``==``, which ends at the first difference."""
    compared: list[tuple[bytes, bytes]] = []
    usual = hmac.compare_digest

    def compare(known: bytes, offered: bytes) -> bool:
        compared.append((known, offered))
        return usual(known, offered)

    async def scene() -> tuple[str, str]:
        async with serving() as server, dial(server, query="stream=0123456789abcdef") as first:
            session_id: str = (await first.next())["session_id"]
            monkeypatch.setattr(hmac, "compare_digest", compare)
            async with dial(server, query=f"stream={given}") as other:
                return session_id, (await other.next())["session_id"]

    mine, other = asyncio.run(patience(scene()))
    assert mine != other
    assert (b"0123456789abcdef", given.encode()) in compared


# What nobody sees


def test_tokens_are_shown_nowhere(token_file: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not in logs, not in refusals, not in metrics, not in what listeners hear."""
    caplog.set_level(logging.DEBUG, "streamser")
    seen: list[str] = []

    async def scene() -> None:
        async with guarded(token_file, {"server.max_sessions": 1}) as server:
            async with dial(server, query=f"token={BOTH}&meeting=m") as wire:
                seen.append(json.dumps(await wire.next()))
                async with dial(server, "/v1/events", query=f"all&token={LISTEN}") as listener:
                    seen.append(json.dumps(await listener.next()))
                for query in (f"token={BOTH}", f"token={LISTEN}", f"token={WRONG}"):
                    seen.append(json.dumps(await refusal(server, query=query), default=str))
                    seen.append(json.dumps(await turned_away(server, query=query)))
                await wire.finish()
            seen.append(server.metrics.render().decode())
            seen.append(repr(server))

    asyncio.run(patience(scene()))
    own = [record for record in caplog.records if record.name.startswith("streamser")]
    seen += [record.getMessage() for record in own]
    for token in (*TOKENS, WRONG):
        assert not any(token in text for text in seen), token


def test_tokens_are_not_logged_by_the_library_either(
    token_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything logged that can be, no line of the server's side has a token in it."""
    caplog.set_level(logging.DEBUG)

    async def scene() -> None:
        async with guarded(token_file) as server:
            for how in (
                {"query": f"token={BOTH}"},
                {"headers": bearer(BOTH)},
                {"subprotocols": ["streamser.v1", f"streamser.token.{BOTH}"]},
            ):
                async with dial(server, **how) as wire:
                    await wire.next()

    asyncio.run(patience(scene()))
    for record in caplog.records:
        # The client is in this process too, and is no concern of the server.
        if record.name != "websockets.client":
            assert BOTH not in record.getMessage(), record.name


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{BOTH}", "token last"),
        (f"name send {BOTH} more", "token last"),
        (f"name speak {BOTH}", "roles"),
        ("name send short-secret", "16 characters"),
        (f"a send {BOTH}\nb listen {BOTH}", "line 2: this token is there already"),
        ("# nothing", "no token"),
    ],
)
def test_a_wrong_token_file_is_explained_without_showing_a_token(
    tmp_path: Path, line: str, why: str
) -> None:
    """The file and line are named, and what is wrong; never what stands there."""
    path = tmp_path / "tokens.txt"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=why) as caught:
        read_tokens(str(path), {})
    assert str(path) in str(caught.value)
    assert BOTH not in str(caught.value)
    assert "short-secret" not in str(caught.value)


# Other machines


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
