"""Archives of ready-made log-mel frames: 64 bands, or 128 as differences in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.emotion.compact.encoders import whisper_frames
from streamser.emotion.frontend import Mel
from streamser.errors import AudioError
from streamser.training.corpora.acted import read_cremad
from streamser.training.sounds import Sounds, decibels, read_archive, read_clip, whisper_levels
from tests.data import shared_data


def differences(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    """Keep frames as an archive does: what comes to each since the one before, modulo 256."""
    return np.diff(frames, axis=0, prepend=np.zeros((1, frames.shape[1]), np.uint8))


def in_pairs(clip: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Add the power of neighbours by the definition of the decibel, against the new peak."""
    levels = [
        [
            10
            * np.log10(sum(10 ** ((int(value) / 255 * 80 - 80) / 10) for value in row[at : at + 2]))
            for at in range(0, 128, 2)
        ]
        for row in clip
    ]
    against = np.maximum(np.array(levels) - np.max(levels), -80)
    frames: np.ndarray[Any, Any] = np.round((against + 80) / 80 * 255)
    return frames


def test_64_bands_are_taken_as_they_are(tmp_path: Path) -> None:
    """0 to 255, -80 to 0 dB."""
    mel = np.arange(192, dtype=np.uint8).reshape(3, 64)
    np.savez(tmp_path / "m.npz", mel=mel)
    assert np.array_equal(read_archive(tmp_path / "m.npz").mel, mel)
    assert decibels(np.array([0, 51, 255], np.uint8)) == pytest.approx([-80, -64, 0], abs=1e-5)


def test_of_128_bands_pairs_are_added_against_the_clips_own_peak(tmp_path: Path) -> None:
    """Each clip for itself: how loud another is changes nothing."""
    frames = np.random.default_rng(1).integers(0, 256, (9, 128)).astype(np.uint8)
    frames[4:] //= 3
    np.savez(
        tmp_path / "m.npz",
        mel_dt=differences(frames),
        offset=np.array([0, 4]),
        n_frames=np.array([4, 5]),
    )
    found = read_archive(tmp_path / "m.npz").mel
    assert found.dtype == np.uint8
    assert np.array_equal(found[:4], in_pairs(frames[:4]))
    assert np.array_equal(found[4:], in_pairs(frames[4:]))
    assert found[:4].max() == found[4:].max() == 255


def test_whispers_bands_are_averages_of_finer_ones_at_ten_milliseconds() -> None:
    """A sound of one power has it in every band; a step in time lies between two frames."""
    even = np.full((11, 128), 255, np.uint8)
    assert whisper_levels(even) == pytest.approx(np.zeros((17, 80)), abs=1e-6)
    assert whisper_levels(even - 51) == pytest.approx(np.full((17, 80), -1.6), abs=1e-5)
    even[5:] = 0
    step = whisper_levels(even)[:, 40]
    assert step[6] == pytest.approx(0.0, abs=1e-6)
    assert step[8] == pytest.approx(-8.0, abs=1e-5)
    assert -8.0 < step[7] < 0.0
    assert len(whisper_levels(even[:1])) == 1


def test_real_frames_are_mapped_to_what_whisper_hears_of_the_sound() -> None:
    """CREMA-D's clips turned back into sound: 2.5 dB apart in the middle of the audible values."""
    root = shared_data("cremad_mel")
    items = {item.id: item for item in read_cremad(root, votes="intended", categories="all")}
    for path in sorted((root / "griffinlim_samples").glob("*.flac"))[:3]:
        sound = Sounds().load(items[path.stem])
        assert isinstance(sound, Mel)
        assert sound.whisper is not None
        made = whisper_frames(read_clip(path))
        frames = min(len(made), len(sound.whisper))
        audible = sound.whisper[:frames] > sound.whisper.max() - 4.0
        apart = (made[:frames] - sound.whisper[:frames])[audible]
        # How loud it was as a whole is in neither: differences alone mean something.
        assert np.median(np.abs(apart - np.median(apart))) < 0.25


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"mel_dt": np.zeros((5, 64), np.uint8)}, r"must hold mel_dt as uint8 \[frames, 128\]"),
        ({"mel_dt": np.zeros((5, 128), np.uint8)}, "is no archive of mel frames"),
        (
            {
                "mel_dt": np.zeros((5, 128), np.uint8),
                "offset": np.array([0]),
                "n_frames": np.array([6]),
            },
            "has 5 frames; its clips ask for 0 to 6",
        ),
        (
            {
                "mel_dt": np.zeros((5, 128), np.uint8),
                "offset": np.array([0]),
                "n_frames": np.array([2, 3]),
            },
            "is no archive of mel frames",
        ),
    ],
)
def test_what_is_no_such_archive_is_named_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray[Any, Any]], reason: str
) -> None:
    """Whatever is wrong with it."""
    np.savez(tmp_path / "m.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match=reason) as caught:
        read_archive(tmp_path / "m.npz")
    assert "m.npz" in str(caught.value)
    assert "\n" not in str(caught.value)
