"""What deploys the server names what is there: files, flags, ports; and keeps secrets out."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from streamser.cli.main import app
from streamser.settings import ServerSettings, Settings
from streamser.settings_loader import keys_of
from tests.deploy.dockerfile import ROOT, read_dockerfile

DEPLOY = ROOT / "deploy"
PORT = str(ServerSettings().port)
PATIENCE_S = ServerSettings().drain_s + ServerSettings().shutdown_s
UNIT = (DEPLOY / "systemd" / "streamser.service").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Read compose.yaml."""
    whole: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return whole


def check_command(words: list[str]) -> None:
    """Assert that these words behind ``streamser`` are a command that can be typed."""
    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    command.make_context("streamser", list(words[1:]))


def unit(key: str) -> list[str]:
    """Return what the unit sets a key to, each time."""
    return re.findall(rf"^{key}=(.*)$", UNIT, re.M)


def copied() -> list[str]:
    """Return what the image takes from the checkout."""
    steps = [step for stage in read_dockerfile() for step in stage.steps if step.name == "COPY"]
    return [each for step in steps if "--from" not in step.text for each in step.words()[:-1]]


def test_the_image_takes_what_is_there_and_nothing_else_can_get_in() -> None:
    """A token file or a recording beside the Dockerfile is not even sent to the engine."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert sorted(let_in) == sorted(copied())
    for name in let_in:
        assert (ROOT / name).exists(), name


def test_the_image_has_all_that_the_wheel_is_made_of() -> None:
    """Packages, what is put beside them, the licence and the description."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        *project["project"]["license-files"],
        project["project"]["readme"],
        "pyproject.toml",
    }
    assert needed <= set(copied())


def test_what_the_image_installs_does_not_change_with_the_source() -> None:
    """The packages it needs are a layer of their own, before any of the program is there."""
    build = read_dockerfile()[0]
    order = [step.text for step in build.steps if step.name in ("COPY", "RUN")]
    (installs,) = (n for n, text in enumerate(order) if "-r requirements.txt" in text)
    before = [text for text in order[:installs] if not text.startswith(("apt-get", "python3"))]
    assert before == ["pyproject.toml ./"]


def test_the_image_serves_as_a_user_without_rights_and_holds_no_secret() -> None:
    """Its command can be typed, its port is the server's, its settings exist."""
    stage = read_dockerfile()[-1]
    entry, command = stage.last("ENTRYPOINT").words(), stage.last("CMD").words()
    assert entry == ["streamser"]
    check_command(command)
    assert stage.last("USER").text not in ("root", "0")
    assert stage.last("EXPOSE").text == PORT
    assert "health.py" in stage.last("HEALTHCHECK").text
    known = {f"STREAMSER_{key.upper().replace('.', '_')}" for key in keys_of(Settings)}
    own = {name for name in stage.environment() if name.startswith("STREAMSER_")}
    assert own <= known | {"STREAMSER_CONFIG"}
    assert (ROOT / "configs" / f"{stage.environment()['STREAMSER_CONFIG']}.toml").is_file()
    assert "STREAMSER_SERVER_PORT" in known, "health.py asks for it"
    assert f"'{PORT}'" in (DEPLOY / "health.py").read_text(encoding="utf-8")


def test_what_people_are_told_to_run_can_be_typed() -> None:
    """In the document, and at the head of the Dockerfile; what they name is there."""
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    typed = re.findall(r"docker run .* streamser (serve .*)$", f"{text}\n{dockerfile}", re.M)
    assert len(typed) == 2
    for words in typed:
        check_command(shlex.split(words))
    for name in re.findall(r" (deploy/\S+)", "".join(re.findall(r"```sh\n(.*?)```", text, re.S))):
        assert (ROOT / name).exists(), name
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {option for each in serve.params for option in each.opts}
    assert set(re.findall(r"`(--[a-z-]+)", text)) - known == {"--ulimit"}, "the engine's own"


def test_the_services_fit_together(compose: dict[str, Any]) -> None:
    """What one names another declares; ports of the server are this machine's alone."""
    server, proxy = compose["services"]["streamser"], compose["services"]["proxy"]
    check_command(server["command"])
    (secret,) = server["secrets"]
    assert f"/run/secrets/{secret}" in server["command"]
    assert secret in compose["secrets"]
    assert server["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert int(server["stop_grace_period"].rstrip("s")) > PATIENCE_S
    home = re.search(r"--home-dir (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert home is not None
    for service in (server, proxy):
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            assert (ROOT / source).exists() if "/" in source else source in compose["volumes"]
            assert service is proxy or target == home[1]
    assert proxy["profiles"] == ["proxy"], "alone it is not started"
    assert set(proxy["depends_on"]) == {"streamser"}
    assert proxy["environment"]["STREAMSER_UPSTREAM"] == f"streamser:{PORT}"
    place = proxy["networks"]["default"]["ipv4_address"]
    assert server["environment"] == {"STREAMSER_SERVER_PROXIES": place}


def test_the_proxies_lead_to_the_port_of_the_server(compose: dict[str, Any]) -> None:
    """And Caddy's asks for no variable that the services do not set."""
    caddy = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"\{\$([A-Z_]+):([^}]+)\}", caddy))
    assert variables["STREAMSER_UPSTREAM"] == f"127.0.0.1:{PORT}"
    assert variables.keys() == compose["services"]["proxy"]["environment"].keys()
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    (upstream,) = re.findall(r"^    server (\S+);", nginx, re.M)
    assert upstream == f"127.0.0.1:{PORT}"


def test_nginx_writes_no_token_down() -> None:
    """Browsers and simple clients may put it into the address: the query is not logged."""
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    (form,) = re.findall(r"log_format streamser (.*);", nginx)
    assert not re.search(r"\$(request(_uri)?|args|query_string|http_\w+)\b", form), form
    servers = re.split(r"^server \{", nginx, flags=re.M)[1:]
    assert len(servers) == 2
    assert all(re.search(r"access_log \S+ streamser;", each) for each in servers)


def test_the_unit_starts_what_can_be_typed_and_waits_for_its_end() -> None:
    """Its tokens are the credential that it is given."""
    (start,) = unit("ExecStart")
    program, *words = shlex.split(start)
    assert Path(program).name == "streamser"
    check_command(words)
    (credential,) = unit("LoadCredential")
    assert f"${{CREDENTIALS_DIRECTORY}}/{credential.partition(':')[0]}" in words
    assert int(unit("TimeoutStopSec")[0]) > PATIENCE_S


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Each line of it; and what it may do is little, by systemd's own count (10: everything)."""
    adapted = tmp_path / "streamser.service"
    adapted.write_text(UNIT.replace(unit("ExecStart")[0].split()[0], sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(adapted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "streamser" in line]
    assert ours == []
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(adapted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze does not look at files alone")
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) < 2
