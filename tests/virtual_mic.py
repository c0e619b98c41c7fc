"""A microphone without hardware: a private PulseAudio whose default input is a null sink."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["VirtualMicrophone", "virtual_microphone"]

_TOOLS = ("pulseaudio", "pactl", "paplay")
_SINK = "mic"


class VirtualMicrophone:
    """Play files into the microphone that children started with ``env`` hear.

    PortAudio lists devices once a process, so listen in a child, not in the test's process.
    """

    def __init__(self, env: dict[str, str], server: subprocess.Popen[bytes]) -> None:
        self.env = env
        self.server = server

    def play(self, path: str | os.PathLike[str]) -> subprocess.Popen[bytes]:
        """Start to play a sound file; the process ends with it."""
        return subprocess.Popen(
            ["paplay", f"--device={_SINK}", os.fspath(path)],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def virtual_microphone(rate: int = 16_000) -> Iterator[VirtualMicrophone]:
    """Run a PulseAudio of our own; skip the test, with the reason, where none can run.

    It needs no D-Bus, no configuration and no rights, and leaves a user's own server alone.
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no virtual microphone: {', '.join(missing)} not installed")
    with tempfile.TemporaryDirectory(prefix="mic-") as folder:
        socket = Path(folder, "native")
        # Only these: a PULSE_SINK, say, from the user's surroundings would lead elsewhere.
        env = {key: value for key, value in os.environ.items() if not key.startswith("PULSE_")}
        env |= {
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_RUNTIME_PATH": folder,
            "PULSE_COOKIE": str(Path(folder, "cookie")),
        }
        log = Path(folder, "log")
        server = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--exit-idle-time=-1",
                f"--log-target=file:{log}",
                "-L",
                f"module-native-protocol-unix socket={socket} auth-anonymous=1",
                "-L",
                f"module-null-sink sink_name={_SINK} rate={rate} channels=1 format=s16le",
            ],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _make_default(server, env, log)
            yield VirtualMicrophone(env, server)
        finally:
            server.kill()
            server.wait()


def _make_default(server: subprocess.Popen[bytes], env: dict[str, str], log: Path) -> None:
    command = ["pactl", "set-default-source", f"{_SINK}.monitor"]
    for _ in range(100):
        if server.poll() is not None:
            break
        if subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0:
            return
        # Wait on the server, not on the clock: should it die, this returns at once.
        try:
            server.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    pytest.skip(f"no virtual microphone: PulseAudio did not start ({' / '.join(lines[-2:])})")
