"""`streamser listen`: sound at real speed, from files, pipes and a microphone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from streamser.cli.live.listen import show
from streamser.client.wire import ServerError
from streamser.events import (
    EmotionCompleted,
    Event,
    SessionClosed,
    SessionCreated,
    SessionEvent,
    SpeechStarted,
    SpeechStopped,
)
from streamser.export.read import read_recording
from tests.cli.running import (
    DEMO,
    PROGRAM,
    ended,
    events_of,
    refuses,
    run,
    shell,
    start,
    without_beginning,
)
from tests.cli.sounds import spoken, write
from tests.data import shared_data
from tests.export.script import Script
from tests.virtual_mic import virtual_microphone

QUIET = ("--asr", "none")
CLIPS = (
    "audio/sense_and_sensibility_01_austen-0880.flac",
    "audio/sense_and_sensibility_01_austen-0890.flac",
)


def spans(events: list[SessionEvent]) -> list[tuple[int, int]]:
    """Return the beginning and end of every utterance, in ms."""
    starts = [event.audio_start_ms for event in events if isinstance(event, SpeechStarted)]
    ends = [event.audio_end_ms for event in events if isinstance(event, SpeechStopped)]
    return list(zip(starts, ends, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_flushes_the_open_utterance_and_ends_well(name: str) -> None:
    """Nothing that was said is lost, stdout holds only events, and the exit code is 0."""
    listening = start("listen", "--file", DEMO, "--json", *QUIET)
    assert listening.stdout is not None
    head = []
    for line in listening.stdout:
        head.append(line)
        if "speech_started" in line:
            break
    listening.send_signal(signal.Signals[name])
    tail, err = listening.communicate(timeout=60)
    events = events_of("".join(head) + tail)
    assert listening.returncode == 0
    assert isinstance(events[0], SessionCreated)
    assert isinstance(events[-1], SessionClosed)
    assert events[-1].utterances == 1
    assert [event.reason for event in events if isinstance(event, SpeechStopped)] == ["flush"]
    assert sum(isinstance(event, EmotionCompleted) for event in events) == 1
    assert "1 utterance" in err
    assert "Traceback" not in err


STUBBORN = """
import signal
from streamser.cli.live.follow import follow
class Source:
    def stop(self):
        print("asked", flush=True)
class Analyzer:
    def stream(self, source, **options):
        yield None
        print("ready", flush=True)
        while True:
            signal.pause()
follow(Analyzer(), Source(), [])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_signal_ends_the_program_at_once() -> None:
    """Should the end take too long, Ctrl-C means what it says."""
    child = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "asked\n"
    _, err = ended(child, signal.SIGINT)
    assert child.returncode == 130
    assert err == ""


class Quiet:
    """A source that needs not be stopped."""

    name = "talk.wav"

    def stop(self) -> None:
        """Have nothing to do."""


class GivenUp:
    """Tell two utterances of 5 s of sound, and then what came to an end."""

    def __init__(self, *, closed: bool) -> None:
        script = Script()
        script.say(1000, 2000, "hello")
        script.say(3000, 4500, "bye", "sad")
        self._events = script.close(audio_ms=9000) if closed else script.events

    def stream(self, source: object, **options: Any) -> Iterator[Event]:
        """Yield events, then raise."""
        options["on_audio"](np.zeros(5 * 16_000, np.float32))
        yield from self._events
        raise ServerError("given up after 120 s")


