"""A server keeps what its sessions leave, on a thread of its own."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from streamser.events import Event, encode_event
from streamser.export.formats import EventLog, ExportFormat, kept_stem, render, safe_part
from streamser.export.read import read_recording
from streamser.export.records import Recording
from streamser.server.outgoing import EncodedEvent
from streamser.server.recorder import SessionRecorder
from tests.export.parsers import parse_srt
from tests.export.script import Script


def encoded_event(event: Event) -> EncodedEvent:
    """Make of an event what the hub delivers."""
    stamp = b',"cursor":1,"meeting":"m","at_ms":5}'
    return EncodedEvent(
        session_id=event.session_id,
        seq=event.seq,
        clock_ms=0,
        droppable=False,
        bodies=(encode_event(event)[:-1] + stamp,),
        stamp=stamp,
    )


def talk(session_id: str) -> list[Event]:
    """Return the events of a session of one utterance."""
    script = Script(session_id, speaker="Anna")
    script.say(1000, 2000, "hello")
    return script.close()


def test_sessions_that_go_on_at_once_have_files_of_their_own(tmp_path: Path) -> None:
    """With their stamps; the formats are made when a session is over."""
    recorder = SessionRecorder(tmp_path / "kept", [ExportFormat.JSONL, ExportFormat.SRT], print)
    for pair in zip(talk("sess_a"), talk("sess_b"), strict=True):
        for event in pair:
            recorder.deliver(encoded_event(event))
    recorder.close()
    files = sorted((tmp_path / "kept").glob("*.jsonl"))
    stems = [file.stem.split("_", 1)[1] for file in files]
    assert stems == ["m_Anna_sess_a", "m_Anna_sess_b"]
    for file in files:
        (session,) = read_recording(file).sessions
        assert (session.meeting, session.missing) == ("m", 0)
        assert session.began is not None
        assert len(parse_srt(file.with_suffix(".srt").read_text(encoding="utf-8"))) == 1


def test_a_session_that_never_ended_is_finished_with_the_server(tmp_path: Path) -> None:
    """What there is of it is kept in every format."""
    recorder = SessionRecorder(tmp_path, [ExportFormat.SRT], print)
    for event in talk("sess_a")[:-1]:
        recorder.deliver(encoded_event(event))
    recorder.close()
    (file,) = tmp_path.glob("*.jsonl")
    assert read_recording(file).sessions[0].closed is None
    assert file.with_suffix(".srt").exists()


def test_meetings_and_sessions_that_began_before_leave_nothing(tmp_path: Path) -> None:
    """A file without its beginning would be half a session."""
    recorder = SessionRecorder(tmp_path, [], print)
    first, *others = talk("")
    for event in (first, *talk("sess_a")[1:], *others):
        recorder.deliver(encoded_event(event))
    recorder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Zoë Ångström", "Zoë-Ångström"),
        ("../../etc/passwd", "etc-passwd"),
        ("CON:*?<>|_\\x", "CON-x"),
        ("...", ""),
        ("Ж" * 80, "Ж" * 40),
    ],
)
def test_names_in_names_of_files_are_safe(name: str, part: str) -> None:
    """Letters and digits of any script; nothing that leads elsewhere, nothing too long."""
    assert safe_part(name) == part
    stem = kept_stem(0, name, None, "s")
    assert stem == (f"19700101T000000Z_{part}_s" if part else "19700101T000000Z_s")


def test_what_is_older_goes_in_every_format_and_nothing_else(tmp_path: Path) -> None:
    """Neither a session that is still written nor a file that is called otherwise."""
    recorder = SessionRecorder(tmp_path, [], print)
    first, *others = talk("sess_a")
    recorder.deliver(encoded_event(first))
    old = kept_stem(0, "ops", "Ann", "sess_old")
    (tmp_path / f"{old}.audformat").mkdir()
    others_own = {"own.jsonl", "19700101T000000Z_recording.wav", "19700101T000000Z_sess_.txt"}
    for name in (f"{old}.jsonl", f"{old}.csv", f"{old}.audformat/x.csv", *others_own):
        (tmp_path / name).write_text("x")
    while not list(tmp_path.glob("*_sess_a.jsonl")):
        threading.Event().wait(0.01)
    later = time.time() + 10 * 86_400
    assert recorder.remove_older(30) == 1
    assert recorder.remove_older(1, later) == 0
    left = {file.name for file in tmp_path.iterdir()}
    assert left > others_own
    assert [name.endswith("_sess_a.jsonl") for name in left - others_own] == [True]
    for event in others:
        recorder.deliver(encoded_event(event))
    recorder.close()
    assert recorder.remove_older(1, later) == 1
    assert {file.name for file in tmp_path.iterdir()} == others_own


def test_what_cannot_be_removed_keeps_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go, and a line says that something may still be there."""
    said: list[str] = []
    recorder = SessionRecorder(tmp_path, [], said.append)
    names = [f"{kept_stem(0, None, None, f'sess_{name}')}.jsonl" for name in "abcdefgh"]
    for name in names:
        (tmp_path / name).write_text("x")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name in names[:4]:
            raise PermissionError(errno.EPERM, "not permitted")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert recorder.remove_older(1) == 4
    assert sorted(file.name for file in tmp_path.iterdir()) == names[:4]
    assert said == ["--keep-days: what is older may still be there: not permitted"]
    recorder.close()


