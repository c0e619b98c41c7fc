"""The program as a whole: quick help, quiet ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import streamser
from streamser.cli.main import app
from tests.cli.running import DEMO, events_of, run, shell, start
from tests.cli.sounds import spoken, write

HEAVY = (
    *("numpy", "torch", "transformers", "onnxruntime", "rich", "ctranslate2", "sounddevice"),
    *("websockets", "prometheus_client"),
)


@pytest.mark.parametrize(
    "command",
    [
        *(
            "",
            "listen",
            "analyze",
            "serve",
            "demo",
            "devices",
            "doctor",
            "config",
        ),
        *("corpus", "train", "evaluate", "export", "report", "replay"),
    ],
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


def commands(group: Any, *before: str) -> Iterator[list[str]]:
    """Yield the words of all commands of a group and of the groups in it."""
    for name, command in group.commands.items():
        yield [*before, name]
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)


def test_help_is_in_words() -> None:
    """No command names types of Python, nor writes a range as a condition."""
    found = list(commands(get_command(app)))
    assert ["corpus", "split"] in found
    for words in found:
        shown = run(*words, "--help").stdout
        raw = re.findall(r"<[^>|]+>|<=|>=|\b(?:INTEGER|FLOAT|TEXT|RANGE)\b", shown)
        assert raw == [], (words, raw)
    assert "Files read at once.  [default: 2; 1 to 64]" in run("analyze", "--help").stdout
    assert "[default: 5; 3 or more]" in run("corpus", "split", "--help").stdout


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
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupted_analysis_leaves_nothing_behind(
    tmp_path: Path, name: str, code: int
) -> None:
    """Ctrl-C ends it quietly; no half output takes the place of a whole one."""
    out = tmp_path / "out.jsonl"
    arguments: list[str | Path] = [*[DEMO] * 40, "--asr", "none", "-o", out]
    analysing = start("analyze", *arguments)
    while not list(tmp_path.iterdir()):
        assert analysing.poll() is None
    analysing.send_signal(signal.Signals[name])
    printed, err = analysing.communicate(timeout=60)
    assert analysing.returncode == code
    assert (printed, err) == ("", "")
    assert list(tmp_path.iterdir()) == []


posix = pytest.mark.skipif(sys.platform == "win32", reason="shells and limits of POSIX")


@posix
@pytest.mark.parametrize(
    "command",
    [["--help"], ["config", "show"], ["analyze", DEMO, "--asr", "none"]],
    ids=lambda command: command[0],
)
def test_a_full_disk_is_told_in_one_line(command: list[str | Path], tmp_path: Path) -> None:
    """Output that finds no room ends the program with its reason; the limit plays the disk."""
    done = shell(f'ulimit -f 0; "$@" > {tmp_path / "out"}', *command)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "cannot write to stdout: File too large" in line


@posix
def test_without_stdout_or_stderr_the_work_is_done(tmp_path: Path) -> None:
    """A caller that closes a stream does not want it; the exit code still counts."""
    out = tmp_path / "out.jsonl"
    talk = write(tmp_path / "talk.wav", spoken(3.0))
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        done = shell(f'"$@" {closed}', "analyze", talk, "--asr", "none", "-o", out)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), closed
        assert events_of(out.read_text())
        out.unlink()
    done = shell('"$@" 2>&-', "analyze", tmp_path / "none.wav")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@posix
def test_raw_sound_from_a_closed_stdin_is_refused() -> None:
    """After the notice there is one line, and no traceback."""
    done = shell('"$@" <&-', "listen", "--file", "-", "--asr", "none")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "stdin ended before any sound came" in line


@posix
def test_what_an_encoding_lacks_is_escaped_and_json_stays_json(tmp_path: Path) -> None:
    """In a bare locale words may look odd, but nothing breaks and programs read the same."""
    talk = write(tmp_path / "talk.wav", spoken(1.0))
    arguments = ["--file", str(talk), "--json", "--asr", "none", "--speaker", "Zoë 🙂"]
    done = shell('"$@"', "listen", *arguments, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert r"Zo\u00eb" in done.stdout
    assert "Zoë 🙂" in str(events_of(done.stdout)[0])


INTERRUPTED_IMPORT = """
import os, signal, sys, importlib.abc
class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "streamser.cli.files.analyze":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from streamser.__main__ import main
main()
"""


@posix
def test_an_interrupt_during_the_start_is_quiet() -> None:
    """Who changes their mind in the first moment sees no traceback."""
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
