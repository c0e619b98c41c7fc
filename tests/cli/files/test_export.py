"""`--export` and `streamser export`: files that a session leaves, whatever ends it."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from streamser.events import EmotionCompleted, SessionClosed, encode_event
from streamser.export.read import read_recording
from tests.cli.running import DEMO, PROGRAM, events_of, refuses, run, shell, start
from tests.cli.sounds import spoken, write
from tests.cli.test_serve import serving
from tests.export.parsers import parse_srt, parse_textgrid, parse_vtt
from tests.export.script import Script, saved, stamped

QUIET = ("--asr", "none")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of two utterances."""
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", spoken(7.0))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of one utterance, for what is heard at real speed."""
    return write(tmp_path_factory.mktemp("short") / "short.wav", spoken(3.0))


# streamser export


def conversation(folder: Path) -> Path:
    """Write a session of two utterances."""
    script = Script(speaker="Anna")
    script.say(1000, 2000, "hello")
    script.say(3000, 4000, "bye", "sad")
    return saved(folder / "talk.jsonl", script.close())


def test_a_format_makes_a_file_beside_the_session(tmp_path: Path) -> None:
    """Named alone it is called after the session; several go by commas or repeated."""
    events = conversation(tmp_path)
    result = run("export", events, "--to", "vtt,textgrid", "--to", tmp_path / "other.srt")
    assert result.exit_code == 0, result.stderr
    assert len(parse_vtt((tmp_path / "talk.vtt").read_text(encoding="utf-8"))) == 2
    assert parse_textgrid((tmp_path / "talk.TextGrid").read_text(encoding="utf-8"))
    assert len(parse_srt((tmp_path / "other.srt").read_text(encoding="utf-8"))) == 2
    assert result.stderr.splitlines()[0] == f"{tmp_path / 'talk.vtt'}: 2 utterances."
    assert not list(tmp_path.glob(".*"))


def test_files_beside_a_session_follow_no_link(tmp_path: Path) -> None:
    """Only a link that a user names is meant."""
    events = conversation(tmp_path)
    other, there = tmp_path / "other", tmp_path / "there"
    other.write_text("precious", encoding="utf-8")
    for name, target in (("talk.html", other), ("talk.csv", other), ("named.csv", there)):
        (tmp_path / name).symlink_to(target)
    assert run("report", events).exit_code == 0
    assert run("export", events, "--to", "csv", "--to", tmp_path / "named.csv").exit_code == 0
    assert other.read_text(encoding="utf-8") == "precious"
    assert there.read_bytes() == (tmp_path / "talk.csv").read_bytes()


def test_exports_and_reports_are_for_their_owner_only(tmp_path: Path) -> None:
    """As the session is that they are made of."""
    events = conversation(tmp_path)
    out = tmp_path / "talk.html"
    assert run("export", events, "--to", "csv,audformat").exit_code == 0
    assert run("report", events, "--out", out).exit_code == 0
    tables = tmp_path / "talk.audformat"
    for path in (tmp_path / "talk.csv", tables, *tables.iterdir(), out):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def two_meetings(folder: Path) -> list[Path]:
    """Write a session of each of two meetings, as a server keeps them."""
    files = []
    for name, meeting in (("Anna", "ops"), ("Ben", "sales")):
        script = Script(name.lower(), speaker=name, meeting=meeting)
        script.say(1000, 2000, f"I am {name}")
        told = {name.lower(): (script.close(), 0)}
        files.append(stamped(folder / f"{name}.jsonl", told, meeting))
    return files


READERS = [("report", "--out", "ops.html"), ("export", "--to", "ops.vtt"), ("replay", None, None)]


@pytest.mark.parametrize(("command", "option", "name"), READERS)
def test_what_reads_recordings_takes_one_meeting_of_a_folder(
    tmp_path: Path, command: str, option: str | None, name: str | None
) -> None:
    """A folder of kept files is as good as their names; the refusal says which meetings are in."""
    files = two_meetings(tmp_path)
    (tmp_path / ".half.jsonl").write_text("no event", encoding="utf-8")
    (tmp_path / "notes.jsonl").write_text("no event", encoding="utf-8")
    to: list[str | Path] = []
    if option is not None and name is not None:
        to = [option, tmp_path / name]
    for given in (files, [tmp_path]):
        done = run(command, *given, "--meeting", "ops", *to)
        assert done.exit_code == 0, done.stderr
        made = done.stdout if name is None else (tmp_path / name).read_text(encoding="utf-8")
        assert "I am Anna" in made
        assert "I am Ben" not in made
        assert ("left out: " in done.stderr) == (given == [tmp_path])
    (tmp_path / "notes.jsonl").unlink()
    choice = "--meeting NAME (ops, sales) or --session ID (anna, ben)"
    refuses(run(command, tmp_path, *to), 1, "2 sessions", choice)
    refuses(run(command, tmp_path, "--meeting", "hr", *to), 1, "no meeting hr", "ops, sales")


