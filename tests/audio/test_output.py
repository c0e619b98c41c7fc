"""Sound that is played while it is read, and kept in a file that survives its writer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE
from streamser.audio.file import FileSource
from streamser.audio.output import Audible, FlacRecorder
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError
from tests.audio.sounds import heard
from tests.data import shared_data


class Blocks:
    """A source of a few blocks, each of one value, with a gap after the first."""

    name = "blocks"
    rate = 16_000
    channels = 1
    live = True
    duration = None

    def __init__(self, count: int) -> None:
        self.stopped = False
        self._count = count

    def chunks(self) -> Iterator[Frames | Gap]:
        for value in range(self._count):
            yield np.full((320, 1), value, dtype=np.float32)
            if value == 0:
                yield Gap(320, "dropped")

    def stop(self) -> None:
        self.stopped = True


class Output:
    """A loudspeaker that plays into a list, fails, or hangs until it is let go."""

    def __init__(self, *, fails: bool = False, hangs: bool = False) -> None:
        self.played: list[bytes] = []
        self.tries = 0
        self.closed = threading.Event()
        self.free = threading.Event()
        self._fails = fails
        if not hangs:
            self.free.set()

    def write(self, data: bytes) -> None:
        self.free.wait(60)
        self.tries += 1
        if self._fails:
            raise AudioError("the loudspeaker plays no more: unplugged")
        self.played.append(data)

    def close(self) -> None:
        self.closed.set()


def test_what_is_yielded_is_played() -> None:
    """In its order and to its end; then the device is given back."""
    output = Output()
    audible = Audible(Blocks(5), output)
    chunks = list(audible.chunks())
    assert len(chunks) == 6
    frames = [chunk.tobytes() for chunk in chunks if not isinstance(chunk, Gap)]
    assert output.played == frames
    assert output.closed.is_set()
    assert audible.fault is None


def test_a_loudspeaker_that_fails_is_told_and_stops_nothing() -> None:
    """All is still heard by the program, and the device is not asked again."""
    output = Output(fails=True)
    audible = Audible(Blocks(5), output)
    assert len(list(audible.chunks())) == 6
    assert output.tries == 1
    assert audible.fault is not None
    assert "unplugged" in audible.fault


def test_a_loudspeaker_that_hangs_holds_nobody_up() -> None:
    """What it cannot take is not kept for ever; it ends when it is let go."""
    output = Output(hangs=True)
    audible = Audible(Blocks(500), output)
    sound = audible.chunks()
    heard = [next(sound) for _ in range(400)]
    assert len(heard) == 400
    output.free.set()
    sound.close()  # type: ignore[attr-defined]
    assert output.closed.wait(60)
    assert len(output.played) < 60


def test_stopping_it_stops_the_source() -> None:
    """The one that it plays."""
    source = Blocks(1)
    Audible(source, Output()).stop()
    assert source.stopped


def test_recording_of_16_bit_sound_is_exact(tmp_path: Path) -> None:
    """A real recording written in pieces and read again is the same to the bit."""
    source = sorted(shared_data("speech/audio").glob("*.flac"))[0]
    sound, rate = soundfile.read(source, dtype="float32")
    with FlacRecorder(tmp_path / "a.flac") as recorder:
        for at in range(0, len(sound), 777):
            recorder.write(sound[at : at + 777])
    again, again_rate = soundfile.read(tmp_path / "a.flac", dtype="float32")
    assert rate == again_rate == SAMPLE_RATE
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_16"
    assert np.array_equal(again, sound)


def test_too_loud_is_clipped_and_does_not_wrap_around(tmp_path: Path) -> None:
    """Full scale and beyond stay at full scale; no samples and three samples can be written."""
    with FlacRecorder(tmp_path / "a.flac") as recorder:
        recorder.write(np.array([], dtype=np.float32))
        recorder.write(np.array([1.0, 7.0, -7.0], dtype=np.float32))
    again, _ = soundfile.read(tmp_path / "a.flac", dtype="int16")
    assert again.tolist() == [32767, 32767, -32768]


def test_killed_writer_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    """A process that dies at once, without closing, leaves a file that reads without error."""
    code = (
        "import os, sys, numpy as np; from streamser.audio.output import FlacRecorder\n"
        "recorder = FlacRecorder(sys.argv[1])\n"
        "sound = np.arange(80_000, dtype=np.float32) % 1000 / 32768\n"
        "for at in range(0, 80_000, 500): recorder.write(sound[at:at + 500])\n"
        "os._exit(0)\n"
    )
    path = tmp_path / "a.flac"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    source = FileSource(path)
    assert source.duration is None
    got = heard(list(source.chunks()))[:, 0]
    assert 64_000 <= len(got) < 80_000
    assert np.array_equal(got, (np.arange(len(got)) % 1000 / 32768).astype(np.float32))


def test_open_recording_can_be_read_along(tmp_path: Path) -> None:
    """While the recorder is still open, all but about the last second is in the file."""
    with FlacRecorder(tmp_path / "a.flac") as recorder:
        for _ in range(100):
            recorder.write(np.full(800, 0.25, dtype=np.float32))
        got = heard(list(FileSource(tmp_path / "a.flac").chunks()))
        assert len(got) >= 64_000
        assert np.all(got == 0.25)


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """Whoever closes second finds nothing to do."""
    recorder = FlacRecorder(tmp_path / "a.flac")
    recorder.write(np.zeros(10, dtype=np.float32))
    recorder.close()
    recorder.close()
    assert soundfile.info(tmp_path / "a.flac").frames == 10


def test_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A missing folder, or a folder in the file's place, is one line that names it."""
    for path in (tmp_path / "none" / "a.flac", tmp_path):
        with pytest.raises(AudioError, match="cannot record to") as caught:
            FlacRecorder(path)
        assert str(path) in str(caught.value)
        assert caught.value.code == "recording_failed"


def test_what_is_there_already_is_never_written_over(tmp_path: Path) -> None:
    """Nor is a link followed that somebody else has put there."""
    (tmp_path / "old.flac").write_text("precious")
    (tmp_path / "link.flac").symlink_to(tmp_path / "elsewhere")
    for name in ("old.flac", "link.flac"):
        with pytest.raises(AudioError, match="File exists"):
            FlacRecorder(tmp_path / name)
    assert (tmp_path / "old.flac").read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limits")
def test_full_disk_is_an_error_and_keeps_what_fitted(tmp_path: Path) -> None:
    """Where the file cannot grow, write raises; the sound up to there can be read."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from streamser.audio.output import FlacRecorder\n"
        "from streamser.errors import AudioError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "noise = np.random.default_rng(0).uniform(-.5, .5, 1600).astype(np.float32)\n"
        "recorder = FlacRecorder(sys.argv[1])\n"
        "try:\n"
        "    for _ in range(200): recorder.write(noise)\n"
        "except AudioError as error: print(error.code, error)\n"
        "try: recorder.close()\n"
        "except AudioError: pass\n"
    )
    path = tmp_path / "a.flac"
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"recording_failed cannot record to {path}: ")
    assert run.stderr == ""
    assert len(heard(list(FileSource(path).chunks()))) > 10_000
