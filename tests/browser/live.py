"""A live server and a driven browser, for the tests of the page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["LiveServer", "drive", "missing_tool"]

CHROMIUM = Path("/usr/bin/chromium")
_DRIVER = Path(__file__).with_name("drive.mjs")
_START_S = 60.0


def missing_tool() -> str | None:
    """Return why no browser can be driven here, or None; fetches playwright-core if told where."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is not installed"
    folder = os.environ.get("STREAMSER_PLAYWRIGHT")
    if not folder:
        return "set STREAMSER_PLAYWRIGHT to a folder for playwright-core (npm installs it there)"
    if not (Path(folder) / "node_modules" / "playwright-core").is_dir():
        if shutil.which("npm") is None:
            return "npm is not installed, and playwright-core is not in STREAMSER_PLAYWRIGHT"
        Path(folder).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, "playwright-core@1"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            return f"npm could not install playwright-core: {done.stderr.strip()[-200:]}"
    return None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LiveServer:
    """Run ``streamser serve`` on one port, as often as it is killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Return the page's address."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "streamser", "serve", "--port", str(self.port)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config", "embedded", *self._options],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no server: {(self._folder / 'server.log').read_text()}")
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(60)

    def send(self, how: signal.Signals) -> None:
        """Send a signal that does not end it."""
        assert self._process is not None
        self._process.send_signal(how)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and start it anew on the same port."""
        self.stop(how)
        self.start()

    def close(self) -> None:
        """End it, if it is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(60)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}readyz", timeout=2) as answer:
                ready: bool = answer.status == 200
                return ready
        except OSError:
            return False


def drive(
    scenario: str, *, on_step: Callable[[str], None] | None = None, **task: Any
) -> dict[str, Any]:
    """Play a scenario of ``drive.mjs``; ``on_step`` does what it asks for on the way."""
    task |= {"scenario": scenario, "chromium": str(CHROMIUM)}
    with subprocess.Popen(
        ["node", str(_DRIVER), json.dumps(task)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        assert driver.stderr is not None
        for line in driver.stdout:
            message = json.loads(line)
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if on_step is not None:
                on_step(message["step"])
            driver.stdin.write("done\n")
            driver.stdin.flush()
        raise AssertionError(driver.stderr.read())
