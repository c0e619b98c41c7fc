"""`streamser analyze`: several files, three formats, one order."""

from __future__ import annotations

import csv
import io
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.cli.files.analyze import CSV_COLUMNS
from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    SessionClosed,
    SessionCreated,
    SessionEvent,
)
from tests.audio.sounds import tracks
from tests.cli.running import PROGRAM, events_of, refuses, run
from tests.cli.sounds import spoken, write

QUIET = ("--asr", "none")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of two utterances."""
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", spoken(7.0))


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of nobody."""
    return write(tmp_path_factory.mktemp("silence") / "silence.wav", np.zeros(16_000, np.float32))


def sessions(events: list[SessionEvent]) -> list[list[SessionEvent]]:
    """Split events at the beginnings of sessions."""
    found: list[list[SessionEvent]] = []
    for event in events:
        if isinstance(event, SessionCreated):
            found.append([])
        found[-1].append(event)
    return found


def anonymous(event: SessionEvent) -> tuple[object, ...]:
    """Return what an event says besides whose it is."""
    fields = event.__struct_fields__
    return tuple(
        getattr(event, name)
        for name in fields
        if name not in {"event_id", "session_id", "item_id", "previous_item_id", "session"}
    )


def test_every_event_of_a_file_is_a_line_in_order(talk: Path) -> None:
    """The events of a session are numbered without a gap, from its creation to its end."""
    result = run("analyze", talk, *QUIET, "--format", "jsonl")
    events = events_of(result.stdout)
    assert result.exit_code == 0
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1], SessionClosed)
    assert events[-1].utterances == 2
    assert sum(isinstance(event, EmotionCompleted) for event in events) == 2


def test_partials_are_told_only_where_they_are_asked_for(talk: Path) -> None:
    """By default a file yields its results, not the way to them."""
    plain = events_of(run("analyze", talk, *QUIET, "--format", "jsonl").stdout)
    full = events_of(run("analyze", talk, *QUIET, "--format", "jsonl", "--partials").stdout)
    assert not any(isinstance(event, EmotionDelta) for event in plain)
    assert any(isinstance(event, EmotionDelta) for event in full)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_files_come_out_in_the_order_of_the_arguments(talk: Path, silence: Path, jobs: str) -> None:
    """Files read at the same time do not mix, and a short one does not overtake a long one."""
    files = [talk, silence, talk, silence, silence, talk, silence, talk]
    result = run("analyze", *files, *QUIET, "--format", "jsonl", "--jobs", jobs)
    found = sessions(events_of(result.stdout))
    counts = [closed.utterances for *_, closed in found if isinstance(closed, SessionClosed)]
    assert result.exit_code == 0
    assert counts == [2 if file is talk else 0 for file in files]
    for session in found:
        assert len({event.session_id for event in session}) == 1


def test_results_do_not_depend_on_the_other_files(talk: Path, silence: Path) -> None:
    """What a file says alone it says in company, to the last digit."""
    alone = events_of(run("analyze", talk, *QUIET, "--format", "jsonl").stdout)
    company = run("analyze", silence, talk, talk, *QUIET, "--format", "jsonl", "--jobs", "3")
    for session in sessions(events_of(company.stdout))[1:]:
        assert [anonymous(event) for event in session] == [anonymous(event) for event in alone]


