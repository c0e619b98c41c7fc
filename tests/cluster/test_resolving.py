"""HAProxy before servers whose addresses change, as those of pods and containers do."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from streamser.cluster.haproxy import Backend, haproxy_config
from tests.cluster.names import NameServer, PretendedServer
from tests.deploy.sockets import free_port

pytestmark = pytest.mark.cluster

DOMAIN = "streamser.streamser.svc.cluster.local"
MEETINGS = 300


def name_of(pod: str) -> str:
    """Return what a pod is called in the network."""
    return f"{pod}.{DOMAIN}"


@contextmanager
def proxy(folder: Path, pods: Sequence[str], names: NameServer, server_port: int) -> Iterator[int]:
    """Run an HAProxy that knows pods by their names; yields its port."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is missing: apt-get install haproxy")
    port = free_port()
    backends = [Backend(pod, f"{name_of(pod)}:{server_port}") for pod in pods]
    text = haproxy_config(backends, f"127.0.0.1:{port}", resolve=True)
    own = f"nameserver own 127.0.0.1:{names.port}"
    file = folder / f"haproxy-{port}.cfg"
    file.write_text(text.replace("parse-resolv-conf", own), encoding="utf-8")
    with subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.DEVNULL) as child:
        try:
            yield port
        finally:
            child.kill()


def placed(port: int) -> list[str | None]:
    """Return the server of each meeting; ``None`` where there is none."""
    found = []
    link = HTTPConnection("127.0.0.1", port, timeout=5)
    for number in range(MEETINGS):
        link.request("GET", f"/v1/emotion?meeting=meeting%20{number}")
        answer = link.getresponse()
        answer.read()
        found.append(answer.getheader("X-Streamser-Server") if answer.status == 200 else None)
    link.close()
    return found


def until(right: Callable[[set[str | None]], bool], port: int) -> list[str | None]:
    """Return where meetings are once the servers are those that they should be."""
    deadline = time.monotonic() + 30.0
    found: list[str | None] = []
    while time.monotonic() < deadline:
        before = found
        try:
            found = placed(port)
        except OSError:
            continue
        # Once more: a server may have come while they were asked for.
        if found == before and right(set(found)):
            return found
    raise AssertionError(f"meetings are at {Counter(found)}")


def test_a_pod_that_begins_anew_has_its_meetings_again_at_another_address(tmp_path: Path) -> None:
    """While it is gone only they are elsewhere; a pod that is not there yet takes nothing."""
    pods = ["streamser-0", "streamser-1", "streamser-2", "streamser-3"]
    first = PretendedServer("127.0.0.2", 0)
    others = [PretendedServer(f"127.0.0.{n}", first.port) for n in (3, 4)]
    running = [first, *others]
    addresses = {name_of(pod): f"127.0.0.{n}" for n, pod in enumerate(pods[:3], 2)}
    try:
        with NameServer(addresses) as names, proxy(tmp_path, pods, names, first.port) as port:
            before = until(lambda found: found == set(pods[:3]), port)
            # An HAProxy beside it, told of them in another order, brings everybody to the same.
            with proxy(tmp_path, pods[::-1], names, first.port) as other:
                assert until(lambda found: found == set(pods[:3]), other) == before
            shares = Counter(before)
            assert all(share > MEETINGS / 3 / 2 for share in shares.values()), shares
            running.pop().stop()
            del addresses[name_of(pods[2])]
            without = until(lambda found: found == set(pods[:2]), port)
            assert [a for a, b in zip(before, without, strict=True) if a != b] == [pods[2]] * (
                shares[pods[2]]
            )
            running.append(PretendedServer("127.0.0.9", first.port))
            addresses[name_of(pods[2])] = "127.0.0.9"
            assert until(lambda found: found == set(pods[:3]), port) == before
    finally:
        for server in running:
            server.stop()
