"""Run the command line: in this process where that is enough, in a child where it is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from typer.testing import CliRunner, Result

import streamser
from streamser.cli.main import app
from streamser.events import SessionEvent

__all__ = [
    "DEMO",
    "PROGRAM",
    "ended",
    "events_of",
    "refuses",
    "run",
    "shell",
    "start",
    "without_beginning",
]

PROGRAM = [sys.executable, "-c", "from streamser.cli.main import main; main()"]
DEMO = Path(streamser.__file__).parent / "assets" / "demo.flac"


def run(*arguments: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def start(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command in a child process, its output and errors in pipes."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        env=dict(os.environ if env is None else env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(child: subprocess.Popen[str], number: int) -> tuple[str, str]:
    """Ask a child for its end until it has ended: at once it would be taken for an echo."""
    while True:
        child.send_signal(number)
        try:
            return child.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue


def shell(
    line: str, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which ``"$@"`` stands for the program with these arguments."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM, *map(str, arguments)],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | dict(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def events_of(output: str) -> list[SessionEvent]:
    """Decode JSON lines; a line that is no event of a session fails the test."""
    return [msgspec.json.decode(line, type=SessionEvent) for line in output.splitlines()]


def refuses(result: Result, code: int, *parts: str) -> None:
    """Assert that a command said one line to people, with these parts, and ended with a code."""
    # What is being loaded is no fault.
    lines = [line for line in result.stderr.splitlines() if not line.startswith("loading ")]
    assert result.exit_code == code, result.stderr
    assert len(lines) == 1, lines
    assert all(part in lines[0] for part in parts), lines[0]
    assert "Traceback" not in result.output


def without_beginning(recorded: str) -> str:
    """Return recorded lines without when the session began, which stdout does not say."""
    return re.sub(r',"unix_ms":\d+}', "}", recorded, count=1)
