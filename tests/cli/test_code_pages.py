"""Umlauts survive, whatever a system takes for its code page."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

from streamser.export.read import read_recording
from tests.cli.running import PROGRAM, refuses, run
from tests.cli.sounds import spoken, write
from tests.export.script import Script, saved

_WINDOWS = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
_NAME = "Zoë Žižek 山 🙂"


def _redirected(*arguments: str | Path) -> bytes:
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=os.environ | _WINDOWS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def german(tmp_path: Path) -> Path:
    """Return the events of a session in German."""
    script = Script(speaker="Jörg")
    script.say(1000, 2000, "schöne Grüße")
    script.say(3000, 4000, "bye")
    return saved(tmp_path / "talk.jsonl", script.close())


def test_events_on_stdout_are_utf8_and_survive_another_code_page(tmp_path: Path) -> None:
    """Also the trip through a shell that reads them in a code page of its own."""
    talk = write(tmp_path / "talk.wav", spoken(1.0))
    words = ("listen", "--file", talk, "--json", "--asr", "none", "--speaker", _NAME)
    output = _redirected(*words)
    for seen in (output, output.decode("cp850").encode("utf-16")):
        events = tmp_path / "events.jsonl"
        events.write_bytes(seen)
        (session,) = read_recording(events).sessions
        assert session.info is not None
        assert session.info.speaker == _NAME


def test_what_analyze_writes_to_stdout_is_utf8(tmp_path: Path) -> None:
    """Events and tables; without a mark, which what reads a pipe would take for a letter."""
    talk = write(tmp_path / "Grüße 山.wav", spoken(2.0))
    table = _redirected("analyze", talk, "--asr", "none", "--format", "csv")
    (row,) = csv.DictReader(table.decode("utf-8").splitlines())
    assert row["file"] == str(talk)
    events = tmp_path / "events.jsonl"
    events.write_bytes(_redirected("analyze", talk, "--asr", "none", "--format", "jsonl"))
    assert [each.source for each in read_recording(events).sessions] == [str(talk)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_powershell_has_redirected_is_read(german: Path, encoding: str, end: str) -> None:
    """Version 5 writes UTF-16 with its mark; others write a mark before UTF-8."""
    text = german.read_text(encoding="utf-8").replace("\n", end)
    whole = read_recording(german)
    text = "\ufeff" + text if encoding == "utf-16-be" else text
    german.write_bytes(text.encode(encoding))
    assert read_recording(german) == whole
    assert whole.notes == ()
    done = run("export", german, "--to", "srt")
    assert done.exit_code == 0, done.stderr
    assert "schöne Grüße" in german.with_suffix(".srt").read_text(encoding="utf-8")


def test_lines_in_another_code_page_are_named_so(german: Path) -> None:
    """They are no events that nobody knows: the words in them are lost until they are converted."""
    german.write_bytes(german.read_text(encoding="utf-8").encode("cp1252"))
    recording = read_recording(german)
    (note,) = recording.notes
    assert "passed over: not UTF-8" in note
    assert "convert the file to UTF-8" in note


def test_a_file_all_in_another_code_page_is_named_so(tmp_path: Path) -> None:
    """With what to do, not as a file of something else."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes('{"type":"session.created","event_id":"ü"}\n'.encode("cp1252"))
    refuses(run("report", path), 1, "talk.jsonl", "it is not UTF-8", "convert")


def test_a_table_of_a_session_opens_with_its_umlauts(german: Path) -> None:
    """Excel knows UTF-8 by its mark alone."""
    assert run("export", german, "--to", "csv").exit_code == 0
    data = german.with_suffix(".csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbffile,start,")
    first, _ = csv.DictReader(data.decode("utf-8-sig").splitlines())
    assert (first["speaker"], first["transcript"]) == ("Jörg", "schöne Grüße")
