"""What deploys several servers fits together, and names what is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamser.cluster.haproxy import Backend, haproxy_config
from streamser.hosting.records import WorkerLoad
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.worker import WorkerStats
from streamser.server.cluster import ClusterCollector, ClusterFigures
from streamser.server.telemetry import Metrics
from streamser.settings import ServerSettings, Settings
from streamser.settings_loader import keys_of
from tests.cli.running import run
from tests.deploy.dockerfile import ROOT, read_dockerfile
from tests.deploy.test_files import check_command

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = ROOT / "compose.cluster.yaml"
PORT = ServerSettings().port
SETTINGS = {f"STREAMSER_{key.upper().replace('.', '_')}" for key in keys_of(Settings)}
DOMAIN = "streamser.streamser.svc.cluster.local"


def read(path: Path) -> Any:
    """Return what is in a file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """Return all that Kubernetes is told, by kind and name."""
    names = read(KUBERNETES / "kustomization.yaml")["resources"]
    assert set(names) == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    found = [
        each
        for name in names
        for each in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))
    ]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def workloads() -> dict[str, dict[str, Any]]:
    """Return what is run, by name."""
    kinds = ("Deployment", "StatefulSet")
    return {name: each for (kind, name), each in manifests().items() if kind in kinds}


def container_of(workload: dict[str, Any]) -> dict[str, Any]:
    """Return the one container of a workload."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def environment_of(container: dict[str, Any]) -> dict[str, Any]:
    """Return what a container's variables are set to, where that stands there."""
    return {each["name"]: each.get("value") for each in container.get("env", [])}


def image_user() -> int:
    """Return the number of the user that the image runs as."""
    found = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def told_names() -> set[str]:
    """Return the names of all figures that a server tells, by itself and as one of several."""

    class Workers:
        stats = WorkerStats()
        is_ready = True
        kept_bytes = 0

        def load(self) -> QueueLoad:
            return QueueLoad()

        def workers(self) -> list[WorkerLoad]:
            return []

    metrics = Metrics()
    metrics.watch(Workers())
    figures = ClusterFigures(redis_away=False, waiting=0, left_out=0, taken_over=0, carried=0)
    metrics.registry.register(ClusterCollector(lambda: figures))
    endings = {"gauge": [""], "counter": ["_total"], "info": ["_info"]}
    return {
        family.name + ending
        for family in metrics.registry.collect()
        for ending in endings.get(family.type, ["_bucket", "_count", "_sum"])
    }


def named(text: str) -> set[str]:
    """Return the figures of servers that a text asks for."""
    return set(re.findall(r"\b((?:streamser|process)_[a-z_]+)\b(?=[{\[)\s]|$)", text, re.M))


# HAProxy


@pytest.mark.parametrize(
    ("file", "nodes"),
    [
        (DEPLOY / "haproxy.cfg", {"a": f"a:{PORT}", "b": f"b:{PORT}"}),
        (
            KUBERNETES / "haproxy.cfg",
            {f"streamser-{n}": f"streamser-{n}.{DOMAIN}:{PORT}" for n in range(8)},
        ),
    ],
)
def test_what_haproxy_is_told_is_what_the_command_writes(file: Path, nodes: dict[str, str]) -> None:
    """For the names of the services, and of the pods."""
    typed = [word for name, place in nodes.items() for word in ("--node", f"{name}={place}")]
    done = run("cluster", "haproxy", *typed, "--resolve")
    text = file.read_text(encoding="utf-8")
    assert text == done.stdout
    backends = [Backend(name, place) for name, place in nodes.items()]
    assert text == haproxy_config(backends, resolve=True)
    assert "bind :8080\n" in text


# Compose


def test_the_services_of_several_servers_fit_together() -> None:
    """What one names another declares; the port of HAProxy is this machine's alone."""
    compose = read(COMPOSE)
    services = compose["services"]
    assert set(services) == {"a", "b", "redis", "haproxy"}
    places = {
        name: service["networks"]["default"]["ipv4_address"]
        for name, service in services.items()
        if "networks" in service
    }
    (net,) = compose["networks"]["default"]["ipam"]["config"]
    assert all(ip_address(place) in ip_network(net["subnet"]) for place in places.values())
    for name in ("a", "b"):
        server = services[name]
        check_command(server["command"])
        own = {
            "STREAMSER_CLUSTER_NODE": name,
            "STREAMSER_CLUSTER_ADDRESS": f"ws://{name}:{PORT}",
            "STREAMSER_SERVER_PROXIES": ",".join(places[each] for each in ("haproxy", "a", "b")),
        }
        assert server["environment"] == own
        assert set(own) | {"STREAMSER_CLUSTER_REDIS"} <= SETTINGS
        assert "ports" not in server, "HAProxy alone is reached from outside"
        patience = ServerSettings().drain_s + ServerSettings().shutdown_s
        assert int(server["stop_grace_period"].rstrip("s")) > patience
        assert f"/run/secrets/{server['secrets'][0]}" in server["command"]
    for service in services.values():
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        for volume in service.get("volumes", []):
            assert (ROOT / volume.split(":")[0]).is_file()
    assert services["haproxy"]["ports"] == [f"127.0.0.1:{PORT}:8080"]
    assert "./deploy/haproxy.cfg" in services["haproxy"]["volumes"][0]
    assert services["redis"]["user"] == f"{image_user()}:{image_user()}", "it reads their secret"


