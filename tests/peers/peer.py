"""Run the programs that others wrote, each in an environment of its own, against our server."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

__all__ = ["AGENTS", "ROOT", "TOKEN", "Peer", "Report", "cut_after", "snippet"]

TOKEN = "a-token-for-the-peers"
ROOT = Path(__file__).parents[2]
AGENTS = ROOT / "docs" / "agents.md"
_CLIENTS = Path(__file__).parent / "clients"


class Report(msgspec.Struct, frozen=True):
    """Hold how a client fared: what its library yielded, and how it ended."""

    seen: list[dict[str, Any]]
    code: int
    errors: str

    def of(self, *types: str) -> list[dict[str, Any]]:
        """List what was of these types."""
        return [one for one in self.seen if one.get("type") in types]


class Peer:
    """Run a client's script with the Python of its environment.

    ``marks`` are for the tests that need it: without the environment they are skipped.
    """

    def __init__(self, environment: str, script: str) -> None:
        self.environment = environment
        self.python = ROOT / ".venv-peers" / environment / "bin" / "python"
        self.script = _CLIENTS / script
        missing = f".venv-peers/{environment} is missing: `make test-peers` makes it"
        needed = pytest.mark.skipif(not self.python.exists(), reason=missing)
        self.marks = [pytest.mark.peers, needed]

    def run(self, *arguments: object) -> Report:
        """Run to the end, within a minute and a half."""
        done = subprocess.run(
            [self.python, self.script, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            # Ours where a peer imports it; and no greeting by theirs.
            env=os.environ | {"PYTHONPATH": str(ROOT), "LOGURU_LEVEL": "WARNING"},
        )
        seen = [json.loads(line) for line in done.stdout.splitlines()]
        return Report(seen, done.returncode, done.stderr)

    def succeed(self, *arguments: object) -> Report:
        """Run to a good end: nothing was raised, and nothing complained of."""
        report = self.run(*arguments)
        assert (report.code, report.errors) == (0, "")
        return report


def snippet(word: str) -> int:
    """Return the number of the first Python snippet of the agents' document with this in it."""
    snippets = re.findall(r"```python\n(.*?)```", AGENTS.read_text("utf-8"), re.S)
    return next(number for number, each in enumerate(snippets) if word in each)


def cut_after(size: int, server: str) -> str:
    """Put a way in front of a server that breaks for good once so many bytes went in; its place."""
    listening = socket.create_server(("127.0.0.1", 0))

    def carry() -> None:
        client, _ = listening.accept()
        listening.close()
        host, _, port = server.rpartition(":")
        with client, socket.create_connection((host, int(port))) as beyond:
            back = threading.Thread(target=_pipe, args=(beyond, client, None), daemon=True)
            back.start()
            _pipe(client, beyond, size)
            for end in (client, beyond):
                end.shutdown(socket.SHUT_RDWR)
            back.join()

    threading.Thread(target=carry, daemon=True).start()
    return f"127.0.0.1:{listening.getsockname()[1]}"


def _pipe(source: socket.socket, sink: socket.socket, most: int | None) -> None:
    while (most is None or most > 0) and (piece := source.recv(65_536)):
        sink.sendall(piece)
        most = None if most is None else most - len(piece)
