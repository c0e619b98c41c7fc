"""Files joined into one are read to the end of the last, and dead recorders' files at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.file import FileSource
from streamser.errors import AudioError
from tests.audio.sounds import encode, heard, tone, write
from tests.audio.test_file import read_until_error


def joined(
    tmp_path: Path, name: str, codec: str, rates: tuple[int, int], channels: int = 1
) -> Path:
    """Write half a second at one rate and a second at another, one file behind the other."""
    parts = []
    for seconds, rate, count in ((0.5, rates[0], 1), (1.0, rates[1], channels)):
        part = tmp_path / f"{rate}-{seconds}-{name}"
        if codec.isupper():
            write(part, tone(seconds, rate, count), rate, codec)
        else:
            encode(part, tone(seconds, rate, count), rate, codec)
        parts.append(part.read_bytes())
    path = tmp_path / name
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.ogg", "VORBIS", 44_100),
        ("a.opus", "libopus", 48_000),
        ("a.oga", "flac", 16_000),
        ("a.flac", "PCM_16", 16_000),
        ("a.wav", "PCM_16", 16_000),
        ("a.aiff", "PCM_16", 16_000),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.m4a", "aac", 44_100),
        ("a.aac", "aac", 44_100),
        ("a.webm", "libopus", 48_000),
    ],
)
def test_joined_files_are_read_to_the_end(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    """Radio recorders and `cat a b > c` leave such files; players play them through."""
    sound = heard(list(FileSource(joined(tmp_path, name, codec, (rate, rate))).chunks()))
    assert len(sound) / rate == pytest.approx(1.5, abs=0.15)
    assert np.abs(sound[-rate // 2 : -rate // 4]).max() > 0.4


def test_a_part_of_another_kind_is_fitted_to_the_first(tmp_path: Path) -> None:
    """Pitch and length survive another rate, and two channels become their mean."""
    path = joined(tmp_path, "a.flac", "PCM_16", (16_000, 44_100), channels=2)
    source = FileSource(path)
    sound = heard(list(source.chunks()))
    assert (source.rate, sound.shape[1]) == (16_000, 1)
    assert len(sound) == pytest.approx(24_000, abs=2)
    wanted = 0.75 * tone(1.0, 16_000)
    assert np.abs(sound[8_800:-800] - wanted[800 : len(sound) - 8_800]).max() < 0.01


def test_a_part_that_is_cut_short_is_named(tmp_path: Path) -> None:
    """All that can be read comes, and the error says in which part something is missing."""
    path = joined(tmp_path, "a.wav", "PCM_16", (16_000, 16_000))
    path.write_bytes(path.read_bytes()[:-16_000])
    sound, error = read_until_error(FileSource(path))
    assert len(sound) == 16_000
    assert error.code == "truncated_audio"
    assert "part 2: 0.50 s of the 1.00 s" in str(error)


def test_a_part_that_is_no_sound_is_named(tmp_path: Path) -> None:
    """What looks like a file's beginning and is none is told, and does not end the rest."""
    whole = write(tmp_path / "a.flac", tone(1.0, 16_000), 16_000).read_bytes()
    path = tmp_path / "b.flac"
    path.write_bytes(whole + whole[:8] + bytes(200) + whole)
    sound, error = read_until_error(FileSource(path))
    assert len(sound) == 32_000
    assert "part 2 could not be read" in str(error)


@pytest.mark.parametrize("sizes", ["data", "both", "head only"])
@pytest.mark.parametrize("kind", ["WAV", "RF64"])
def test_a_wav_whose_recorder_died_is_read(tmp_path: Path, kind: str, sizes: str) -> None:
    """The length is written last: where it is 0, the sound goes on to the end of the file."""
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0, 16_000), 16_000, subtype="PCM_16", format=kind)
    data = bytearray(path.read_bytes())
    if kind == "RF64":
        data[20:44] = bytes(24)
    else:
        data[40:44] = bytes(4)
        data[4:8] = {"data": data[4:8], "both": bytes(4), "head only": b"\x24\0\0\0"}[sizes]
    path.write_bytes(data)
    assert len(heard(list(FileSource(path).chunks()))) == 16_000


def test_a_wav_with_nothing_but_a_title_holds_no_audio(tmp_path: Path) -> None:
    """A chunk behind an empty one is not taken for sound."""
    path = write(tmp_path / "a.wav", tone(0, 16_000), 16_000)
    path.write_bytes(path.read_bytes() + b"LIST\x0c\0\0\0INFOISFT\0\0\0\0")
    with pytest.raises(AudioError, match="holds no audio"):
        FileSource(path)


def test_mp3_in_wav_is_whole(tmp_path: Path) -> None:
    """Its length is no number of bytes: nothing is missing."""
    path = encode(tmp_path / "a.wav", tone(2.0, 44_100), 44_100, "libmp3lame")
    assert len(heard(list(FileSource(path).chunks()))) / 44_100 == pytest.approx(2.0, abs=0.1)


def test_mp3_in_wav_that_is_cut_short_is_told(tmp_path: Path) -> None:
    """A `fact` chunk says how long it should be."""
    path = encode(tmp_path / "a.wav", tone(4.0, 44_100), 44_100, "libmp3lame")
    path.write_bytes(path.read_bytes()[:16_000])
    _, error = read_until_error(FileSource(path))
    assert error.code == "truncated_audio"
