"""What deploys several servers, as the programs that read it see it: `make test-cluster`."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from streamser.cluster.outbox import Post
from streamser.cluster.reach import StoreAway
from streamser.cluster.records import NodeState, StreamState, ToldEvent
from streamser.cluster.store import ClusterStore
from streamser.pipeline.session_config import SessionSnapshot
from streamser.settings import ClusterSettings
from tests.deploy.dockerfile import ROOT
from tests.deploy.sockets import free_port
from tests.deploy.test_several import COMPOSE, DEPLOY, KUBERNETES, alerts, panels

pytestmark = pytest.mark.cluster

PROMETHEUS = DEPLOY / "prometheus"
PASSWORD = "0123456789abcdef"


def tool(name: str, how: str) -> str:
    """Return where a program is; skips where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: {how}")
    return found


def check(*words: str | Path) -> str:
    """Run a program that has to be content; return what it says."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("file", [DEPLOY / "haproxy.cfg", KUBERNETES / "haproxy.cfg"])
def test_haproxy_reads_what_is_there(file: Path) -> None:
    """Without a warning, though none of the servers is there."""
    haproxy = tool("haproxy", "apt-get install haproxy")
    assert "WARNING" not in check(haproxy, "-c", "-f", file)


def test_kubernetes_knows_all_that_it_is_told(tmp_path: Path) -> None:
    """Each object whole, by its schemas; nothing that they do not have."""
    kubectl = tool("kubectl", "https://kubernetes.io/docs/tasks/tools/")
    validate = tool("kubernetes-validate", "pip install kubernetes-validate")
    whole = check(kubectl, "kustomize", KUBERNETES)
    objects = list(yaml.safe_load_all(whole))
    assert len(objects) == 17
    assert all(
        each["metadata"].get("namespace") == "streamser"
        for each in objects
        if each["kind"] != "Namespace"
    )
    images = {
        container["image"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"streamser:0.1.0", "redis:7", "haproxy:2.6"}
    (tmp_path / "all.yaml").write_text(whole, encoding="utf-8")
    check(validate, "--strict", tmp_path / "all.yaml")
    spoilt = whole.replace("terminationGracePeriodSeconds", "terminationGraceSeconds")
    (tmp_path / "spoilt.yaml").write_text(spoilt, encoding="utf-8")
    done = subprocess.run(
        [validate, "--strict", tmp_path / "spoilt.yaml"], capture_output=True, check=False
    )
    assert done.returncode, "it looks at nothing"


def test_the_files_are_written_as_yaml_should_be() -> None:
    """No key twice, no trailing blanks, one way to indent."""
    yamllint = tool("yamllint", "pip install yamllint")
    rules = "{extends: relaxed, rules: {line-length: disable, octal-values: disable}}"
    files = sorted(DEPLOY.rglob("*.yaml"))
    assert len(files) >= 10
    check(yamllint, "--strict", "-d", rules, COMPOSE, ROOT / "compose.yaml", *files)


def test_prometheus_reads_its_rules_and_they_do_as_they_should() -> None:
    """Each alert in scenes of its own: silent before, there after."""
    promtool = tool("promtool", "apt-get install prometheus")
    check(promtool, "check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "alerts.yaml")
    check(promtool, "test", "rules", PROMETHEUS / "alerts_test.yaml")


def test_prometheus_reads_its_configuration(tmp_path: Path) -> None:
    """But for how pods are found, which Debian's is built without."""
    promtool = tool("promtool", "apt-get install prometheus")
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [
        {"role": "pod", "namespaces": {"names": ["streamser"]}}
    ]
    shutil.copy(PROMETHEUS / "alerts.yaml", tmp_path)
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    check(promtool, "check", "config", "--syntax-only", tmp_path / "prometheus.yaml")
    assert {job["job_name"]} == set(
        re.findall(r'job="(\w+)"', "".join(r["expr"] for r in alerts()))
    )


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    """Each question of each panel, with its variables filled in."""
    promtool = tool("promtool", "apt-get install prometheus")
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    assert len(asked) > 30
    rules = [
        {
            "record": f"panel:{number}",
            "expr": expr.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, expr in enumerate(asked)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    check(promtool, "check", "rules", "--lint=none", file)


def test_redis_lets_servers_do_what_they_do_and_nobody_else_anything(tmp_path: Path) -> None:
    """As deployed: one user, by its password, with the rights that are documented."""
    tool("redis-server", "apt-get install redis-server")
    port = free_port()
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PASSWORD_FILE": str(tmp_path / "password"),
        "REDIS_PORT": str(port),
        "TMPDIR": str(tmp_path),
    }
    command = ["sh", str(KUBERNETES / "redis.sh")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert any("Ready to accept connections" in line for line in child.stdout)
            asyncio.run(use(f"redis://streamser:{PASSWORD}@127.0.0.1:{port}/0"))
            for wrong in ("", "streamser:wrong@"):
                with pytest.raises(StoreAway):
                    asyncio.run(use(f"redis://{wrong}127.0.0.1:{port}/0"))
        finally:
            child.kill()
    assert PASSWORD not in "".join(command)


async def use(url: str) -> None:
    """Do all that a server does with Redis, and what it must not."""
    from redis.asyncio import Redis
    from redis.exceptions import NoPermissionError

    store = ClusterStore(ClusterSettings(redis=url), "a")
    voice = SessionSnapshot("compact", b"state")
    try:
        await store.beat(NodeState(name="a", address="ws://a:8377"))
        assert [node.name for node in await store.nodes()] == ["a"]
        await store.ask_to_leave("a", 5)
        assert await store.claim("m") is None
        assert await store._redis.hget("streamser:homes", "m") == b"a"
        async with store.feed() as feed:
            await feed.follow("m")
            assert await feed.next(5.0) == "m"
            told = ToldEvent(cursor=7, meeting="m", at_ms=1, line=b"{}", stays=True)
            post = Post(
                event=told,
                session="s",
                stream="s",
                state=StreamState(told_ms=1),
                speaker="Ann",
                voice=voice,
            )
            await store.write([post])
            assert await feed.next(5.0) == told
            # Told late, as another server's clock is ahead.
            late = msgspec.structs.replace(told, cursor=3, line=b'{"late":1}')
            await store.write([Post(event=late)])
            await feed.unfollow("m")
        past = await store.past("m")
        assert [event.cursor for event in past.told] == [7, 8]
        assert past.voices == {"Ann": voice}
        assert await store.newest(["m"]) == {"m": 8}
        assert await store.stream_state("s") == StreamState(told_ms=1)
        last = msgspec.structs.replace(told, cursor=9)
        await store.write([Post(event=last, session="s", ends=True)])
        assert await store.hold(["m"]) == []
        assert await store.restore("m", [Post(event=told), Post(event=last)], seen=9)
        assert await store.orphans(["m", "n"]) == ["n"]
        gone = msgspec.structs.replace(told, meeting="n")
        assert await store.end_session(Post(event=gone, session="t", ends=True))
        await store.release("m")
        await store.leave()
    finally:
        await store.close()
    raw: Any = Redis.from_url(url)
    try:
        # `past` goes on without it, and would not know what is lost.
        assert (await raw.xinfo_stream("streamser:events:m"))["length"] == 2
        for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "other"), ("KEYS", "*")):
            with pytest.raises(NoPermissionError):
                await raw.execute_command(*command)
    finally:
        await raw.aclose()
