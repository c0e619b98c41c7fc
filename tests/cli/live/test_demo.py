"""`streamser demo`: it can be heard, and says how to go on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamser.cli.live import demo
from tests.audio.test_output import Output
from tests.cli.running import run
from tests.cli.sounds import spoken, write


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demonstration be a second long."""
    recording = write(tmp_path / "short.wav", spoken(1.0))
    monkeypatch.setattr(demo, "demo_recording", lambda: recording)


@pytest.mark.usefixtures("short")
def test_it_can_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole recording, at its own rate, while it is analysed."""
    output = Output()
    asked: list[tuple[int, int]] = []

    def open_output(rate: int, channels: int) -> Output:
        asked.append((rate, channels))
        return output

    monkeypatch.setattr("streamser.audio.output.open_output", open_output)
    done = run("demo", "--play", "--asr", "none")
    assert done.exit_code == 0, done.stderr
    assert asked == [(16_000, 1)]
    assert sum(map(len, output.played)) == 16_000 * 4


@pytest.mark.usefixtures("short")
def test_its_end_says_what_to_try_next() -> None:
    """In two lines, after the summary; not where a program reads it."""
    done = run("demo", "--asr", "none")
    assert done.exit_code == 0, done.stderr
    last = " ".join(done.stderr.splitlines()[-2:])
    assert last.startswith("Next: ")
    for what in ("listen", "demo --web", "--help"):
        assert what in last
    assert "Next" not in run("demo", "--json", "--asr", "none").stderr


def test_the_program_names_itself_as_it_is_called_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `make demo` it is in `.venv`, and not in the path."""
    program = tmp_path / ".venv" / "bin" / "streamser"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert demo.own_name() == os.path.join(".venv", "bin", "streamser")
    monkeypatch.setenv("PATH", str(program.parent))
    assert demo.own_name() == "streamser"
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py"])
    assert demo.own_name() == "python -m streamser"
