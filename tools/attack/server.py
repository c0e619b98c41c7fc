"""A server of its own for each attack, and what it costs it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from tools.attack.wire import ask

__all__ = ["RULES", "TOKENS", "Pulse", "Server", "environment", "program"]

RULES: Final = ("--asr", "none", "--model", "rules")
TOKENS: Final = {"mic": "mic-token-of-the-attack", "both": "both-token-of-the-attack"}
_READY_S: Final = 60.0
_PULSE_S: Final = 0.02
_LONGEST_S: Final = 16.0


def program(*words: str) -> list[str]:
    """Return the command line of the program under attack."""
    return [sys.executable, "-c", "from streamser.cli.main import main; main()", *words]


def environment(tree: Path, plugins: Path | None = None) -> dict[str, str]:
    """Return an environment in which the program is the one of a tree."""
    paths = [str(tree), *([] if plugins is None else [str(plugins)])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | own


class Server:
    """Run ``streamser serve`` with the rules, on a port of its own; ends it with the block."""

    def __init__(
        self,
        tree: Path,
        words: Sequence[str] = (),
        *,
        model: str = "rules",
        plugins: Path | None = None,
        open_files: int | None = None,
        ready: bool = True,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._folder = tempfile.TemporaryDirectory(prefix="streamser-attack-")
        folder = Path(self._folder.name)
        tokens = folder / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text(f"mic send {TOKENS['mic']}\nboth send,listen {TOKENS['both']}\n")
        self.log = folder / "log"
        fixed = ("serve", "--offline", "--asr", "none", "--model", model, "--port", str(self.port))
        command = program(*fixed, "--token-file", str(tokens), *words)

        def fewer_files() -> None:
            if open_files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                # Python looks for the program there first.
                cwd=folder,
                env=environment(tree, plugins),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=fewer_files,
            )
        if ready:
            self.wait("/readyz")

    def wait(self, path: str) -> None:
        """Wait until a page is there; raises ``RuntimeError`` where it never is."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if ask(self.port, path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"the server never answers {path}: {self.log.read_text()[-500:]}")

    def url(self, path: str, token: str = "both") -> str:
        """Return an address of it, with a token."""
        joint = "&" if "?" in path else "?"
        return f"ws://127.0.0.1:{self.port}{path}{joint}token={TOKENS[token]}"

    def memory_mb(self) -> float:
        """Return what it holds of the machine's memory, MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        line = next(each for each in status.splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def end(self, patience_s: float) -> float:
        """Send SIGTERM; return how long it took to end, s, infinite where it had to be killed."""
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._kill()
            return float("inf")
        return time.monotonic() - began

    def _kill(self) -> None:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        young = children.read_text().split() if children.exists() else []
        self._process.kill()
        self._process.wait()
        for child in young:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(20)
        self._folder.cleanup()


class Pulse:
    """Ask ``/healthz`` all the while; ``worst_ms`` is the longest wait for an answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._waits: list[float] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)

    @property
    def worst_ms(self) -> float:
        """Return the longest wait, ms; infinite where there was no answer at all."""
        return max(self._waits, default=float("inf"))

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_LONGEST_S + 1)

    def _ask(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                ask(self._port, "/healthz", timeout=_LONGEST_S)
            except OSError:
                self._over.wait(0.1)
            self._waits.append((time.monotonic() - began) * 1000)
            self._over.wait(_PULSE_S)