@pytest.mark.parametrize(("command", "made"), [("report", "html"), ("export", "srt")])
def test_a_folder_of_record_is_its_session(tmp_path: Path, command: str, made: str) -> None:
    """What is made of it lies beside it; a folder without any is told of in one line."""
    kept = tmp_path / "kept"
    kept.mkdir()
    conversation(kept).rename(kept / "session.jsonl")
    (kept / "other.jsonl").write_text("no event", encoding="utf-8")
    to = ("--to", made) if command == "export" else ()
    assert run(command, kept, *to).exit_code == 0
    assert (kept / f"session.{made}").is_file()
    (tmp_path / "empty").mkdir()
    refuses(run(command, tmp_path / "empty", *to), 1, "empty", "folder without events", "--record")


def test_a_session_cut_in_the_middle_of_a_line_is_exported_and_told(tmp_path: Path) -> None:
    """What was whole is there."""
    events = conversation(tmp_path)
    data = events.read_bytes()
    events.write_bytes(data[:-30])
    result = run("export", events, "--to", "srt")
    assert result.exit_code == 0
    assert "its last line is cut off" in result.stderr.splitlines()[0]
    assert len(parse_srt((tmp_path / "talk.srt").read_text(encoding="utf-8"))) == 2


def test_mixed_sessions_are_refused_by_name_and_one_is_chosen(tmp_path: Path) -> None:
    """Each has a clock of its own; tables hold them all."""
    scripts = [Script("a"), Script("b")]
    for script in scripts:
        script.say(1000, 2000, "hello")
    events = saved(tmp_path / "x.jsonl", *(script.close() for script in scripts))
    out = tmp_path / "x.vtt"
    refuses(run("export", events, "--to", "vtt"), 1, str(out), "2 sessions", "--session ID (a, b)")
    assert not out.exists()
    assert run("export", events, "--to", "vtt", "--session", "b").exit_code == 0
    assert len(parse_vtt(out.read_text(encoding="utf-8"))) == 1
    assert run("export", events, "--to", "vtt", "--one-clock").exit_code == 0
    assert len(parse_vtt(out.read_text(encoding="utf-8"))) == 2
    assert run("export", events, "--to", "csv").exit_code == 0
    refuses(run("export", events, "--to", "vtt", "--session", "c"), 1, "no session c", "a, b")


def test_files_of_a_meeting_become_one(tmp_path: Path) -> None:
    """Laid on the meeting's clock, which a server has stamped them with."""
    files = []
    for name, began in (("Anna", 0), ("Ben", 10_000)):
        script = Script(name.lower(), speaker=name, meeting="m")
        script.say(1000, 2000, f"I am {name}")
        told = {name: (script.close(), began)}
        files.append(stamped(tmp_path / f"{name}.jsonl", told, "m"))
    result = run("export", *files, "--to", tmp_path / "m.vtt")
    assert result.exit_code == 0, result.stderr
    cues = parse_vtt((tmp_path / "m.vtt").read_text(encoding="utf-8"))
    assert [(cue.voice, cue.start) for cue in cues] == [("Anna", 1000), ("Ben", 11_000)]


def test_one_session_of_a_mixed_file_is_copied_as_it_is(tmp_path: Path) -> None:
    """Line by line, with the stamps."""
    told = {name: (Script(name, meeting="m").close(), 0) for name in "ab"}
    events = stamped(tmp_path / "m.jsonl", told, "m")
    out = tmp_path / "a.jsonl"
    assert run("export", events, "--to", out, "--session", "a").exit_code == 0
    whole = events.read_text(encoding="utf-8").splitlines()
    mine = [line for line in whole if json.loads(line)["session_id"] == "a"]
    assert out.read_text(encoding="utf-8").splitlines() == mine


