"""The configuration that brings every meeting to one server."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from streamser.cluster.haproxy import Backend, haproxy_config, read_backend
from streamser.cluster.tunnel import CARRIED
from streamser.errors import ConfigError
from tests.certificates import self_signed
from tests.cli.running import run

TWO = [Backend("a", "10.0.0.1:8377"), Backend("b", "10.0.0.2:8377")]


def test_every_server_is_there_with_its_health() -> None:
    """And no session ends where one is full."""
    config = haproxy_config(TWO, ":9000")
    assert "bind :9000" in config
    assert re.search(r"server a 10\.0\.0\.1:8377 id \d+ check\n", config)
    assert re.search(r"server b 10\.0\.0\.2:8377 id \d+ check\n", config)
    assert "uri /readyz" in config
    assert "shutdown-sessions" not in config


def test_no_client_may_say_that_a_server_carries_it() -> None:
    """Such a connection is served where it comes to, whoever has its meeting."""
    assert f"http-request del-header {CARRIED}" in haproxy_config(TWO)


@pytest.mark.parametrize(
    "bind", ["garbage", "", ":", ":0", ":99999", ":x", "h h:1", ":1 ssl", "h\n:1", ":\u0661"]
)
def test_where_clients_come_in_is_a_host_and_a_port(bind: str) -> None:
    """Else HAProxy would say so later, in words of its own."""
    with pytest.raises(ConfigError, match=r"^--bind .*: write it like :8080"):
        haproxy_config(TWO, bind)


@pytest.mark.parametrize("bind", [":443", "*:443", "10.0.0.4:443", "[::]:443", "voice.example:443"])
def test_clients_may_come_in_by_any_address(bind: str) -> None:
    """It is written as it was given."""
    assert f"    bind {bind}\n" in haproxy_config(TWO, bind)


@pytest.mark.cluster
def test_haproxy_reads_a_certificate_whatever_its_file_is_called(tmp_path: Path) -> None:
    """Or it is told that it cannot."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is missing: apt-get install haproxy")
    cert, key = self_signed(tmp_path)
    both = tmp_path / 'a "b" $HOME #c.pem'
    both.write_text(Path(cert).read_text("utf-8") + Path(key).read_text("utf-8"), "utf-8")
    config = tmp_path / "haproxy.cfg"
    config.write_text(haproxy_config(TWO, certificate=str(both)), encoding="utf-8")
    checked = subprocess.run([program, "-c", "-f", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    for name in ("it's.pem", "a\nb.pem"):
        with pytest.raises(ConfigError, match="--tls"):
            haproxy_config(TWO, certificate=name)


def test_tls_needs_one_file() -> None:
    """Certificate and key."""
    config = haproxy_config(TWO, ":443", certificate="/etc/streamser.pem")
    assert "bind :443 ssl crt /etc/streamser.pem" in config


@pytest.mark.parametrize(
    "given",
    [
        "a",
        "a=",
        "a=host",
        "a=host:x",
        "a=host:0",
        "=h:1",
        "a b=h:1",
        "a=h#x:1",
        "a=h'x:1",
        "a=h:" + "9" * 5000,
    ],
)
def test_a_server_is_written_as_name_and_place(given: str) -> None:
    """Anything else is refused with the right form."""
    with pytest.raises(ConfigError, match=r"a=10\.0\.0\.5:8377"):
        read_backend(given)


def test_names_are_told_apart() -> None:
    """One name for two servers, or no server, is no cluster."""
    with pytest.raises(ConfigError, match="name of its own"):
        haproxy_config([TWO[0], TWO[0]])
    with pytest.raises(ConfigError, match="--node"):
        haproxy_config([])


def test_the_command_prints_it() -> None:
    """As HAProxy reads it, where there is one."""
    done = run("cluster", "haproxy", "--node", "a=127.0.0.1:8377", "--bind", "127.0.0.1:8080")
    assert done.exit_code == 0
    assert "server a 127.0.0.1:8377 id " in done.stdout
    assert "resolvers" not in done.stdout
    again = run("cluster", "haproxy", "--node", "a=a:8377", "--resolve")
    assert again.stdout == haproxy_config([Backend("a", "a:8377")], resolve=True)


def test_a_server_is_placed_by_its_name_alone() -> None:
    """Whatever its address, and whoever else is there."""

    def numbers(*backends: Backend) -> dict[str, str]:
        return dict(re.findall(r"server (\S+) \S+ id (\d+)", haproxy_config(backends)))

    both = numbers(*TWO)
    assert len(set(both.values())) == 2
    assert numbers(*TWO[::-1]) == both
    assert numbers(Backend("b", "10.0.0.9:8377")) == {"b": both["b"]}


@pytest.mark.cluster
@pytest.mark.parametrize("resolve", [False, True])
def test_haproxy_reads_it(tmp_path: Path, *, resolve: bool) -> None:
    """Without a warning."""
    haproxy = shutil.which("haproxy")
    assert haproxy is not None, "apt install haproxy"
    file = tmp_path / "haproxy.cfg"
    file.write_text(haproxy_config(TWO, "127.0.0.1:9000", resolve=resolve), encoding="utf-8")
    done = subprocess.run(
        [haproxy, "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
