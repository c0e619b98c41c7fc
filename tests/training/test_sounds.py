from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.emotion.frontend import Mel
from streamser.errors import AudioError
from streamser.training.corpora.acted import CREMAD_ARCHIVE
from streamser.training.manifest import Item, MelSpan
from streamser.training.sounds import Sounds, read_clip
from tests.data import shared_data
from tests.training.tiny import voice


def _item(audio: Path | None = None, mel: MelSpan | None = None) -> Item:
    return Item(id="1", corpus="c", speaker="s", audio=audio, mel=mel)


def _archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_a_recording_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """To 16 bits, mono, at 16 kHz."""
    sound = voice("happy", 1)
    soundfile.write(tmp_path / "a.wav", sound, 16_000)
    loaded = Sounds().load(_item(tmp_path / "a.wav"))
    assert isinstance(loaded, np.ndarray)
    assert loaded.dtype == np.float32
    assert np.abs(loaded - sound).max() < 2e-4


@pytest.mark.parametrize(("rate", "kind"), [(48_000, "wav"), (44_100, "flac"), (8_000, "ogg")])
def test_other_rates_channels_and_formats_are_brought_to_ours(
    tmp_path: Path, rate: int, kind: str
) -> None:
    """A tone keeps its pitch and its length."""
    time = np.arange(rate) / rate
    tone = 0.4 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, np.stack([tone, tone], axis=1), rate)
    clip = read_clip(path)
    assert len(clip) == pytest.approx(16_000, abs=2)
    spectrum = np.abs(np.fft.rfft(clip[:16_000]))
    assert spectrum.argmax() == 440


def test_what_was_read_once_is_not_read_again(tmp_path: Path) -> None:
    """Epochs after the first need no file."""
    sounds = Sounds()
    path = tmp_path / "a.wav"
    soundfile.write(path, voice("sad", 2), 16_000)
    archive = _archive(tmp_path / "m.npz", mel=np.zeros((5, 64), np.uint8))
    items = [_item(path), _item(mel=MelSpan(archive, 0, 5))]
    before = [sounds.load(item) for item in items]
    path.unlink()
    archive.unlink()
    after = [sounds.load(item) for item in items]
    assert np.array_equal(before[0], after[0])  # type: ignore[arg-type]
    assert isinstance(after[1], Mel)


def test_mel_frames_are_decibels(tmp_path: Path) -> None:
    """0 is -80 dB, 255 is 0 dB; a span is its rows."""
    mel = np.repeat(np.array([[0], [51], [255]], np.uint8), 64, axis=1)
    archive = _archive(tmp_path / "m.npz", mel=mel)
    sound = Sounds().load(_item(mel=MelSpan(archive, 1, 2)))
    assert isinstance(sound, Mel)
    assert sound.decibels.dtype == np.float32
    assert sound.decibels[:, 0].tolist() == pytest.approx([-64.0, 0.0], abs=1e-5)


def test_real_mel_frames_can_be_read() -> None:
    """Of CREMA-D: the loudest band of a clip is at 0 dB, nothing is above."""
    archive = shared_data("cremad_mel") / CREMAD_ARCHIVE
    sound = Sounds().load(_item(mel=MelSpan(archive, 0, 144)))
    assert isinstance(sound, Mel)
    assert sound.decibels.shape == (144, 64)
    assert sound.decibels.max() == 0.0


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    """Unreadable or too short; items without sound stay."""
    good, short, broken = (tmp_path / f"{name}.wav" for name in ("good", "short", "broken"))
    soundfile.write(good, voice("sad", 2), 16_000)
    soundfile.write(short, voice("sad", 2)[:160], 16_000)
    broken.write_bytes(b"no sound at all")
    items = [_item(path) for path in (good, short, broken, tmp_path / "gone.wav")]
    found = Sounds().readable([*items, _item()], min_seconds=0.1)
    assert found.items == (items[0], _item())
    assert (found.unreadable, found.too_short) == (2, 1)
    with pytest.raises(AudioError, match=r"broken\.wav"):
        Sounds().readable(items, strict=True)


@pytest.mark.parametrize(
    ("arrays", "span", "reason"),
    [
        (None, (0, 1), "does not exist"),
        ({"other": np.zeros((5, 64), np.uint8)}, (0, 1), "no archive of mel frames"),
        ({"mel": np.zeros((5, 40), np.uint8)}, (0, 1), "must hold mel"),
        ({"mel": np.zeros((5, 64), np.float32)}, (0, 1), "must hold mel"),
        ({"mel": np.zeros((5, 64), np.uint8)}, (3, 3), "has 5 frames"),
    ],
)
def test_a_wrong_archive_is_named_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray] | None, span: tuple[int, int], reason: str
) -> None:
    """Whatever is wrong with it."""
    path = tmp_path / "m.npz"
    if arrays is not None:
        _archive(path, **arrays)
    with pytest.raises(AudioError, match=reason) as caught:
        Sounds().load(_item(mel=MelSpan(path, *span)))
    assert "m.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_named_in_one_line(tmp_path: Path) -> None:
    """A pickle is never loaded."""
    path = tmp_path / "m.npz"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(AudioError, match=r"m\.npz is no archive"):
        Sounds().load(_item(mel=MelSpan(path, 0, 1)))
    np.savez(path, mel=np.array([{}], dtype=object))
    with pytest.raises(AudioError, match=r"m\.npz is no archive"):
        Sounds().load(_item(mel=MelSpan(path, 0, 1)))