def test_the_sound_can_be_named(tmp_path: Path, talk: Path) -> None:
    """That of a server's session lies elsewhere; tables and EmotionML point to it."""
    events = conversation(tmp_path)
    done = run("export", events, "--to", "csv,emotionml", "--audio", talk)
    assert done.exit_code == 0
    assert str(talk) in (tmp_path / "talk.csv").read_text(encoding="utf-8")
    assert talk.as_uri() in (tmp_path / "talk.emotionml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ((), 2, ["--to", "emotionml"]),
        (("--to", "mp3"), 2, ["--to mp3", "jsonl, csv, srt"]),
        (("--to", "x.mp3"), 2, ["x.mp3", ".TextGrid"]),
        (("--to", "vtt,"), 2, ["--to", "empty"]),
        (("--to", "vtt,vtt"), 2, ["twice"]),
        (("--to", "jsonl"), 2, ["talk.jsonl", "that is what is read"]),
        (("--to", "/nowhere/x.vtt"), 2, ["/nowhere/x.vtt", "folder does not exist"]),
        (("--to", "vtt", "--audio", "/nowhere.wav"), 2, ["--audio /nowhere.wav"]),
    ],
)
def test_what_cannot_be_exported_is_told(
    tmp_path: Path, arguments: tuple[str, ...], code: int, parts: list[str]
) -> None:
    """In one line, and nothing is written."""
    events = conversation(tmp_path)
    refuses(run("export", events, *arguments), code, *parts)
    assert list(tmp_path.iterdir()) == [events]


def test_a_file_that_is_no_session_is_told(tmp_path: Path) -> None:
    """Such as a recording, or nothing at all."""
    sound = write(tmp_path / "x.wav", spoken(1.0))
    refuses(run("export", sound, "--to", "vtt"), 1, "x.wav", "no events of ours")
    refuses(run("export", tmp_path / "no.jsonl", "--to", "vtt"), 1, "no.jsonl", "No such file")


# analyze --export


def test_what_is_exported_is_what_is_said(talk: Path, tmp_path: Path) -> None:
    """The events are those of stdout; the formats are made of them."""
    out = tmp_path / "talk.jsonl"
    result = run(
        *("analyze", talk, *QUIET, "--format", "jsonl"), "--export", f"{out},{tmp_path / 'a.srt'}"
    )
    assert result.exit_code == 0, result.stderr
    assert out.read_text(encoding="utf-8") == result.stdout
    assert len(parse_srt((tmp_path / "a.srt").read_text(encoding="utf-8"))) == 2
    # Made later it is the same.
    assert run("export", out, "--to", tmp_path / "b.srt").exit_code == 0
    assert (tmp_path / "b.srt").read_bytes() == (tmp_path / "a.srt").read_bytes()


def test_several_recordings_have_sets_of_their_own(talk: Path, tmp_path: Path) -> None:
    """In a folder, called after them, also where two have one name."""
    twin = write(tmp_path / "talk.wav", spoken(4.0))
    out = tmp_path / "out"
    result = run("analyze", talk, twin, *QUIET, "--export", f"{out}/", "--export-as", "jsonl,vtt")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "talk-2.jsonl",
        "talk-2.vtt",
        "talk.jsonl",
        "talk.vtt",
    ]
    assert len(read_recording(out / "talk.jsonl").utterances) == 2
    assert len(read_recording(out / "talk-2.jsonl").utterances) == 1


def test_files_called_after_recordings_follow_no_link(talk: Path, tmp_path: Path) -> None:
    """Others may write in the folder and know the names; a link that a user names is meant."""
    out, other, there = (tmp_path / name for name in ("out", "other", "there.jsonl"))
    out.mkdir()
    for ending in (".jsonl", ".vtt"):
        (out / f"talk{ending}").symlink_to(other)
    other.write_text("precious")
    (tmp_path / "named.jsonl").symlink_to(there)
    result = run("analyze", talk, *QUIET, "--export", f"{out}/", "--export-as", "jsonl,vtt")
    assert result.exit_code == 0, result.stderr
    assert other.read_text() == "precious"
    assert len(read_recording(out / "talk.jsonl").utterances) == 2
    assert run("analyze", talk, *QUIET, "--export", tmp_path / "named.jsonl").exit_code == 0
    assert len(read_recording(there).utterances) == 2


