"""`streamser forget`: nobody finds a person in a folder of recordings any more."""

from __future__ import annotations

import os
import stat
import sys
import unicodedata
from pathlib import Path

import pytest

from streamser.export import erase
from streamser.export.formats import EventLog
from streamser.export.read import read_recording
from tests.cli.running import refuses, run
from tests.export.script import Script, saved

ALONE, SHARED = "20261130T060000Z_ops_Ann_sess_a", "20261130T060001Z_ops_Ben_sess_b"
MADE = ("csv", "srt", "vtt", "TextGrid", "emotionml", "eaf", "rttm", "audformat", "html")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a folder as a server keeps it: one session of Ann's, one of Ben's with her in it."""
    folder = tmp_path / "kept"
    folder.mkdir()
    ann = Script("sess_a", speaker="Ann", meeting="ops")
    ann.say(0, 1000, "alone")
    ben = Script("sess_b", speaker="Ben", meeting="ops")
    ben.say(0, 1000, "good morning")
    ben.say(2000, 3000, "stolen", speaker="Ann")
    saved(folder / f"{ALONE}.jsonl", ann.close())
    saved(folder / f"{SHARED}.jsonl", ben.close())
    for path in folder.glob("*.jsonl"):
        formats = "csv,srt,vtt,textgrid,emotionml,eaf,rttm,audformat"
        assert run("export", path, "--to", formats).exit_code == 0
        assert run("report", path).exit_code == 0
    return folder


def traces(folder: Path, name: str = "Ann") -> list[Path]:
    """Return the files that have a name in them, or in their own."""
    return [
        path
        for path in folder.rglob("*")
        if name in unicodedata.normalize("NFC", path.name)
        or (path.is_file() and name.encode() in path.read_bytes())
    ]


def test_nobody_finds_them_any_more(kept: Path) -> None:
    """In no format; what others said is there still, for its owner's eyes only."""
    result = run("forget", "--speaker", "Ann", "--meeting", "ops", kept)
    assert result.exit_code == 0, result.stderr
    assert traces(kept) == []
    assert traces(kept, "stolen") == []
    ending = {path.name.removeprefix(f"{SHARED}.") for path in kept.iterdir()}
    assert ending == {"jsonl", *MADE}
    (session,) = read_recording(kept / f"{SHARED}.jsonl").sessions
    assert [each.text for each in session.utterances] == ["good morning"]
    # RTTM has no words; the events have.
    assert len(traces(kept, "good morning")) == len(MADE)
    if sys.platform != "win32":
        files = [path for path in kept.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_would_be_done_is_said_first(kept: Path) -> None:
    """And nothing is changed by that."""
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    result = run("forget", "--speaker", "Ann", "--dry-run", kept)
    assert result.exit_code == 0, result.stderr
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before
    told = result.stderr
    assert f"{ALONE}.srt: would be removed" in told
    assert f"{SHARED}.jsonl: would be rewritten: 1 utterance of theirs" in told
    assert f"{SHARED}.audformat: would be made again" in told


def test_what_cannot_be_reached_is_said(kept: Path) -> None:
    """Sound, formats of others, and what is made of nothing here; the exit code is 1."""
    sound, foreign, whole = kept / f"{SHARED}.wav", kept / f"{SHARED}.xyz", kept / "all.vtt"
    for path in (sound, foreign):
        path.write_bytes(b"RIFF")
    whole.write_text("WEBVTT\n\n<v Ann>stolen", encoding="utf-8")
    result = run("forget", "--speaker", "Ann", kept)
    assert result.exit_code == 1
    for path in (sound, foreign, whole):
        assert f"{path}: not touched" in result.stderr
        assert path.exists()
    assert traces(kept) == [whole]


def test_pictures_of_them_are_removed(kept: Path) -> None:
    """All of a set: a point in a plane has no name."""
    pytest.importorskip("matplotlib")
    plots = kept / "plots"
    assert run("report", kept / f"{SHARED}.jsonl", "--plots", plots).exit_code == 0
    assert list(plots.iterdir())
    assert run("forget", "--speaker", "Ann", kept).exit_code == 0
    assert list(plots.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="marks on open files of POSIX")
def test_a_recording_that_is_being_written_is_refused(kept: Path) -> None:
    """In one line, before anything is changed; one of somebody else's is none of its business."""
    before = sorted(kept.rglob("*"))
    log = EventLog(kept / "now.jsonl")
    script = Script("sess_c", speaker="Cleo", meeting="ops")
    for line in saved(kept / "tmp", script.events).read_bytes().splitlines(keepends=True):
        log.write(line)
    (kept / "tmp").unlink()
    assert run("forget", "--speaker", "Ann", "--dry-run", kept).exit_code == 0
    result = run("forget", "--speaker", "Cleo", kept)
    refuses(result, 1, "now.jsonl: it is being written", "Nothing was changed")
    log.close()
    assert run("forget", "--speaker", "Cleo", kept).exit_code == 0
    assert sorted(kept.rglob("*")) == before


def test_a_name_of_a_file_is_found_however_it_is_composed(tmp_path: Path) -> None:
    """Some systems take names of files apart."""
    script = Script("s", speaker="Ben")
    script.say(0, 1000, "hi")
    script.say(2000, 3000, "hers", speaker="Zoë")
    saved(tmp_path / unicodedata.normalize("NFD", "20261130T060000Z_Zoë_s.jsonl"), script.close())
    assert run("forget", "--speaker", "Zoe\u0308", tmp_path).exit_code == 0
    assert os.listdir(tmp_path) == ["20261130T060000Z_s.jsonl"]
    assert traces(tmp_path, "Zoë") == []


def test_what_others_say_of_them_stays_and_is_told(kept: Path) -> None:
    """These are the others' words."""
    script = Script("s", speaker="Cleo")
    script.say(0, 1000, "Ann was late")
    path = saved(kept / "other.jsonl", script.close())
    result = run("forget", "--speaker", "Ann", kept)
    assert result.exit_code == 0
    assert "1 file with the name left as they are: the words of others" in result.stderr
    assert traces(kept) == [path]


@pytest.mark.parametrize("wrong", [("--speaker", "Zoe"), ("--speaker", "Ann", "--meeting", "x")])
def test_nobody_of_that_name_is_a_fault(kept: Path, wrong: tuple[str, ...]) -> None:
    """Who mistypes a name is not told that all is well; it says so, and changes nothing."""
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    result = run("forget", *wrong, kept)
    assert result.exit_code == 1
    assert "nobody called" in result.stderr.splitlines()[-1]
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before


def test_wrong_use_is_told_in_one_line(tmp_path: Path) -> None:
    """Without a name, and without a folder."""
    refuses(run("forget", tmp_path), 2, "--speaker NAME")
    refuses(run("forget", "--speaker", "Ann", tmp_path / "none"), 2, "no such folder")


def test_who_was_stopped_can_begin_again(kept: Path) -> None:
    """What was made of a recording while they spoke in it is made anew, under a name of its own."""
    before = {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()}
    ben = Script("sess_c", speaker="Ben", meeting="ops")
    ben.say(0, 1000, "good morning")
    ben.say(2000, 3000, "stolen", speaker="Ann")
    shared = "20261130T060002Z_Ann_Ben"
    saved(kept / f"{shared}.jsonl", ben.close())
    assert run("export", kept / f"{shared}.jsonl", "--to", "csv,audformat").exit_code == 0
    old = (kept / f"{shared}.csv").read_bytes()
    assert run("forget", "--speaker", "Ann", kept).exit_code == 0
    (kept / f"{SHARED}.csv").write_bytes(before[f"{SHARED}.csv"])
    (kept / f"{SHARED}.html").write_bytes(before[f"{SHARED}.html"])
    (kept / f"{shared}.csv").write_bytes(old)
    assert traces(kept)
    result = run("forget", "--speaker", "Ann", kept)
    assert result.exit_code == 0, result.stderr
    assert traces(kept) == traces(kept, "stolen") == []
    assert b"good morning" in (kept / f"{SHARED}.csv").read_bytes()
    assert not (kept / f"{shared}.csv").exists()
    refuses(run("forget", "--speaker", "Ann", kept), 1, "nobody called Ann")


def test_no_other_file_is_written_over(tmp_path: Path) -> None:
    """Where a name without theirs is taken, by a file or by another of theirs, there are more."""
    for number, name in enumerate(("Ann_talk", "talk_Ann")):
        ben = Script(f"sess_{number}", speaker="Ben")
        ben.say(0, 1000, f"morning {number}")
        ben.say(2000, 3000, "stolen", speaker="Ann")
        saved(tmp_path / f"{name}.jsonl", ben.close())
        assert run("export", tmp_path / f"{name}.jsonl", "--to", "csv").exit_code == 0
    (tmp_path / "talk.csv").write_text("precious")
    result = run("forget", "--speaker", "Ann", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "talk.csv").read_text() == "precious"
    for number, stem in enumerate(("talk-2", "talk-3")):
        assert f"morning {number}" in (tmp_path / f"{stem}.jsonl").read_text()
        assert f"morning {number}" in (tmp_path / f"{stem}.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "talk.csv",
        *(f"talk-{number}{ending}" for number in (2, 3) for ending in (".jsonl", ".csv")),
    }


def test_what_is_made_of_one_recording_is_not_taken_for_another_s(tmp_path: Path) -> None:
    """Though but for their name the two are called alike."""
    plain, shared = Script("sess_0", speaker="Ben"), Script("sess_1", speaker="Ben")
    plain.say(0, 1000, "morning")
    shared.say(0, 1000, "evening")
    shared.say(2000, 3000, "stolen", speaker="Ann")
    saved(tmp_path / "talk.jsonl", plain.close())
    saved(tmp_path / "talk_Ann.jsonl", shared.close())
    assert run("export", tmp_path / "talk_Ann.jsonl", "--to", "csv").exit_code == 0
    (tmp_path / "talk.csv").write_text("precious")
    result = run("forget", "--speaker", "Ann", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "talk.csv").read_text() == "precious"
    assert "evening" in (tmp_path / "talk-2.csv").read_text()
    assert result.stderr.count("made again") == 1


def test_who_was_stopped_before_a_recording_was_written_can_begin_again(tmp_path: Path) -> None:
    """It has its new name already, and what is made of it the old one."""
    shared = Script("sess_0", speaker="Ben")
    shared.say(0, 1000, "evening")
    shared.say(2000, 3000, "stolen", speaker="Ann")
    saved(tmp_path / "talk_Ann.jsonl", shared.close())
    assert run("export", tmp_path / "talk_Ann.jsonl", "--to", "csv").exit_code == 0
    (tmp_path / "talk_Ann.jsonl").rename(tmp_path / "talk.jsonl")
    result = run("forget", "--speaker", "Ann", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"talk.jsonl", "talk.csv"}
    assert "evening" in (tmp_path / "talk.csv").read_text()
    assert traces(tmp_path) == traces(tmp_path, "stolen") == []


@pytest.mark.parametrize(
    "content",
    [b"", bytes(100), b"\xff\xfe" * 50, b"Ann said so\n"],
    ids=["empty", "zeros", "marks", "text"],
)
def test_a_recording_that_cannot_be_read_is_told(kept: Path, content: bytes) -> None:
    """It is called after them, or has their name: what is in it, nobody knows."""
    name = "damaged" if b"Ann" in content else "20261130T060009Z_ops_Ann_sess_z"
    (kept / f"{name}.jsonl").write_bytes(content)
    result = run("forget", "--speaker", "Ann", kept)
    assert result.exit_code == 1
    assert f"{name}.jsonl: not touched: it has the name, and no events can be read" in (
        " ".join(result.stderr.split())
    )


def test_a_name_is_found_in_the_largest_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at bit by bit, and no name falls between two of them."""
    monkeypatch.setattr(erase, "_PART", 64)
    monkeypatch.setattr(erase, "_OVERLAP", 16)
    for before in range(50, 70):
        (kept / f"notes {before}.txt").write_text("x" * before + " Ann " + "x" * 100)
    result = run("forget", "--speaker", "Ann", kept)
    assert result.exit_code == 1
    assert result.stderr.count("is made of no events here") == 20
