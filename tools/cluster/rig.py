"""A Redis, servers and an HAProxy as child processes, which can be killed and begun anew."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from streamser.cluster.haproxy import Backend, haproxy_config
from streamser.errors import StreamserError

__all__ = ["TTL_S", "Child", "Node", "Rig", "free_port"]

TTL_S = 2.0
"""After so long without a sign of life a server counts as gone."""
_START_S = 120.0
_SETTINGS = """\
[worker]
processes = {workers}
[server]
speed = 50.0
message_rate = 1000.0
resume_s = 10.0
late_s = 0.0
max_sessions = {most}
[cluster]
ttl_s = {ttl}
"""


class Child:
    """Run a program until it is stopped; what it says goes to a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return its number; only while it runs."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begin it, or begin it anew."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def ended(self, within_s: float = 30.0) -> int:
        """Wait for its end; return its code. Raises ``TimeoutError``."""
        assert self._process is not None, "it was never begun"
        async with asyncio.timeout(within_s):
            while (code := self._process.poll()) is None:
                await asyncio.sleep(0.02)
        return code

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            await self.ended()


class Node(Child):
    """Run a server of the cluster."""

    def __init__(self, command: list[str], log: Path, name: str, port: int) -> None:
        super().__init__(command, log)
        self.name = name
        self.place = f"127.0.0.1:{port}"

    @property
    def url(self) -> str:
        """Return where its sockets are."""
        return f"ws://{self.place}"

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of a page; 0 where nobody answers."""
        try:
            with urlopen(f"http://{self.place}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            return refused.code, refused.read().decode()
        except (URLError, OSError):
            return 0, ""

    async def ready(self) -> None:
        """Wait until it takes streams in; raises ``StreamserError`` where it does not."""
        try:
            async with asyncio.timeout(_START_S):
                while (await asyncio.to_thread(self.ask, "/readyz"))[0] != 200:
                    if not self.runs:
                        break
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pass
        else:
            if self.runs:
                return
        said = self.log.read_text(encoding="utf-8")[-500:]
        raise StreamserError(f"server {self.name} does not start: {said}")


class Rig:
    """Keep the parts of a cluster of so many servers, each with room for ``most`` streams.

    With ``workers`` each has so many processes for them besides its own.
    Raises ``StreamserError`` where a part cannot be had.
    """

    def __init__(self, size: int, most: int = 64, workers: int = 0) -> None:
        for program in ("redis-server", "haproxy"):
            if shutil.which(program) is None:
                raise StreamserError(f"{program} is missing: apt install redis-server haproxy")
        self.folder = Path(tempfile.mkdtemp(prefix="streamser-cluster-"))
        self.redis_port = free_port()
        self.redis = Child(
            [
                "redis-server",
                *("--port", str(self.redis_port), "--bind", "127.0.0.1"),
                *("--save", "", "--dir", str(self.folder)),
            ],
            self.folder / "redis.log",
        )
        settings = self.folder / "node.toml"
        settings.write_text(
            _SETTINGS.format(ttl=TTL_S, most=most, workers=workers), encoding="utf-8"
        )
        self._settings = settings
        self.nodes = [self._node("abcdefgh"[number]) for number in range(size)]
        self.port = free_port()
        self.proxy: Child | None = None

    @property
    def url(self) -> str:
        """Return where clients come in."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def redis_url(self) -> str:
        """Return where Redis is."""
        return f"redis://127.0.0.1:{self.redis_port}/0"

    async def __aenter__(self) -> Rig:
        """Start everything."""
        self.redis.start()
        for node in self.nodes:
            node.start()
        await asyncio.gather(*(node.ready() for node in self.nodes))
        if self.nodes:
            await self.restart_proxy()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        for child in (self.proxy, *self.nodes, self.redis):
            if child is not None:
                await child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def add_node(self) -> Node:
        """Start one server more, and let the proxy know it."""
        node = self._node("abcdefgh"[len(self.nodes)])
        node.start()
        await node.ready()
        self.nodes.append(node)
        await self.restart_proxy()
        return node

    async def restart_proxy(self) -> None:
        """Let the proxy know the servers there are; who is connected stays so."""
        config = self.folder / "haproxy.cfg"
        backends = [Backend(node.name, node.place) for node in self.nodes]
        config.write_text(haproxy_config(backends, f"127.0.0.1:{self.port}"), encoding="utf-8")
        old = self.proxy
        command = ["haproxy", "-f", str(config), "-db"]
        if old is not None and old.runs:
            command += ["-sf", str(old.pid)]
        self.proxy = Child(command, self.folder / "haproxy.log")
        self.proxy.start()
        async with asyncio.timeout(_START_S):
            while not await asyncio.to_thread(_answers, self.port):
                if not self.proxy.runs:
                    raise StreamserError(f"HAProxy does not start: {self.proxy.log.read_text()}")
                await asyncio.sleep(0.05)

    def _node(self, name: str) -> Node:
        port = free_port()
        command = [
            *(sys.executable, "-m", "streamser", "serve", "--config", "voice-only"),
            *("--config", str(self._settings), "--port", str(port)),
            *("--redis", self.redis_url, "--address", f"ws://127.0.0.1:{port}"),
        ]
        return Node(command, self.folder / f"{name}.log", name, port)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: Any = probe.getsockname()[1]
        return int(found)


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