def test_a_server_of_compose_gets_the_password_of_redis_from_a_file(tmp_path: Path) -> None:
    """Its other words come through as they stand."""
    server = read(COMPOSE)["services"]["a"]
    (tmp_path / "password").write_text("a1b2c3\n", encoding="utf-8")
    program = tmp_path / "streamser"
    program.write_text('#!/bin/sh\necho "$STREAMSER_CLUSTER_REDIS"\necho "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    # Compose's own sign for a dollar.
    words = [word.replace("$$", "$") for word in (*server["entrypoint"], *server["command"])]
    words = [word.replace("/run/secrets/redis_password", f"{tmp_path}/password") for word in words]
    path = f"{tmp_path}:{os.environ['PATH']}"
    told = subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=True)
    address, arguments = told.stdout.splitlines()
    assert address == "redis://streamser:a1b2c3@redis:6379/0"
    assert shlex.split(arguments) == server["command"]


def test_the_image_can_be_one_of_several() -> None:
    """It has what Redis is reached with."""
    installs = [step.text for step in read_dockerfile()[0].steps if step.name == "RUN"]
    assert any("['cluster']" in text for text in installs)


# Kubernetes


def test_servers_of_kubernetes_are_started_as_can_be_typed() -> None:
    """Their settings exist, their names lead to them, and their end is waited for."""
    server = workloads()["streamser"]
    container, spec = container_of(server), server["spec"]["template"]["spec"]
    check_command(container["args"])
    environment = environment_of(container)
    own = {name for name in environment if name.startswith("STREAMSER_")}
    assert own <= SETTINGS
    assert environment["STREAMSER_CLUSTER_NODE"] == "$(POD_NAME)"
    service = manifests()["Service", server["spec"]["serviceName"]]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"], "a full server is reached by the others"
    name = service["metadata"]["name"]
    assert environment["STREAMSER_CLUSTER_ADDRESS"] == f"ws://$(POD_NAME).{name}:{PORT}"
    # What is named in a variable stands before it.
    order = list(environment)
    for variable, value in environment.items():
        for used in re.findall(r"\$\((\w+)\)", value or ""):
            assert order.index(used) < order.index(variable)
    ends = float(environment["STREAMSER_SERVER_DRAIN_S"]) + ServerSettings().shutdown_s
    assert spec["terminationGracePeriodSeconds"] > ends
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert spec["securityContext"]["runAsUser"] == image_user()
    assert float(container["resources"]["limits"]["cpu"]) >= 1, "a worker for each whole core"


