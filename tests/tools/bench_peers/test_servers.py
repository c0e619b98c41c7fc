from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tools.bench_peers.errors import BenchError
from tools.bench_peers.servers import Recipe, digest, recipe, running, version_of, weights_at

SERVE = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); s.accept()"


def free_port() -> int:
    """Find a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def program(code: str, port: int) -> Recipe:
    """Make a server of a few lines."""
    return Recipe("peer", "1.0", (sys.executable, "-c", code, str(port)), port, "peer")


def alive(pid: int) -> bool:
    """Say whether a process is there."""
    return Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_server_runs_while_it_is_measured() -> None:
    """It listens when the block begins; nothing of it is left behind."""
    with running(
        program(SERVE.replace("s.accept()", "[s.accept() for _ in range(9)]"), free_port())
    ) as server:
        assert alive(server.pid)
    assert not alive(server.pid)


def test_a_port_in_use_costs_one_line() -> None:
    """Somebody else's server is not measured by mistake."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        made = program(SERVE, other.getsockname()[1])
        with pytest.raises(BenchError, match=rf"port {made.port}.*is in use"), running(made):
            pass


def test_a_server_that_does_not_come_up_is_quoted() -> None:
    """Its exit code and its last lines say why."""
    made = program("print('loading'); print('no such model'); raise SystemExit(3)", free_port())
    with pytest.raises(BenchError, match=r"exit code 3\): loading / no such model"), running(made):
        pass


def test_a_server_that_is_not_installed_costs_one_line(tmp_path: Path) -> None:
    """The line says how to install it."""
    with pytest.raises(BenchError, match=r"whisper-live is not installed.*make bench-peers"):
        recipe("whisperlive", tmp_path, tmp_path, "")
    with pytest.raises(BenchError, match=r"no-such-package is not installed in"):
        version_of(Path(sys.executable), "no-such-package")


def test_weights_are_looked_at_before_anything_starts(tmp_path: Path) -> None:
    """A folder without a model is refused, one with it is taken."""
    with pytest.raises(BenchError, match=r"has no model\.bin"):
        weights_at(tmp_path)
    (tmp_path / "model.bin").touch()
    assert weights_at(tmp_path) == tmp_path.resolve()
    assert digest(tmp_path) == "e3b0c44298fc1c14"


def test_this_server_is_started_as_asked_for(tmp_path: Path) -> None:
    """It is the one of this Python; what is shown has no place of this machine in it."""
    made = recipe("streamser", tmp_path, tmp_path, "--config embedded --set 'a.b=c d'")
    assert made.command[:4] == (sys.executable, "-m", "streamser", "serve")
    assert "a.b=c d" in made.command
    assert made.shown == "streamser serve --config embedded --set 'a.b=c d'"
    made = recipe("streamser", tmp_path, tmp_path, f"--asr-model {tmp_path}")
    assert made.shown == "streamser serve --asr-model WEIGHTS"
