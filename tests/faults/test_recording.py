"""``listen --record`` where the program is killed or the disk is full: what was kept can be read.

Of the sound all is there but at most the last second.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.file import FileSource
from streamser.events import EmotionCompleted, SessionClosed, SpeechStarted, SpeechStopped
from tests.cli.running import DEMO, events_of, shell, start, without_beginning
from tests.cli.sounds import spoken, write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

QUIET = ("--asr", "none")


def kept_sound(folder: Path) -> Samples:
    """Read the sound of a recording, whether it was finished or not."""
    pieces = FileSource(folder / "audio.flac").chunks()
    sound: Samples = np.concatenate([piece for piece in pieces if isinstance(piece, np.ndarray)])
    return sound[:, 0]


def original(frames: int) -> Samples:
    """Read as much of the demonstration."""
    sound: Samples = soundfile.read(DEMO, frames, dtype="float32")[0]
    return sound


def listen_until_an_utterance_ends(folder: Path) -> tuple[subprocess.Popen[str], str, int]:
    """Record the demonstration; return the program, its output, and the ms heard so far."""
    listening = start("listen", "--file", DEMO, "--json", "--record", folder, *QUIET)
    assert listening.stdout is not None
    head = ""
    for line in listening.stdout:
        head += line
        (event,) = events_of(line)
        if isinstance(event, SpeechStopped):
            assert event.clock_ms is not None
            return listening, head, round(event.clock_ms)
    raise AssertionError("nobody has spoken")


def rest_of(program: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end of a program; return what it still said, and its errors."""
    assert program.stdout is not None
    assert program.stderr is not None
    # Not communicate(): it forgets what was read ahead of the line that was asked for.
    with program:
        return program.stdout.read(), program.stderr.read()


def test_a_killed_program_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    """SIGKILL leaves no time for anything: the sound is readable, and so is each event told."""
    folder = tmp_path / "kept"
    listening, head, heard_ms = listen_until_an_utterance_ends(folder)
    listening.kill()
    tail, _ = rest_of(listening)
    assert listening.returncode == -signal.SIGKILL
    sound = kept_sound(folder)
    assert len(sound) >= (heard_ms - 1000) * SAMPLE_RATE // 1000
    np.testing.assert_allclose(sound, original(len(sound)), atol=1 / 32768)
    kept = without_beginning((folder / "session.jsonl").read_text(encoding="utf-8"))
    assert kept.startswith(head)
    # An event is kept before it is told, and whole lines are all that is ever written.
    assert kept.startswith(head + tail.rpartition("\n")[0])
    assert any(isinstance(event, SpeechStarted) for event in events_of(kept))


def test_a_program_that_is_asked_to_end_leaves_everything(tmp_path: Path) -> None:
    """SIGTERM: the recording has each sample that was analysed, the open utterance, and its end."""
    folder = tmp_path / "kept"
    listening, head, heard_ms = listen_until_an_utterance_ends(folder)
    listening.send_signal(signal.SIGTERM)
    tail, err = rest_of(listening)
    assert listening.returncode == 0, err
    kept = without_beginning((folder / "session.jsonl").read_text(encoding="utf-8"))
    assert kept == head + tail
    events = events_of(kept)
    closed = events[-1]
    assert isinstance(closed, SessionClosed)
    finals = sum(isinstance(event, EmotionCompleted) for event in events)
    assert (finals, closed.failed) == (closed.utterances, 0)
    sound = kept_sound(folder)
    assert closed.audio_ms >= heard_ms
    assert len(sound) == pytest.approx(closed.audio_ms * SAMPLE_RATE / 1000, abs=SAMPLE_RATE / 1000)
    np.testing.assert_allclose(sound, original(len(sound)), atol=1 / 32768)


def test_a_full_disk_stops_the_recording_and_nothing_else(tmp_path: Path) -> None:
    """One line, exit code 1; the session goes on to its end, and what fitted can be read.

    A limit on the size of files plays the disk: the sound reaches it in the middle.
    """
    folder = tmp_path / "kept"
    file = write(tmp_path / "talk.wav", spoken(6.0))
    arguments = ["--file", str(file), "--json", "--record", str(folder), *QUIET]
    done = shell('ulimit -f 64; "$@"', "listen", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("the recording is not complete") == 1
    assert "Traceback" not in done.stderr
    events = events_of(done.stdout)
    closed = events[-1]
    assert isinstance(closed, SessionClosed)
    assert closed.audio_ms == 6000
    assert closed.utterances == sum(isinstance(event, EmotionCompleted) for event in events) >= 1
    sound = kept_sound(folder)
    assert SAMPLE_RATE / 2 < len(sound) < 6 * SAMPLE_RATE
    np.testing.assert_allclose(sound, spoken(6.0)[: len(sound)], atol=1 / 32768)
    kept = without_beginning((folder / "session.jsonl").read_text(encoding="utf-8"))
    assert done.stdout.startswith(kept)
    assert kept.endswith("\n")


FULL = """
import resource, sys
from pathlib import Path
from streamser.cli.live.sinks import RecordSink
from streamser.events import SpeechStarted
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
recording = RecordSink(Path(sys.argv[1]))
for n in range(100):
    recording.take(
        SpeechStarted(
            event_id=f"e{n}", session_id="s", seq=n, item_id="i", audio_start_ms=n
        )
    )
recording.close()
print(recording.complete)
"""


def test_an_event_that_does_not_fit_is_left_out_as_a_whole(tmp_path: Path) -> None:
    """The events before it can be read, to the last."""
    folder = tmp_path / "kept"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert done.stderr.count("the recording is not complete: ") == 1
    assert f"{folder / 'session.jsonl'}: " in done.stderr
    kept = without_beginning((folder / "session.jsonl").read_text(encoding="utf-8"))
    assert kept.endswith("\n")
    events = events_of(kept)
    assert [event.seq for event in events] == list(range(len(events)))
    assert 10 < len(events) < 100
