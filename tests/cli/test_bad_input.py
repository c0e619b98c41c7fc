"""Whatever is handed to the program, people get one clear line and programs the right code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import Result

from streamser.events import SessionClosed, SpeechStarted
from tests.cli.running import DEMO, events_of, refuses, run, start
from tests.cli.sounds import spoken, write
from tests.virtual_mic import virtual_microphone


def analyze(*arguments: str | Path) -> Result:
    """Run `analyze` without words, as JSON lines."""
    return run("analyze", *arguments, "--asr", "none", "--format", "jsonl")


def starts(result: Result) -> list[int]:
    """Return where the utterances begin, in ms."""
    events = events_of(result.stdout)
    return [event.audio_start_ms for event in events if isinstance(event, SpeechStarted)]


def test_a_wav_file_without_samples_is_refused(tmp_path: Path) -> None:
    """A header alone is no sound."""
    empty = write(tmp_path / "empty.wav", np.empty(0, np.float32))
    refuses(analyze(empty), 1, "empty.wav", "no audio")


def test_a_file_of_zero_bytes_is_refused(tmp_path: Path) -> None:
    """Nothing at all is no sound either."""
    nothing = tmp_path / "nothing.wav"
    nothing.touch()
    refuses(analyze(nothing), 1, "nothing.wav", "empty")


def test_a_text_file_named_wav_is_refused(tmp_path: Path) -> None:
    """The name does not make a sound file."""
    text = tmp_path / "text.wav"
    text.write_text("Dear diary, today nobody said anything.\n" * 50)
    refuses(analyze(text), 1, "text.wav", "not audio")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The line names the file that is not there."""
    refuses(analyze(tmp_path / "none.wav"), 1, "none.wav", "does not exist")


def test_nan_samples_count_as_silence_and_are_told(tmp_path: Path) -> None:
    """Speech around samples that are no numbers is still found."""
    samples = spoken(4.0)
    samples[1000:2000] = np.nan
    result = analyze(write(tmp_path / "nan.wav", samples, subtype="FLOAT"))
    refuses(result, 0, "nan.wav", "1000", "not numbers")
    assert starts(result)


def test_three_samples_are_a_file_without_speech(tmp_path: Path) -> None:
    """A file can be short beyond sense and is still just a file."""
    result = analyze(write(tmp_path / "short.wav", np.full(3, 0.1, np.float32)))
    refuses(result, 0, "short.wav", "nobody speaks")
    assert [event.seq for event in events_of(result.stdout)] == [1, 2]


@pytest.mark.parametrize(
    ("minutes", "length"), [(5, "5:00.0"), pytest.param(60, "1:00:00.0", marks=pytest.mark.slow)]
)
def test_digital_silence_is_a_file_without_speech(
    tmp_path: Path, minutes: int, length: str
) -> None:
    """Zeros raise nothing, an hour of them neither: no speech, no logarithm of zero."""
    path = tmp_path / "zeros.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
        for _ in range(minutes):
            file.write(np.zeros(60 * 16_000, np.int16))
    result = analyze(path)
    refuses(result, 0, "zeros.flac", "nobody speaks", length)


def test_a_clipping_square_wave_is_told(tmp_path: Path) -> None:
    """Sound at full scale throughout is analysed, with advice."""
    time = np.arange(4 * 16_000) / 16_000
    square = np.where(np.sin(2 * np.pi * 150 * time) >= 0, 1.0, -1.0).astype(np.float32)
    result = analyze(write(tmp_path / "square.wav", square))
    assert result.exit_code == 0
    assert "Traceback" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if "clipped" in line]
    assert "square.wav" in line


def test_telephone_sound_of_8_bits_at_8_khz_is_analysed(tmp_path: Path) -> None:
    """What the telephone leaves of speech is found where it is in the original."""
    samples = spoken(7.0)
    good = analyze(write(tmp_path / "good.wav", samples))
    phone = analyze(write(tmp_path / "phone.wav", samples, rate=8_000, subtype="PCM_U8"))
    assert phone.exit_code == 0
    assert phone.stderr == ""
    assert starts(phone) == pytest.approx(starts(good), abs=100)


def test_eight_channels_at_192_khz_are_analysed(tmp_path: Path) -> None:
    """Studio sound gives the utterances of its 16 kHz mono self."""
    samples = spoken(4.0)
    good = analyze(write(tmp_path / "good.wav", samples))
    studio = analyze(
        write(tmp_path / "studio.wav", samples, rate=192_000, channels=8, subtype="PCM_24")
    )
    assert studio.exit_code == 0
    assert studio.stderr == ""
    assert starts(studio) == pytest.approx(starts(good), abs=40)
    assert starts(studio)


def test_a_file_cut_short_is_analysed_as_far_as_it_goes(tmp_path: Path) -> None:
    """What was there is in the events; that something is missing is told, with exit code 1."""
    whole = write(tmp_path / "whole.wav", spoken(8.0))
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = analyze(cut)
    refuses(result, 1, "cut.wav", "cut short")
    assert starts(result)
    assert isinstance(events_of(result.stdout)[-1], SessionClosed)


def test_an_unknown_config_key_names_the_nearest() -> None:
    """A slip of the pen costs no search through the manual."""
    result = run("config", "show", "--set", "endpointing.silense_ms=300")
    refuses(result, 2, "endpointing.silense_ms", "endpointing.silence_ms")


def test_a_value_that_does_not_fit_names_its_key() -> None:
    """The engines that could have been meant are listed."""
    result = run("analyze", DEMO, "--asr", "parrot")
    refuses(result, 2, "asr.engine", "whisper")


def test_an_assignment_without_a_value_is_refused() -> None:
    """`--set` says how it wants to be written."""
    refuses(run("config", "show", "--set", "offline"), 2, "KEY=VALUE")


def test_an_unknown_preset_lists_those_there_are() -> None:
    """The presets are few enough to be named."""
    refuses(run("analyze", DEMO, "--config", "embeded"), 2, "embeded", "embedded", "voice-only")


def test_a_missing_model_directory_is_told_once(tmp_path: Path) -> None:
    """Two files do not make two complaints about one model."""
    arguments = ["--asr", "whisper", "--asr-model", str(tmp_path / "nowhere")]
    result = run("analyze", DEMO, DEMO, *arguments)
    refuses(result, 1, "nowhere")
    assert result.stdout == ""


def test_an_unknown_device_lists_those_there_are() -> None:
    """The program knows better than people what their microphones are called."""
    with virtual_microphone() as microphone:
        listening = start("listen", "--device", "nosuch", "--asr", "none", env=microphone.env)
        out, err = listening.communicate(timeout=60)
    (line,) = err.splitlines()
    assert listening.returncode == 2
    assert out == ""
    assert "nosuch" in line
    assert "pulse" in line


WITHOUT_PORTAUDIO = """
import sys, importlib.abc
class NoPortAudio(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
sys.meta_path.insert(0, NoPortAudio())
from streamser.cli.main import main
main()
"""


@pytest.mark.parametrize("arguments", [["listen", "--asr", "none"], ["devices"]])
def test_no_portaudio_is_told_with_what_to_install(arguments: list[str]) -> None:
    """Without the library there is no microphone, and the line says where it comes from."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PORTAUDIO, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "PortAudio" in line
    assert "apt install libportaudio2" in line
    assert "Traceback" not in done.stderr