def test_a_folder_stands_for_the_recordings_in_it(talk: Path, tmp_path: Path) -> None:
    """In the order of their names, those of folders below too; what is no sound is passed over."""
    below = tmp_path / "day" / "two"
    below.mkdir(parents=True)
    for path in (tmp_path / "day" / "b.wav", below / "a.wav", below / ".hidden.wav"):
        shutil.copy(talk, path)
    (below / "notes.txt").write_text("no sound")
    done = run("analyze", tmp_path / "day", *QUIET, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(dict.fromkeys(row["file"] for row in rows)) == [
        str(tmp_path / "day" / "b.wav"),
        str(below / "a.wav"),
    ]
    (tmp_path / "empty").mkdir()
    refuses(run("analyze", tmp_path / "empty", *QUIET), 1, "no recording is in this folder")


def test_an_unreadable_file_does_not_keep_the_others_back(talk: Path, tmp_path: Path) -> None:
    """One line for each file that cannot be read, exit code 1, and all the rest."""
    files = [tmp_path / "no.wav", talk, tmp_path / "neither.wav", talk]
    result = run("analyze", *files, *QUIET, "--format", "jsonl")
    assert result.exit_code == 1
    assert len(sessions(events_of(result.stdout))) == 2
    first, second = result.stderr.splitlines()
    assert "no.wav does not exist" in first
    assert "neither.wav does not exist" in second


def test_a_csv_row_tells_all_of_an_utterance(talk: Path) -> None:
    """Spreadsheets get seconds, scores that sum to one, and nothing where nothing was measured."""
    result = run("analyze", talk, *QUIET, "--model", "rules", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert result.stdout.splitlines()[0] == ",".join(CSV_COLUMNS)
    assert len(rows) == 2
    for row in rows:
        assert row["file"] == str(talk)
        assert 0 <= float(row["start"]) < float(row["end"]) <= 7.0
        assert sum(float(row[name]) for name in row if name.startswith("score_")) == pytest.approx(
            1, abs=1e-3
        )
        assert row["valence"] == ""
        assert -1 <= float(row["arousal"]) <= 1
        assert (row["modalities"], row["model"]) == ("audio", "rules")


def test_the_table_has_a_row_an_utterance(talk: Path, silence: Path) -> None:
    """People see the file's name, the times and the categories; an empty file has no table."""
    result = run("analyze", talk, silence, *QUIET, "--format", "table")
    lines = result.stdout.splitlines()
    assert "talk.wav" in result.stdout
    assert len([line for line in lines if "0:0" in line]) == 2
    assert "silence.wav" not in result.stdout
    assert "silence.wav: nobody speaks" in result.stderr


def test_channels_that_cancel_are_heard(tmp_path: Path) -> None:
    """A balanced line on a stereo input is not told as silence."""
    voice = spoken(7.0)
    balanced = tmp_path / "balanced.wav"
    soundfile.write(balanced, np.stack([voice, -voice], axis=1), 16_000)
    result = run("analyze", balanced, *QUIET)
    assert sum(isinstance(each, EmotionCompleted) for each in events_of(result.stdout)) == 2


def test_the_line_for_two_sound_tracks_says_what_to_do(tmp_path: Path) -> None:
    """The track that holds sound is heard; the other can be asked for, and is told as chosen."""
    voice = spoken(7.0)[:, None]
    film = tracks(tmp_path / "film.mkv", [0 * voice, voice], 16_000)
    result = run("analyze", film, *QUIET)
    assert sum(isinstance(each, EmotionCompleted) for each in events_of(result.stdout)) == 2
    assert "sound track 1 is heard (there are 0 to 1); --track N takes another" in result.stderr
    other = run("analyze", film, *QUIET, "--track", "0")
    refuses(other, 0, "nobody speaks", "--track 0, others were not heard")
    refuses(run("analyze", film, *QUIET, "--track", "2"), 1, "there are 0 to 1")


def test_a_track_is_chosen_of_files_only() -> None:
    """A microphone and a pipe have none."""
    refuses(run("listen", "--track", "1"), 2, "--file F")


@pytest.mark.parametrize(
    ("name", "beginning"), [("out.csv", "\ufefffile,start"), ("out.jsonl", "{"), ("out.any", "{")]
)
def test_an_output_file_chooses_its_format_by_its_ending(
    talk: Path, tmp_path: Path, name: str, beginning: str
) -> None:
    """`-o talk.csv` means CSV, with the mark by which Excel knows UTF-8; stdout has nothing."""
    out = tmp_path / name
    result = run("analyze", talk, *QUIET, "-o", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert out.read_text(encoding="utf-8").startswith(beginning)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_older_output_survives_a_call_that_yields_nothing(tmp_path: Path) -> None:
    """A slip in the file's name does not cost last night's results."""
    out = tmp_path / "out.csv"
    out.write_text("precious")
    result = run("analyze", tmp_path / "nothing.wav", *QUIET, "-o", out)
    assert result.exit_code == 1
    assert out.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_an_output_in_no_folder_is_refused_before_anything_is_analysed(
    talk: Path, tmp_path: Path
) -> None:
    """An hour of work must not end at a door that was shut from the beginning."""
    result = run("analyze", talk, *QUIET, "-o", tmp_path / "none" / "out.csv")
    assert result.exit_code == 2
    assert "a folder that does not exist" in result.stderr
    assert "loading" not in result.stderr


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("talk.srt", "--export"),
        ("talk.TextGrid", "--export"),
        ("talk.html", "streamser report talk.jsonl"),
    ],
)
def test_an_output_whose_name_promises_something_else_is_refused(
    talk: Path, tmp_path: Path, name: str, instead: str
) -> None:
    """A player finds no subtitles in JSON lines; who names the form means it."""
    out = tmp_path / name
    refuses(run("analyze", talk, *QUIET, "-o", out), 2, name, "JSON lines", instead)
    assert not out.exists()
    assert run("analyze", talk, *QUIET, "-o", out, "--format", "table").exit_code == 0
    assert out.is_file()


def test_an_output_that_is_called_lines_of_json_is_written(talk: Path, tmp_path: Path) -> None:
    """Its name promises what it holds."""
    out = tmp_path / "talk.ndjson"
    assert run("analyze", talk, *QUIET, "-o", out).exit_code == 0
    assert events_of(out.read_text())


def test_a_recording_is_never_its_own_output(talk: Path) -> None:
    """The one file that must not be written is the one that is read."""
    before = talk.read_bytes()
    result = run("analyze", talk, *QUIET, "-o", talk)
    assert result.exit_code == 2
    assert talk.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
def test_a_named_pipe_is_written_and_stays_a_pipe(talk: Path, tmp_path: Path) -> None:
    """`-o` replaces files, never what only looks like one: its reader gets the rows."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    result = run("analyze", talk, *QUIET, "-o", pipe)
    reader.join(60)
    assert result.exit_code == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(list(csv.DictReader(io.StringIO(read[0])))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_a_link_is_followed_and_the_mode_is_kept(talk: Path, tmp_path: Path) -> None:
    """The file a link leads to is replaced, and stays as private as it was."""
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert run("analyze", talk, *QUIET, "-o", link).exit_code == 0
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8-sig").startswith("file,start")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_what_people_say_is_for_its_owner_only(talk: Path, tmp_path: Path) -> None:
    """Events, tables and what `-o` writes; an old export loses the rights of others."""
    old = tmp_path / "a.jsonl"
    old.write_text("old")
    old.chmod(0o644)
    files = f"{old},{tmp_path}/b.jsonl,{tmp_path}/c.csv"
    arguments = ("--export", files, "-o", tmp_path / "d.csv")
    assert run("analyze", talk, *QUIET, *arguments).exit_code == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("a.jsonl", "b.jsonl", "c.csv", "d.csv"), 0o600)


def test_a_dash_means_stdout(talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-o -` makes no file named so."""
    monkeypatch.chdir(tmp_path)
    result = run("analyze", talk, *QUIET, "--format", "jsonl", "-o", "-")
    assert result.exit_code == 0
    assert isinstance(events_of(result.stdout)[-1], SessionClosed)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_be_read_costs_one_line(talk: Path, tmp_path: Path) -> None:
    """The others are done, also where the system forbids one of them."""
    locked = tmp_path / "locked.wav"
    shutil.copy(talk, locked)
    locked.chmod(0)
    command = [*PROGRAM, "analyze", str(locked), str(talk), *QUIET, "--format", "jsonl"]
    if os.access(locked, os.R_OK):
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("this user may read everything, and there is no setpriv to change that")
        rights = "-dac_override,-dac_read_search"
        command = [setpriv, "--bounding-set", rights, "--inh-caps", rights, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "locked.wav cannot be read: Permission denied" in line
    assert len(sessions(events_of(done.stdout))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows forbids")
def test_control_characters_of_a_name_are_escaped(talk: Path, tmp_path: Path) -> None:
    """A name can neither break the line nor colour the terminal, and is told once."""
    name = "two\nlines\x1b[31m.wav"
    shown = r"two\nlines\x1b[31m.wav"
    result = run("analyze", tmp_path / name, *QUIET)
    refuses(result, 1, shown)
    assert result.stderr.count("lines") == 1
    shutil.copy(talk, tmp_path / name)
    result = run("analyze", tmp_path / name, *QUIET, "--format", "table")
    assert "\x1b" not in result.stdout
    assert shown in result.stdout.replace("\n", "")