@pytest.mark.parametrize(("closed", "heard"), [(False, "0:05.0"), (True, "0:09.0")])
def test_what_was_told_before_a_server_is_lost_is_summed_up(
    closed: bool, heard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not its session had an end; why it is lost is told last."""
    analyzer, source = GivenUp(closed=closed), Quiet()
    with pytest.raises(ServerError, match="given up"):
        show(cast("Any", analyzer), cast("Any", source), as_json=False, speaker=None)
    told = capsys.readouterr()
    assert "hello" in told.out
    first, shares, *_ = told.err.splitlines()
    assert first.startswith(f"{heard} heard")
    assert first.endswith("2 utterances")
    assert "sad 50%" in shares


LOADING = """
import sys, threading
from pathlib import Path
import streamser.pipeline.analyzer as analyzer
from streamser.audio.file import FileSource
from streamser.cli.live.listen import Outputs, listen_to
from streamser.settings import Settings
def build(settings, tell, part, before):
    if part == "words":
        tell("loading Whisper tiny.en …")
    threading.Event().wait()
analyzer.build_engine = build
listen_to(FileSource(sys.argv[1], paced=True), Settings(), kept=Outputs(record=Path(sys.argv[2])))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_models_are_loaded_ends_the_program_at_once(
    name: str, code: int, tmp_path: Path
) -> None:
    """People see that it listens; there is no traceback, and nothing is left behind."""
    child = subprocess.Popen(
        [sys.executable, "-c", LOADING, DEMO, tmp_path / "kept"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert "are kept in" in child.stderr.readline()
    assert child.stderr.readline() == "listening; loading Whisper tiny.en …\n"
    child.send_signal(signal.Signals[name])
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (code, "", "")
    assert not list((tmp_path / "kept").iterdir())


def test_models_that_cannot_be_loaded_are_told_in_one_line(tmp_path: Path) -> None:
    """The program ends with exit code 1, and nothing but that line."""
    result = run(
        "listen", "--file", DEMO, "--json", "--asr", "whisper", "--asr-model", tmp_path / "none"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    (fault,) = result.stderr.splitlines()[1:]
    assert "No Whisper model" in fault


def test_a_recording_holds_the_events_and_the_sound(tmp_path: Path) -> None:
    """`session.jsonl` is what stdout said, and the FLAC what was heard, sample by sample."""
    samples = spoken(4.0)
    file = write(tmp_path / "talk.wav", samples)
    folder = tmp_path / "kept" / "first"
    result = run("listen", "--file", file, "--json", "--record", folder, *QUIET)
    assert result.exit_code == 0
    kept = (folder / "session.jsonl").read_text(encoding="utf-8")
    assert without_beginning(kept) == result.stdout
    assert len(spans(events_of(result.stdout))) == 1
    sound, rate = soundfile.read(folder / "audio.flac", dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(sound, samples, atol=1 / 32768)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_recording_says_when_it_began(tmp_path: Path) -> None:
    """So that a report of it has a date."""
    file = write(tmp_path / "talk.wav", spoken(1.0))
    folder = tmp_path / "kept"
    before = time.time()
    assert run("listen", "--file", file, "--record", folder, *QUIET).exit_code == 0
    (session,) = read_recording(folder / "session.jsonl").sessions
    assert session.began is not None
    assert before * 1000 - 1 <= session.began <= time.time() * 1000 + 1


def test_a_session_ends_with_its_report_if_asked(tmp_path: Path) -> None:
    """One page with a date, for its owner only; an old one is not replaced."""
    file = write(tmp_path / "talk.wav", spoken(3.0))
    page = tmp_path / "page.html"
    arguments = ("listen", "--file", file, "--report", page, *QUIET)
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    assert f"Written: {page}." in done.stderr
    assert str(datetime.now(UTC).year) in page.read_text(encoding="utf-8")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    refuses(run(*arguments), 2, "--report", "it is there already")


def test_a_recording_is_for_its_owner_only(tmp_path: Path) -> None:
    """What people say at home is nobody's business on a shared machine."""
    folder = tmp_path / "kept"
    file = write(tmp_path / "talk.wav", spoken(1.0))
    assert run("listen", "--file", file, "--record", folder, *QUIET).exit_code == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    assert modes == {"kept": 0o700, "session.jsonl": 0o600, "audio.flac": 0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_recording_that_is_not_complete_fails(tmp_path: Path) -> None:
    """Scripts learn of it; the session goes on, and so do its events where the sound is too much.

    The limit plays a full disk.
    """
    file = write(tmp_path / "talk.wav", spoken(3.0))
    arguments = ["--file", str(file), "--json", "--record", str(tmp_path / "kept"), *QUIET]
    done = shell('ulimit -f 20; "$@"', "listen", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("the recording is not complete") == 1
    assert "audio.flac" in done.stderr
    assert "Traceback" not in done.stderr
    kept = (tmp_path / "kept" / "session.jsonl").read_text(encoding="utf-8")
    events = events_of(done.stdout)
    assert isinstance(events[-1], SessionClosed)
    assert [type(event) for event in events_of(kept)] == [type(event) for event in events]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rate", "0"), ("--rate", "3999"), ("--channels", "0"), ("--channels", "65")],
)
def test_raw_sound_of_no_rate_or_channels_is_refused(option: str, value: str) -> None:
    """Zero is a slip, not a wish for the default."""
    result = run("listen", "--file", "-", option, value, *QUIET)
    assert result.exit_code == 2
    assert option in result.stderr
    assert "than or equal to" in result.stderr


def test_a_recording_never_replaces_another(tmp_path: Path) -> None:
    """A folder that holds a session is refused, and stays as it is."""
    (tmp_path / "session.jsonl").write_text("old")
    result = run("listen", "--file", DEMO, "--record", tmp_path, *QUIET)
    assert result.exit_code == 2
    assert "holds a session already" in result.stderr.splitlines()[-1]
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("name", ["session.jsonl", "audio.flac"])
def test_a_recording_follows_no_link_in_its_folder(tmp_path: Path, name: str) -> None:
    """One that leads nowhere yet would have another write where it leads."""
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    result = run("listen", "--file", DEMO, "--record", tmp_path, *QUIET)
    assert result.exit_code == 2
    assert "holds a session already" in result.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_nothing_is_stored_without_being_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listening leaves no trace on the disk."""
    file = write(tmp_path / "talk.wav", spoken(1.0))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert run("listen", "--file", file, *QUIET).exit_code == 0
    assert list(empty.iterdir()) == []


def test_a_pipe_gets_one_plain_line_an_utterance(tmp_path: Path) -> None:
    """Without a terminal and without --json there is one readable line and no control code."""
    file = write(tmp_path / "talk.wav", spoken(4.0))
    result = run("listen", "--file", file, *QUIET)
    (line,) = result.stdout.splitlines()
    assert "\x1b" not in result.stdout
    assert line.startswith("0:00.")
    assert "V –  " not in line
    assert " ms" in line
    notice, *summary = result.stderr.splitlines()
    assert "Art. 5(1)(f)" in notice
    assert "1 utterance" in summary[0]


def test_raw_sound_comes_through_stdin() -> None:
    """`--file -` takes PCM of a stated rate, count of channels and encoding."""
    samples = np.repeat(spoken(4.0), 2)
    form = ["--rate", "32000", "--channels", "2", "--encoding", "f32le"]
    stereo = np.stack([samples, np.zeros_like(samples)], axis=1)
    done = subprocess.run(
        [*PROGRAM, "listen", "--file", "-", *form, "--channel", "0", "--json", *QUIET],
        input=stereo.astype("<f4").tobytes(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    events = events_of(done.stdout.decode())
    assert done.returncode == 0
    assert len(spans(events)) == 1
    assert isinstance(events[-1], SessionClosed)
    assert events[-1].audio_ms == pytest.approx(4000, abs=2)


def test_a_pipe_without_sound_is_told(tmp_path: Path) -> None:
    """An empty pipe is a fault of the source, told in the events and to people."""
    done = subprocess.run(
        [*PROGRAM, "listen", "--file", "-", "--json", *QUIET],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"ended before any sound" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--device", "0", "--file", "talk.wav"], "exclude each other"),
        (["--rate", "8000"], "--file -"),
        (["--file", "talk.wav", "--encoding", "f32le"], "--file -"),
        (["--device", ""], "--device: it is empty"),
        (["--file", ""], "--file: it is empty"),
        (["--file", "talk.wav", "--record", ""], "--record: it is empty"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], part: str) -> None:
    """What cannot all be meant is not guessed at."""
    refuses(run("listen", *arguments), 2, part)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_a_terminal_gets_the_live_view(tmp_path: Path) -> None:
    """The level moves, the utterance stays, and the cursor comes back."""
    file = write(tmp_path / "talk.wav", spoken(4.0))
    parent, child = os.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    env.pop("NO_COLOR", None)
    with subprocess.Popen(
        [*PROGRAM, "listen", "--file", str(file), *QUIET],
        env=env,
        stdout=child,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as listening:
        os.close(child)
        shown = b""
        while piece := _read(parent):
            shown += piece
        assert listening.stderr is not None
        err = listening.stderr.read()
    os.close(parent)
    text = shown.decode()
    assert listening.returncode == 0
    assert "dBFS" in text
    assert "speaking" in text
    assert "(speech, " in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert b"1 utterance" in err


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says EIO, not end of file, when the other side has gone
        return b""


def test_a_microphone_yields_the_utterances_of_the_file(tmp_path: Path) -> None:
    """What goes through the air of a sound server is heard as it is in the file, to 100 ms."""
    folder = shared_data("speech")
    pause = np.zeros(16_000, np.float32)
    # The device takes a while to open; what is played into it begins with silence.
    pieces = [np.tile(pause, 2)]
    for clip in CLIPS:
        pieces += [soundfile.read(folder / clip, dtype="float32")[0], pause]
    file = write(tmp_path / "conversation.wav", np.concatenate(pieces))
    analysed = run("analyze", file, *QUIET, "--format", "jsonl")
    expected = spans(events_of(analysed.stdout))

    with virtual_microphone() as microphone:
        listening = start("listen", "--device", "0", "--json", *QUIET, env=microphone.env)
        assert listening.stdout is not None
        head = listening.stdout.readline()
        assert microphone.play(file).wait(timeout=60) == 0
        listening.send_signal(signal.SIGINT)
        tail, err = listening.communicate(timeout=60)
    heard = spans(events_of(head + tail))

    assert listening.returncode == 0, err
    assert len(expected) >= len(CLIPS)
    assert len(heard) == len(expected)
    offset = heard[0][0] - expected[0][0]
    for (start_ms, end_ms), (expected_start, expected_end) in zip(heard, expected, strict=True):
        assert start_ms - offset == pytest.approx(expected_start, abs=100)
        assert end_ms - offset == pytest.approx(expected_end, abs=100)
