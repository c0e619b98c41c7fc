"""The Dockerfile's steps, replayed in folders that Debian was installed into: without an engine.

What an engine does besides is not seen here: layers, its network, its own limits.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from streamser.client import connect
from streamser.events import EmotionCompleted, SessionClosed, TranscriptionCompleted
from tests.deploy.dockerfile import ROOT, Instruction, Stage, read_dockerfile
from tests.deploy.sockets import free_port
from tests.server.serving import demo, patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TOKEN = "a-token-for-the-image"
# What an engine takes over from its host, for the steps alone.
NETWORK = ("PIP_INDEX_URL", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


class Image(NamedTuple):
    """Hold a finished stage and the folder that is its file system."""

    stage: Stage
    root: Path

    def command(self, words: list[str], environment: Mapping[str, str]) -> list[str]:
        """Return how an engine would run these words: as its user, first process of its own."""
        whole = {**self.stage.environment(), **environment}
        place = self.stage.last("WORKDIR").text
        return entering(self.root, words, whole, place, self.stage.last("USER").text)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Build the last stage, and the one before it, from what the Dockerfile says."""
    if os.geteuid() or not all(map(shutil.which, ("debootstrap", "unshare", "chroot"))):
        pytest.skip("it needs root, debootstrap and util-linux: apt-get install debootstrap")
    folder = tmp_path_factory.mktemp("image")
    # Whoever the server runs as has to get there.
    for above in (folder, *folder.parents[:2]):
        above.chmod(above.stat().st_mode | 0o011)
    stages = read_dockerfile()
    (release,) = {stage.image.removeprefix("debian:").removesuffix("-slim") for stage in stages}
    install_debian(release, folder / "debian")
    roots: dict[str, Path] = {}
    for number, stage in enumerate(stages):
        root = roots[stage.name] = folder / f"stage{number}"
        subprocess.run(
            ["cp", "-a", "--reflink=auto", str(folder / "debian"), str(root)], check=True
        )
        replay(stage, root, roots)
    yield Image(stages[-1], root)
    shutil.rmtree(folder)


def install_debian(release: str, root: Path) -> None:
    """Install what is essential of a release into a folder, as the image that is named has it."""
    command = ["debootstrap", "--variant=minbase", release, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Release" in done.stderr + done.stdout:
        pytest.skip(f"Debian's packages cannot be had: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr


def replay(stage: Stage, root: Path, roots: Mapping[str, Path]) -> None:
    """Do what a stage says, step by step, in its folder."""
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)
    network = {name: os.environ[name] for name in NETWORK if name in os.environ}
    if "PIP_CERT" in os.environ:
        shutil.copy(os.environ["PIP_CERT"], root / "host.pem")
        network["PIP_CERT"] = "/host.pem"
    place, environment = "/", {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    for step in stage.steps:
        match step.name:
            case "RUN":
                words = entering(root, ["sh", "-c", step.text], {**environment, **network}, place)
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
            case "COPY":
                copy(step, root, root / place[1:], roots)
            case "WORKDIR":
                place = step.text
                (root / place[1:]).mkdir(parents=True, exist_ok=True)
            case "ENV":
                name, _, value = step.text.partition("=")
                environment[name] = value
            case other:
                assert other in ("USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"), other


def copy(step: Instruction, root: Path, place: Path, roots: Mapping[str, Path]) -> None:
    """Copy files, and what is in folders, from the checkout or an earlier stage."""
    words, begin = step.words(), ROOT
    if words[0].startswith("--from="):
        begin = roots[words.pop(0).removeprefix("--from=")]
    *sources, last = words
    target = root / last[1:] if last.startswith("/") else place / last
    for source in sources:
        origin = begin / source.lstrip("/")
        if origin.is_dir():
            clean = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True, ignore=clean)
        else:
            shutil.copy(origin, target / origin.name if last.endswith("/") else target)


def entering(
    root: Path,
    words: list[str],
    environment: Mapping[str, str],
    place: str,
    user: str = "root",
) -> list[str]:
    """Return the command that runs words in a folder, with processes and mounts of their own."""
    pairs = [f"{name}={value}" for name, value in environment.items()]
    mounts = 'mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev/shm" && exec chroot "$@"'
    return [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounts, str(root)),
        *(f"--userspec={user}", str(root), "env", "-i", f"--chdir={place}", *pairs, *words),
    ]


def test_the_image_alone_refuses_to_serve_everybody(image: Image) -> None:
    """What its command lacks stands in one line."""
    words = [*image.stage.last("ENTRYPOINT").words(), *image.stage.last("CMD").words()]
    command = image.command(words, {})
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "give tokens (--token-file, or STREAMSER_TOKENS) and TLS" in line


def test_the_image_hears_words_and_emotion_as_a_user_without_rights(image: Image) -> None:
    """With its own words and models, healthy by its own check, until SIGTERM ends it well."""
    port = free_port()
    given = {"STREAMSER_SERVER_PORT": str(port), "STREAMSER_TOKENS": f"all send {TOKEN}"}
    words = [*image.stage.last("ENTRYPOINT").words(), *image.stage.last("CMD").words()]
    child = subprocess.Popen(
        image.command([*words, "--insecure"], given), stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    try:
        told = []
        for line in child.stderr:
            told.append(line)
            if line.startswith("Serving "):
                break
        assert told[-1].startswith("Serving "), "".join(told)
        assert "tiny.en" in told[-1]
        health = image.stage.last("HEALTHCHECK").words()
        assert subprocess.run(image.command(health, given), timeout=60, check=False).returncode == 0
        events = asyncio.run(patience(speak(port)))
        assert sum(isinstance(event, EmotionCompleted) for event in events) == 4
        heard = [event.transcript for event in events if isinstance(event, TranscriptionCompleted)]
        assert all(heard)
        assert isinstance(events[-1], SessionClosed)
        (first,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        assert os.stat(f"/proc/{first}").st_uid == 10001
        os.kill(int(first), signal.SIGTERM)
        rest = child.communicate(timeout=60)[1]
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, rest
    assert "Traceback" not in rest
    health = image.stage.last("HEALTHCHECK").words()
    dead = subprocess.run(
        image.command(health, given), capture_output=True, timeout=60, check=False
    )
    assert dead.returncode == 1


async def speak(port: int) -> list[object]:
    """Send the beginning of the bundled conversation; return what is told."""
    async with connect(f"ws://127.0.0.1:{port}", token=TOKEN) as session:
        await session.send(demo())
        await session.finish()
        return [event async for event in session]