def test_a_folder_that_goes_away_costs_a_line_a_session(tmp_path: Path) -> None:
    """The server serves on; nothing is raised where nobody would hear it."""
    told: list[str] = []
    recorder = SessionRecorder(tmp_path / "kept", [ExportFormat.SRT], told.append)
    shutil.rmtree(tmp_path / "kept")
    for event in (*talk("sess_a"), *talk("sess_b")):
        recorder.deliver(encoded_event(event))
    recorder.close()
    assert [line.split(" leaves")[0] for line in told] == ["what sess_a", "what sess_b"]
    assert all("No such file" in line for line in told)


def test_a_format_that_fails_costs_that_format_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told without what it says, counted; other formats and later sessions are kept."""
    usual = render

    def fail_for_csv(form: ExportFormat, recording: Recording) -> str | dict[str, str]:
        if form is ExportFormat.CSV:
            raise KeyError("what was said in private")
        return usual(form, recording)

    monkeypatch.setattr("streamser.server.recorder.render", fail_for_csv)
    told: list[str] = []
    lost: list[tuple[str, int]] = []
    recorder = SessionRecorder(
        tmp_path, [ExportFormat.CSV, ExportFormat.SRT], told.append, lambda *one: lost.append(one)
    )
    for event in (*talk("sess_a"), *talk("sess_b")):
        recorder.deliver(encoded_event(event))
    recorder.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == len(list(tmp_path.glob("*.srt"))) == 2
    assert [line.split(" at ")[0] for line in told] == [
        f"what sess_{name} leaves is not complete: no csv: KeyError" for name in "ab"
    ]
    assert lost == [("files", 1)] * 2


def test_a_slow_disk_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for is left out, counted and told; the session's file is closed."""
    disk = threading.Event()
    usual = EventLog.write

    def write(self: EventLog, line: bytes) -> None:
        disk.wait(60)
        usual(self, line)

    monkeypatch.setattr(EventLog, "write", write)
    told: list[str] = []
    lost: Counter[str] = Counter()
    recorder = SessionRecorder(
        tmp_path, [], told.append, lambda kind, number: lost.update({kind: number}), most=8
    )
    first, *middle, last = talk("sess_a")
    for event in (first, *middle * 50, last, *talk("sess_late")):
        recorder.deliver(encoded_event(event))
    waiting = recorder.waiting
    disk.set()
    recorder.close()
    assert waiting <= 8 + 1
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_bytes().splitlines()
    assert b"streamser.session.closed" in lines[-1]
    sent = 2 + 50 * len(middle) + len(talk("sess_late"))
    assert lost == {"events": sent - len(lines)}
    assert any(line.startswith("what sess_late leaves is not complete") for line in told)
    assert f"{2 + 50 * len(middle) - len(lines)} events are left out" in " ".join(told)


def test_a_disk_that_hangs_ends_no_server_s_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not written by then is given up, and it is known that something is missing."""
    disk = threading.Event()

    def write(self: EventLog, line: bytes) -> None:
        disk.wait(60)

    monkeypatch.setattr(EventLog, "write", write)
    told: list[str] = []
    recorder = SessionRecorder(tmp_path, [], told.append, patience_s=0.05)
    for event in talk("sess_a"):
        recorder.deliver(encoded_event(event))
    assert recorder.incomplete is None
    recorder.close()
    disk.set()
    assert recorder.incomplete == "the disk takes nothing any more"
    assert told == ["--export: it is not done within 0.05 s; it gets no more events."]


def test_a_slow_disk_is_waited_for_as_long_as_it_takes_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is to write: patience is with the next step, not with all of them."""
    usual = EventLog.write

    def write(self: EventLog, line: bytes) -> None:
        threading.Event().wait(0.02)
        usual(self, line)

    monkeypatch.setattr(EventLog, "write", write)
    recorder = SessionRecorder(tmp_path, [], print, patience_s=0.2)
    for name in "abcdef":
        for event in talk(f"sess_{name}"):
            recorder.deliver(encoded_event(event))
    recorder.close()
    assert recorder.incomplete is None
    assert len(list(tmp_path.glob("*.jsonl"))) == 6
