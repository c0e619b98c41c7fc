"""The way to a server: no proxy unasked, certificates that are believed, no secret told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import create_default_context

import pytest

from streamser.client import ServerError, connect, subscribe
from streamser.client.wire import plan_route
from tests.certificates import self_signed
from tests.client.pretend import RATE, numbered
from tests.client.scripted import FakeTime, ScriptedServer, play
from tests.server.serving import serving

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "socks_proxy")
CLOSED = "http://127.0.0.1:9"
TOKEN = "a-token-of-sixteen-and-more"
FAR = "ws://streamser.invalid:8377"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Make a certificate for this machine, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def proxy(heard: list[bytes]) -> AsyncIterator[str]:
    """Give the address of a proxy that notes what it is asked, and makes no connection."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://me:secret@127.0.0.1:{port}"


def fault_of(url: str, **how: str) -> str:
    """Return why there is no connection."""

    async def scene() -> str:
        with pytest.raises(ServerError) as raised:
            async with connect(url, timing=FakeTime().timing, **how):  # type: ignore[arg-type]
                pass
        return str(raised.value)

    return asyncio.run(scene())


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("value", [CLOSED, "socks5h://127.0.0.1:9"])
def test_a_proxy_of_the_environment_sees_nothing_of_this_machine(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sender and listener connect although it does not work."""
    monkeypatch.setenv(name, value)
    monkeypatch.setenv(name.upper(), value)

    async def scene() -> None:
        async with ScriptedServer() as server, connect(server.url, rate=RATE) as session:
            await session.send(numbered(0, 100))
        async with serving(load=False) as real:
            told = subscribe(real.local_url)
            await anext(told)
            await told.aclose()

    play(scene())


def test_nor_does_it_of_other_machines_but_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the direct way fails, the line says how a proxy is given."""
    heard: list[bytes] = []

    async def scene() -> None:
        async with proxy(heard) as address:
            monkeypatch.setenv("HTTP_PROXY", address)
            monkeypatch.setenv("HTTPS_PROXY", address)
            told = await asyncio.to_thread(fault_of, FAR)
            assert "--proxy" in told
            assert "secret" not in told

    asyncio.run(scene())
    assert not heard


def test_a_proxy_that_was_asked_for_is_used_and_named() -> None:
    """Every line about the connection names it, without its password; it never sees a token."""
    heard: list[bytes] = []

    async def scene() -> None:
        async with proxy(heard) as address:
            told = await asyncio.to_thread(fault_of, FAR, proxy=address, token=TOKEN)
            assert f"through the proxy {address.replace('me:secret@', '')}: the proxy" in told
            assert "407" in told

    asyncio.run(scene())
    assert heard[0].startswith(b"CONNECT streamser.invalid:8377 ")
    assert TOKEN.encode() not in heard[0]


@pytest.mark.parametrize(
    "url",
    ["ws://127.0.0.1:1", "wss://localhost", "ws://[::1]:1", "ws://0.0.0.0:1", "ws://127.9.9.9"],
)
def test_no_proxy_stands_before_this_machine(url: str) -> None:
    """What is sent to it would leave it."""
    assert "this machine" in fault_of(url, proxy=CLOSED)


@pytest.mark.parametrize("address", ["", "host:3128", "ftp://secret@h", "http://me:secret@"])
def test_what_is_no_proxy_is_told(address: str) -> None:
    """With an example of one."""
    told = fault_of(FAR, proxy=address)
    assert "http://proxy" in told
    assert "secret" not in told


def test_a_socks_proxy_that_cannot_be_spoken_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that says which package is missing."""
    monkeypatch.setattr("streamser.client.wire.find_spec", lambda name: None)
    assert "pip install 'python-socks" in fault_of(FAR, proxy="socks5://h:1080")


def test_a_certificate_of_ones_own_is_believed(
    certificate: tuple[str, str], tmp_path: Path
) -> None:
    """By its file or in a context; without, the line says how it is given."""
    cert, key = certificate

    async def scene() -> None:
        flags = {"server.tls_cert": cert, "server.tls_key": key}
        async with serving(flags) as server:
            url = server.local_url
            async with connect(url, ca=cert) as session:
                assert session.id
            async with connect(url, ssl=create_default_context(cafile=cert)) as session:
                assert session.id
            told = subscribe(url, ca=Path(cert))
            await anext(told)
            await told.aclose()
            message = await asyncio.to_thread(fault_of, url + "?token=secret")
            assert "--ca FILE" in message
            assert "ca=" in message
            assert "secret" not in message

    asyncio.run(scene())


def test_a_certificate_that_cannot_be_used_is_told(
    certificate: tuple[str, str], tmp_path: Path
) -> None:
    """No file, one that holds none, and one for an address without TLS."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    assert "No such file" in fault_of("wss://h", ca="/nowhere/ca.pem")
    assert f"{empty}: it holds no certificate" in fault_of("wss://h", ca=str(empty))
    assert "write wss://" in fault_of("ws://h", ca=certificate[0])
    with pytest.raises(ValueError, match="ca or ssl"):
        plan_route("wss://h", ca=certificate[0], tls=create_default_context())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Elsewhere", "308 Elsewhere"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """Wherever it leads: neither token nor sound go where nobody has sent them."""

    async def scene() -> None:
        asked: list[bytes] = []

        async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            place = f"Location: ws://127.0.0.1:{port}/v1/realtime?again=1"
            writer.write(f"HTTP/1.1 {status}\r\n{place}\r\n\r\n".encode())
            writer.close()

        async with await asyncio.start_server(send_on, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            told = await asyncio.to_thread(fault_of, f"ws://127.0.0.1:{port}", token="secret")
            assert "sends us on to another address" in told
            assert len(asked) == 1

    asyncio.run(scene())


def test_a_redirect_tells_no_secret() -> None:
    """The address that it leads to may repeat the token."""

    async def scene() -> None:
        async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            place = b"gopher://h/?token=secret"
            writer.write(b"HTTP/1.1 301 Moved\r\nLocation: " + place + b"\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(send_on, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            told = await asyncio.to_thread(fault_of, f"ws://127.0.0.1:{port}?token=secret")
            assert "secret" not in told

    asyncio.run(scene())


def test_the_other_kind_of_address_is_named_where_it_may_be_meant(
    certificate: tuple[str, str],
) -> None:
    """Sound for TLS at a plain server, and the other way round."""
    cert, key = certificate
    secured = {"server.tls_cert": cert, "server.tls_key": key}

    async def scene() -> tuple[str, str]:
        async with serving() as plain, serving(secured) as safe:
            at = (plain.local_url.replace("http:", "wss:"), safe.local_url.replace("https:", "ws:"))
            told = [await asyncio.to_thread(fault_of, url) for url in at]
            return told[0], told[1]

    to_plain, to_safe = asyncio.run(scene())
    assert "; if it speaks no TLS, write ws://. See" in to_plain
    assert "; if it wants TLS, write wss://. See" in to_safe
