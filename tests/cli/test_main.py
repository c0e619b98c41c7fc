"""The program as a whole: quick help, quiet ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import streamser
from tests.cli.running import DEMO, run, start

HEAVY = ("numpy", "torch", "transformers", "onnxruntime", "rich", "ctranslate2", "sounddevice")


@pytest.mark.parametrize(
    "command", ["", "listen", "analyze", "demo", "devices", "doctor", "protocol", "config", "bench"]
)
def test_help_loads_nothing_heavy(command: str) -> None:
    """Who asks for help does not wait for models, and neither does anybody's shell."""
    code = f"""
import sys
from streamser.cli.main import app
try:
    app([*{command.split()!r}, "--help"])
except SystemExit as end:
    assert end.code == 0
print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_version_is_told() -> None:
    """Bug reports begin with it."""
    assert run("--version").stdout == f"streamser {streamser.__version__}\n"


def test_an_unknown_command_is_wrong_use() -> None:
    """Exit code 2 tells scripts that they, not the machine, are at fault."""
    result = run("lissen")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_reader_that_has_had_enough_ends_the_program_quietly() -> None:
    """`streamser analyze … | head -1` leaves no complaint behind."""
    analysing = start("analyze", DEMO, DEMO, DEMO, "--asr", "none", "--format", "jsonl")
    assert analysing.stdout is not None
    assert analysing.stderr is not None
    assert analysing.stdout.readline().startswith('{"type":"session.created"')
    analysing.stdout.close()
    assert analysing.wait(timeout=60) == 141
    assert analysing.stderr.read() == ""
    analysing.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_analysis_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C ends it quietly; no half output takes the place of a whole one."""
    out = tmp_path / "out.jsonl"
    arguments: list[str | Path] = [*[DEMO] * 6, "--asr", "pocketsphinx", "-o", out]
    analysing = start("analyze", *arguments)
    while not list(tmp_path.iterdir()):
        assert analysing.poll() is None
    analysing.send_signal(signal.SIGINT)
    printed, err = analysing.communicate(timeout=60)
    assert analysing.returncode == 130
    assert (printed, err) == ("", "")
    assert list(tmp_path.iterdir()) == []