def test_as_many_servers_may_come_as_haproxy_knows() -> None:
    """And one more comes before those there are full."""
    (scaler,) = (each for (kind, _), each in manifests().items() if "Autoscaler" in kind)
    server = workloads()["streamser"]
    most = scaler["spec"]["maxReplicas"]
    config = (KUBERNETES / "haproxy.cfg").read_text(encoding="utf-8")
    pods = re.findall(r"^    server (\S+) (\S+):(\d+)", config, re.M)
    namespace = read(KUBERNETES / "kustomization.yaml")["namespace"]
    service = server["spec"]["serviceName"]
    assert pods == [
        (f"streamser-{n}", f"streamser-{n}.{service}.{namespace}.svc.cluster.local", f"{PORT}")
        for n in range(most)
    ]
    assert "replicas" not in server["spec"]
    reference = scaler["spec"]["scaleTargetRef"]
    assert (reference["kind"], reference["name"]) == ("StatefulSet", server["metadata"]["name"])
    (metric,) = scaler["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in told_names()
    places = environment_of(container_of(server))["STREAMSER_SERVER_MAX_SESSIONS"]
    assert int(metric["pods"]["target"]["averageValue"]) < 0.85 * int(places)
    (rule,) = read(DEPLOY / "prometheus" / "adapter.yaml")["rules"]
    assert rule["name"]["matches"] == f"^{name}$"
    assert rule["seriesQuery"].startswith(f"{name}{{")


def test_nothing_runs_with_rights_that_it_does_not_need() -> None:
    """No root, no writing beside what is given, no account of the cluster's, bounded."""
    for name, workload in workloads().items():
        spec, container = workload["spec"]["template"]["spec"], container_of(workload)
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert set(container["resources"]) == {"requests", "limits"}, name


def test_what_kubernetes_is_told_of_is_there() -> None:
    """Labels, files, secrets, ports: what one names another has."""
    kustomization = read(KUBERNETES / "kustomization.yaml")
    files = {each["name"]: each["files"] for each in kustomization["configMapGenerator"]}
    assert all((KUBERNETES / name).is_file() for names in files.values() for name in names)
    for name, workload in workloads().items():
        template, container = workload["spec"]["template"], container_of(workload)
        labels = template["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"] == labels
        service = manifests()["Service", name]["spec"]
        assert service["selector"] == labels
        ports = {each["name"] for each in container["ports"]}
        assert {each["targetPort"] for each in service["ports"]} <= ports
        probes = (container["livenessProbe"], container["readinessProbe"])
        for probe in probes:
            assert (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in files
            if "secret" in volume:
                assert volume["secret"]["secretName"] == "streamser"
                assert {each["key"] for each in volume["secret"]["items"]} <= secret_keys()
        for each in container.get("env", []):
            if "valueFrom" in each and "secretKeyRef" in each["valueFrom"]:
                assert each["valueFrom"]["secretKeyRef"]["key"] in secret_keys()
    applications = {(name,) for name in workloads()}
    for (kind, _), each in manifests().items():
        if kind in ("NetworkPolicy", "PodDisruptionBudget"):
            selectors = re.findall(r"app\.kubernetes\.io/name': '([^']+)'", repr(each["spec"]))
            assert {(name,) for name in selectors} <= applications


def secret_keys() -> set[str]:
    """Return the parts of the secret that people are told to make."""
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    (made,) = re.findall(r"create secret generic streamser (.*)", text)
    return {
        word.partition("=")[2].partition("=")[0]
        for word in shlex.split(made)
        if word.startswith("--from")
    }


def test_redis_has_less_memory_than_kubernetes_lets_it_have() -> None:
    """Connections and scripts need some, too; and it keeps nothing on a disk."""
    script = (KUBERNETES / "redis.sh").read_text(encoding="utf-8")
    (own,) = re.findall(r"^maxmemory (\d+)mb$", script, re.M)
    (limit,) = re.findall(
        r"^(\d+)Mi$", container_of(workloads()["redis"])["resources"]["limits"]["memory"]
    )
    assert int(own) * 1.5 <= int(limit)
    assert {'save ""', "appendonly no"} <= set(script.splitlines())


def test_what_redis_lets_servers_do_is_what_the_document_says() -> None:
    """One line, in both."""
    (rights,) = re.findall(
        r"^user streamser on >\S+ (.*)$",
        re.sub(r"\$\(.*?\)", "PASSWORD", (KUBERNETES / "redis.sh").read_text(encoding="utf-8")),
        re.M,
    )
    assert rights in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


# What watches


def alerts() -> Iterator[dict[str, Any]]:
    """Yield each rule."""
    for group in read(DEPLOY / "prometheus" / "alerts.yaml")["groups"]:
        yield from group["rules"]


def panels() -> list[dict[str, Any]]:
    """Return what the dashboard shows, rows left out."""
    whole = json.loads((DEPLOY / "grafana" / "streamser.json").read_text(encoding="utf-8"))
    return [each for each in whole["panels"] if each["type"] != "row"]


def test_alerts_and_panels_ask_for_figures_that_servers_tell() -> None:
    """Whoever renames one finds out here."""
    known = told_names()
    # Where the system tells of processes.
    known |= {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    for rule in alerts():
        asked = named(rule["expr"])
        assert asked <= known, rule["alert"]
        assert asked or "up{" in rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            assert named(target["expr"]) <= known, panel["title"]
            assert named(target["expr"]) or "up{" in target["expr"]


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """By names of their own."""
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_of_the_dashboard_stand_beside_each_other() -> None:
    """With numbers of their own, over the whole width at most, none above another."""
    whole = json.loads((DEPLOY / "grafana" / "streamser.json").read_text(encoding="utf-8"))
    numbers = [each["id"] for each in whole["panels"]]
    assert len(numbers) == len(set(numbers))
    variables = {f"${each['name']}" for each in whole["templating"]["list"]} | {"$__rate_interval"}
    for panel in panels():
        assert panel["description"]
        for target in panel["targets"]:
            assert set(re.findall(r"\$\w+", target["expr"])) <= variables
    places = [each["gridPos"] for each in whole["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
