"""The microphone through PortAudio and PulseAudio, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.audio.file import FileSource
from tests.audio.sounds import heard
from tests.data import shared_data
from tests.virtual_mic import VirtualMicrophone, virtual_microphone

LISTEN = """
import sys, threading
import numpy as np
from streamser.audio.reader import Resampler
from streamser.audio.microphone import MicrophoneSource
from streamser.audio.output import FlacRecorder
from streamser.audio.source import Gap
from streamser.errors import AudioError

source = MicrophoneSource(sys.argv[1])
intake = Resampler(source.rate, source.channels)
threading.Thread(target=lambda: (sys.stdin.read(), source.stop()), daemon=True).start()
ready = False
try:
    with FlacRecorder(sys.argv[2]) as recorder:
        for chunk in source.chunks():
            if isinstance(chunk, Gap):
                print(chunk, flush=True)
                continue
            recorder.write(intake.feed(chunk))
            if not ready:
                ready = True
                print("ready", source.rate, flush=True)
        recorder.write(intake.flush())
except AudioError as error:
    print(error.code, flush=True)
"""


@pytest.fixture
def mic() -> Iterator[VirtualMicrophone]:
    """Run a microphone that needs no hardware."""
    with virtual_microphone() as virtual:
        yield virtual


def listen(mic: VirtualMicrophone, device: str, path: Path) -> subprocess.Popen[str]:
    """Start to record in a child and return when it hears."""
    child = subprocess.Popen(
        [sys.executable, "-c", LISTEN, device, str(path)],
        env=mic.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready 16000\n"
    return child


def test_played_recording_is_heard_through_the_microphone(
    mic: VirtualMicrophone, tmp_path: Path
) -> None:
    """What a virtual loudspeaker plays is captured whole, and stop ends the recording."""
    clip = shared_data("speech/audio") / "sense_and_sensibility_01_austen-0880.flac"
    played, rate = soundfile.read(clip, dtype="float32")
    # With silence behind it, so that its end has come through when the player is done.
    soundfile.write(tmp_path / "clip.wav", np.append(played, np.zeros(rate // 2)), rate)
    child = listen(mic, "default", tmp_path / "heard.flac")
    assert mic.play(tmp_path / "clip.wav").wait(timeout=60) == 0
    rest, _ = child.communicate(timeout=60)
    assert (rest, child.returncode) == ("", 0)
    got, _ = soundfile.read(tmp_path / "heard.flac", dtype="float32")
    assert len(got) > len(played)
    size = len(got) + len(played)
    product = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(played, size)), size)
    at = int(product[: len(got)].argmax())
    captured = got[at : at + len(played)]
    assert len(captured) == len(played)
    assert np.corrcoef(captured, played)[0, 1] > 0.95


def test_device_whose_server_dies_is_lost_and_what_was_heard_is_kept(
    mic: VirtualMicrophone, tmp_path: Path
) -> None:
    """Killing the sound server under a recording gives device_lost, not a hang or a trace."""
    child = listen(mic, "pulse", tmp_path / "heard.flac")
    mic.server.kill()
    assert child.stdout is not None
    assert child.stdout.read() == "device_lost\n"
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert len(heard(list(FileSource(tmp_path / "heard.flac").chunks()))) >= 320


def test_machine_without_inputs_says_so(mic: VirtualMicrophone) -> None:
    """Where the sound server is gone there is nothing to list, and the error says what to do."""
    mic.server.kill()
    mic.server.wait()
    code = (
        "from streamser.audio.microphone import find_input, list_inputs\n"
        "from streamser.errors import AudioError\n"
        "assert list_inputs() == [], list_inputs()\n"
        "try: find_input()\n"
        "except AudioError as error: print(error.code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=mic.env, capture_output=True, text=True, check=False
    )
    if "AssertionError" in run.stderr:
        pytest.skip("this machine has an input besides PulseAudio")
    assert run.stdout == "no_input_device\n"
