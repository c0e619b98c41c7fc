"""Run the measurements: in this process where that is enough, in a child where it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

import tools
from tools.bench.__main__ import app

__all__ = ["PROGRAM", "ROOT", "run", "start"]

PROGRAM = [sys.executable, "-m", "tools.bench"]
ROOT = Path(tools.__file__).parents[1]


def run(*arguments: str | Path) -> Result:
    """Run a measurement in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start a measurement in a child process, its output and errors in pipes."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
