"""The examples for proxies, run for real: a recording goes in with TLS, its events come out."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from streamser.client import connect, subscribe
from streamser.events import EmotionCompleted, SessionClosed
from tests.certificates import self_signed
from tests.cli.running import start
from tests.deploy.dockerfile import ROOT
from tests.deploy.sockets import free_port
from tests.server.serving import demo, dial, kinds, patience, refusal

pytestmark = pytest.mark.slow
TOKEN = "a-token-for-who-comes-by-proxy"
PATIENCE_S = 30.0


class Front(NamedTuple):
    """Hold where a proxy answers, what to believe, and where it writes."""

    name: str
    port: int
    ca: str
    log: Path

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"https://localhost:{self.port}/"

    @property
    def trusted(self) -> ssl.SSLContext:
        """Return a context that believes the proxy's certificate alone."""
        return ssl.create_default_context(cafile=self.ca)


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    """Serve with tokens and give the port; emotion by rules, no words: that is not the question."""
    child = start(
        *("serve", "--port", "0", "--config", "voice-only", "--workers", "1"),
        *("--set", "emotion.model=rules"),
        env=os.environ | {"STREAMSER_TOKENS": f"all send,listen {TOKEN}"},
    )
    assert child.stderr is not None
    told = []
    for line in child.stderr:
        told.append(line)
        if match := re.match(r"Serving http://127.0.0.1:(\d+)/ ", line):
            break
    else:
        pytest.fail(f"the server did not come up: {''.join(told)}")
    yield int(match[1])
    child.terminate()
    assert "Traceback" not in child.communicate(timeout=60)[1]
    assert child.returncode == 0


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def front(
    request: pytest.FixtureRequest, upstream: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Put a proxy before the server, as its example says, on ports of this test's own."""
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not here: apt-get install {name}")
    folder = tmp_path_factory.mktemp(name)
    # Where workers of nginx run as somebody else, they write below it.
    folder.chmod(0o711)
    with (nginx if name == "nginx" else caddy)(folder, upstream) as there:
        yield there


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[Front]:
    """Run nginx with the example: its ports, certificate and log are replaced, nothing else."""
    cert, key = self_signed(folder)
    port, plain, log = free_port(), free_port(), folder / "streamser.log"
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r" +listen \[::\]:.*\n", "", text)
    for old, new in {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "voice.example;": "localhost;",
        "/etc/ssl/voice.example/fullchain.pem": cert,
        "/etc/ssl/voice.example/privkey.pem": key,
        "/var/log/nginx/streamser.log": str(log),
        "127.0.0.1:8377;": f"127.0.0.1:{upstream};",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "streamser.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    spare = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ {spare} include {folder}/streamser.conf; }}\n"
    )
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    there = Front("nginx", port, cert, log)
    with running(command, there, {}, folder / "said"):
        yield there


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[Front]:
    """Run Caddy with the example as it is; it signs for ``localhost`` with a root of its own."""
    port = free_port()
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    # Neither the machine's trusted roots nor its port 80 are touched.
    ours = "{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(ours + text)
    place = {
        "STREAMSER_SITE": f"https://localhost:{port}",
        "STREAMSER_UPSTREAM": f"127.0.0.1:{upstream}",
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    command = ["caddy", "run", "--config", str(folder / "Caddyfile")]
    root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    there = Front("caddy", port, str(root), folder / "said")
    with running(command, there, place, folder / "said"):
        yield there


@contextmanager
def running(
    command: list[str], front: Front, environment: dict[str, str], said: Path
) -> Iterator[None]:
    """Run a proxy until the block ends, which begins once it answers."""
    with said.open("w") as log:
        child = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE_S
        while not answers(front):
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
            assert child.poll() is None, said.read_text()
            assert time.monotonic() < until, said.read_text()
        yield
    finally:
        child.terminate()
        child.wait(PATIENCE_S)


def answers(front: Front) -> bool:
    """Return whether a proxy answers by now, with a certificate that is believed."""
    try:
        return fetch(front, "/healthz")[0] == 200
    except OSError:
        return False


def fetch(front: Front, path: str, **headers: str) -> tuple[int, bytes]:
    """Get a page through the proxy; return status and body."""
    asked = Request(f"{front.url}{path[1:]}", headers=headers)
    try:
        with urlopen(asked, timeout=10, context=front.trusted) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def test_a_recording_goes_through_and_its_emotions_come_back(front: Front) -> None:
    """To who sent it, and to a listener; the stream ends well."""

    async def scene() -> tuple[list[object], int]:
        url, heard = front.url, 0
        async with connect(url, meeting=front.name, token=TOKEN, ca=front.ca) as session:
            await session.send(demo())
            await session.finish()
            told: list[object] = [event async for event in session]
        listening = subscribe(url, meeting=front.name, after=0, token=TOKEN, ca=front.ca)
        async with aclosing(listening) as live:
            async for stamped in live:
                heard += isinstance(stamped.event, EmotionCompleted)
                if isinstance(stamped.event, SessionClosed):
                    break
        return told, heard

    told, heard = asyncio.run(patience(scene()))
    finals = [event for event in told if isinstance(event, EmotionCompleted)]
    assert (len(finals), heard) == (4, 4)
    assert isinstance(told[-1], SessionClosed)


def test_the_page_comes_and_may_connect_to_where_it_came_from(front: Front) -> None:
    """Its own origin, with the port, is let in; that of another site is not."""
    status, page = fetch(front, "/")
    assert (status, b"streamser" in page) == (200, True)
    offered = ["streamser.v1", f"streamser.token.{TOKEN}"]

    async def scene() -> int | None:
        own = front.url.rstrip("/")
        async with dial(front, origin=own, subprotocols=offered, ssl=front.trusted) as wire:
            assert (await wire.next())["type"] == "session.created"
        other = "https://localhost"
        async with dial(front, origin=other, subprotocols=offered, ssl=front.trusted) as wire:
            assert kinds(await wire.rest()) == ["error"]
            return wire.code

    assert asyncio.run(patience(scene())) == 4403


def test_a_refusal_comes_back_as_it_is(front: Front) -> None:
    """Status and reason are the server's; what is alive and what is secret are as without it."""
    assert fetch(front, "/healthz")[0] == 200
    assert fetch(front, "/metrics")[0] == 401
    assert fetch(front, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200

    query = "token=not-a-token-of-it"
    status, _, error = asyncio.run(patience(refusal(front, query=query, ssl=front.trusted)))
    assert (status, error["code"]) == (401, "unauthorized")
    assert "not-a-token-of-it" not in front.log.read_text()
