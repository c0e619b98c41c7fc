"""Run the programs that others wrote, each in an environment of its own, against our server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

__all__ = ["TOKEN", "Peer", "Report"]

TOKEN = "a-token-for-the-peers"
_ROOT = Path(__file__).parents[2]
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
        self._python = _ROOT / ".venv-peers" / environment / "bin" / "python"
        self._script = _CLIENTS / script
        missing = f".venv-peers/{environment} is missing: `make test-peers` makes it"
        needed = pytest.mark.skipif(not self._python.exists(), reason=missing)
        self.marks = [pytest.mark.peers, needed]

    def run(self, *arguments: object) -> Report:
        """Run to the end, within a minute and a half."""
        done = subprocess.run(
            [self._python, self._script, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        seen = [json.loads(line) for line in done.stdout.splitlines()]
        return Report(seen, done.returncode, done.stderr)

    def succeed(self, *arguments: object) -> Report:
        """Run to a good end: nothing was raised, and nothing complained of."""
        report = self.run(*arguments)
        assert (report.code, report.errors) == (0, "")
        return report