def test_tables_hold_several_recordings(talk: Path, tmp_path: Path) -> None:
    """Subtitles do not, and say what to do instead."""
    other = write(tmp_path / "other.wav", spoken(4.0))
    out = tmp_path / "all.csv"
    assert run("analyze", talk, other, *QUIET, "--export", out).exit_code == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 4
    refuses(
        run("analyze", talk, other, *QUIET, "--export", tmp_path / "all.vtt"),
        2,
        "all.vtt",
        "--export DIR/ --export-as vtt",
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--export", "x.mp3"), ["x.mp3", ".vtt"]),
        (("--export", "/nowhere/x.vtt"), ["folder does not exist"]),
        (("--export-as", "vtt"), ["--export-as goes with --export DIR/"]),
        (("--export", "a.vtt,b.vtt", "--export-as", "vtt"), ["--export-as goes with one folder"]),
        (("--export", "a.vtt", "--export-as", "vtt"), ["--export-as goes with one folder"]),
        (("--export", "/dev/null/x/", "--export-as", "vtt"), ["/dev/null/x"]),
        (("--export", "x/", "--export-as", "mp3"), ["--export-as mp3"]),
    ],
)
def test_an_export_that_cannot_be_is_refused_before_the_work(
    talk: Path, tmp_path: Path, arguments: tuple[str, ...], parts: list[str]
) -> None:
    """In one line: minutes of work are not spent on it."""
    refuses(run("analyze", talk, *QUIET, *arguments), 2, *parts)


def test_a_recording_is_not_written_over(talk: Path, tmp_path: Path) -> None:
    """Whatever it is called."""
    events = tmp_path / "talk.jsonl"
    events.symlink_to(talk)
    refuses(run("analyze", talk, *QUIET, "--export", events), 2, "that is what is read")


def test_nothing_is_written_of_what_could_not_be_read(tmp_path: Path) -> None:
    """An older file is worth more than an empty one."""
    out = tmp_path / "x.vtt"
    out.write_text("old", encoding="utf-8")
    assert run("analyze", tmp_path / "no.wav", *QUIET, "--export", out).exit_code == 1
    assert out.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_keeps_what_was_analysed(tmp_path: Path) -> None:
    """Of the recordings that were done, and of the one in work as far as it had come."""
    out = tmp_path / "all.csv"
    files = [DEMO] * 8
    child = start("analyze", *files, *QUIET, "--format", "jsonl", "--export", out)
    assert child.stdout is not None
    for line in child.stdout:
        if '"streamser.session.closed"' in line:
            break
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert f"Written: {out}." in err
    rows = out.read_text(encoding="utf-8").splitlines()
    assert len(rows) > 20


# listen --export


