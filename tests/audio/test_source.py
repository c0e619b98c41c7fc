from __future__ import annotations

import io

import numpy as np
import pytest

from streamser.audio.clip import is_pinned
from streamser.audio.raw import RawSource
from streamser.audio.source import SoundCheck
from tests.audio.sounds import heard
from tests.cli.running import DEMO


def looked(encoding: str, data: bytes) -> list[str]:
    """Return the kinds of doubt that bytes raise, in pieces as they may come."""
    check = SoundCheck(encoding)
    doubts = [check.look(data[at : at + 6401]) for at in range(0, len(data), 6401)]
    return [doubt.kind for doubt in doubts if doubt is not None]


def spoken(rate: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Return 8 s of the conversation as 16-bit samples."""
    import soundfile
    import soxr

    sound, own = soundfile.read(DEMO, frames=8 * 16_000, dtype="float32")
    scaled = np.rint(np.clip(soxr.resample(sound, own, rate), -1, 0.99) * 32767)
    return np.asarray(scaled, np.dtype("<i2"))


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_each_wrong_kind_is_noticed_once_and_the_right_one_never(rate: int) -> None:
    """Speech of a conversation, at the rates of phones and browsers."""
    right = spoken(rate)
    floats = (right / 32768).astype("<f4")
    assert looked("s16le", right.tobytes()) == []
    assert looked("f32le", floats.tobytes()) == []
    assert looked("s16le", right.astype(">i2").tobytes()) == ["byte_order"]
    assert looked("s16le", b"\0" + right.tobytes()) == ["byte_order"]
    assert looked("s16le", floats.tobytes()) == ["encoding"]
    assert looked("f32le", right.tobytes()) == ["encoding"]
    assert looked("f32le", right.astype("<f4").tobytes()) == ["scale"]


@pytest.mark.parametrize("head", [b"RIFF", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"\0\0\0 ftyp"])
def test_a_file_is_known_by_its_first_bytes(head: bytes) -> None:
    """In any encoding, however they are cut."""
    assert looked("audio/pcmu", head + bytes(20_000)) == ["container"]


def test_loud_noise_and_clipped_speech_raise_no_doubt() -> None:
    """What is rough or loud in itself is no matter of bytes."""
    noise = np.random.default_rng(0).integers(-32768, 32767, 50_000).astype("<i2")
    clipped = np.clip(spoken(16_000) * 30.0, -32768, 32767).astype("<i2")
    assert looked("s16le", noise.tobytes()) == looked("s16le", clipped.tobytes()) == []
    assert looked("f32le", (noise / 10_000).astype("<f4").tobytes()) == []


def test_sound_at_full_scale_throughout_is_told_from_loud_sound() -> None:
    """Half of the samples have to be there."""
    sine = np.sin(np.arange(8000) / 9).astype(np.float32)
    assert is_pinned(np.sign(sine))
    assert not is_pinned(sine)
    assert not is_pinned(sine[:0])


def test_a_pipe_of_the_wrong_sound_is_told_in_one_line() -> None:
    """It is read on: whoever listens may know better."""
    told: list[str] = []
    stream = io.BytesIO(spoken(16_000).astype(">i2").tobytes())
    pieces = list(RawSource(stream, tell=told.append).chunks())
    assert len(heard(pieces)) == 128_000
    (line,) = told
    assert line.startswith("stdin: ")
    assert "little endian" in line