def listening(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Listen to raw sound on stdin, in a child process, until its first utterance is known."""
    child = subprocess.Popen(
        [*PROGRAM, "listen", "--file", "-", "--json", *QUIET, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    sound = np.rint(spoken(7.0) * 32767).astype("<i2").tobytes()
    child.stdin.write(sound)
    child.stdin.flush()
    for line in child.stdout:
        if b'"streamser.emotion.completed"' in line:
            return child
    raise AssertionError("it has ended before it said anything")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_program_leaves_what_it_has_said(tmp_path: Path) -> None:
    """Every event is in the file before anybody hears of it; the other formats can be made."""
    out = tmp_path / "talk.jsonl"
    child = listening("--export", out)
    child.kill()
    child.communicate(timeout=60)
    recording = read_recording(out)
    assert recording.sessions[0].closed is None
    assert recording.utterances[0].emotion is not None
    assert run("export", out, "--to", "vtt").exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_still_writes_every_format(tmp_path: Path) -> None:
    """The end is told, and all is complete; the files are for their owner only."""
    child = listening("--export", f"{tmp_path}/a.jsonl,{tmp_path}/a.vtt,{tmp_path}/a.audformat")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    recording = read_recording(tmp_path / "a.jsonl")
    (session,) = recording.sessions
    assert session.closed is not None
    assert session.began is not None
    cues = parse_vtt((tmp_path / "a.vtt").read_text(encoding="utf-8"))
    assert len(cues) == len(session.utterances) >= 1
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"a.jsonl": 0o600, "a.vtt": 0o600, "a.audformat": 0o700}
    assert b"Written: " in err


def test_what_json_said_can_be_exported(short: Path, tmp_path: Path) -> None:
    """`listen --json > talk.jsonl` is a session, too."""
    result = run("listen", "--file", short, "--json", *QUIET)
    events = tmp_path / "talk.jsonl"
    events.write_text(result.stdout, encoding="utf-8")
    assert run("export", events, "--to", "textgrid").exit_code == 0
    tiers = parse_textgrid((tmp_path / "talk.TextGrid").read_text(encoding="utf-8"))
    assert [tier.name for tier in tiers] == ["speakers", "transcript", "category"]


def test_an_old_session_is_not_written_over(talk: Path, tmp_path: Path) -> None:
    """What was said live cannot be said again."""
    out = tmp_path / "talk.jsonl"
    out.write_text("old", encoding="utf-8")
    result = run("listen", "--file", talk, "--export", f"{tmp_path}/a.vtt,{out}", *QUIET)
    refuses(result, 2, "talk.jsonl", "there already")
    out.unlink()
    out.symlink_to(tmp_path / "elsewhere")
    result = run("listen", "--file", talk, "--export", out, *QUIET)
    refuses(result, 2, "talk.jsonl", "there already")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_an_export_that_is_not_complete_fails(short: Path, tmp_path: Path) -> None:
    """The session goes on, whole lines stay; the limit plays a full disk."""
    out = tmp_path / "talk.jsonl"
    done = shell('ulimit -f 2; "$@"', "listen", "--file", short, "--json", "--export", out, *QUIET)
    assert done.returncode == 1
    assert isinstance(events_of(done.stdout)[-1], SessionClosed)
    assert done.stderr.count("is not complete") == 1
    assert read_recording(out).notes == ()


# serve --export


def test_a_server_keeps_a_set_of_files_for_each_session(tmp_path: Path) -> None:
    """Called by time and session, stamped with the meeting's clock; complete at its end."""
    out = tmp_path / "kept"
    sound = np.rint(spoken(7.0) * 32767).astype("<i2").tobytes()
    arguments = ("--port", "0", *QUIET, "--export", str(out), "--export-as", "vtt,emotionml")
    with serving("serve", *arguments) as (server, url):
        address = f"ws{url.removeprefix('http')}/v1/realtime?rate=16000&meeting=m&speaker="
        for name in ("Anna", "Ben"):
            with connect(address + name, max_size=None) as client:
                client.send(sound)
                seen = 0
                while seen < 1:
                    seen += json.loads(client.recv(timeout=60))["type"] == EMOTION
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    files = sorted(out.glob("*.jsonl"))
    assert len(files) == 2
    for file, name in zip(files, ("Anna", "Ben"), strict=False):
        assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z_m_{name}_sess_\w+\.jsonl", file.name)
        (session,) = read_recording(file).sessions
        assert session.info is not None
        assert session.meeting == "m"
        assert session.closed is not None
        assert session.began is not None
        cues = parse_vtt(file.with_suffix(".vtt").read_text(encoding="utf-8"))
        assert len(cues) == len(session.utterances) >= 1
        assert file.with_suffix(".emotionml").exists()
        assert session.info.speaker in ("Anna", "Ben"), name
    merged = run("export", *files, "--to", tmp_path / "m.vtt")
    assert merged.exit_code == 0, merged.stderr
    voices = {cue.voice for cue in parse_vtt((tmp_path / "m.vtt").read_text(encoding="utf-8"))}
    assert voices == {"Anna", "Ben"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700


EMOTION = str(EmotionCompleted.__struct_config__.tag)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--export", "talk.vtt"), ["talk.vtt", "name a folder"]),
        (("--export", " "), ["--export", "empty"]),
        (("--export", "/dev/null"), ["/dev/null"]),
        (("--export-as", "vtt"), ["--export-as goes with --export DIR"]),
        (("--export", "x", "--export-as", "mp3"), ["--export-as mp3"]),
    ],
)
def test_a_server_that_could_keep_nothing_does_not_start(
    arguments: tuple[str, ...], parts: list[str]
) -> None:
    """One line, before anything is loaded."""
    refuses(run("serve", *QUIET, *arguments), 2, *parts)


def test_events_are_lines_of_their_own() -> None:
    """No event holds a line break, so a file can be cut at any."""
    script = Script(speaker="a\nb")
    script.say(1000, 2000, "c\nd\u2028e")
    assert not any(b"\n" in encode_event(event) for event in script.close())
