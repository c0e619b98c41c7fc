"""The speech that an encoder is taught with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.errors import ConfigError
from tools.whisper_windows.lessons import read_clips, utterance, whisper_mel


def write_recordings(data: Path) -> Path:
    """Write two clips of CREMA-D and three of EmoDB, of noise; return the folder."""
    rng = np.random.default_rng(0)
    (data / "cremad_mel").mkdir(parents=True)
    (data / "emodb").mkdir()
    frames = rng.integers(100, 256, (130, 128), np.uint8)
    np.savez(
        data / "cremad_mel" / "cremad_logmel128_dt_u8.npz",
        mel_dt=np.diff(frames, axis=0, prepend=np.zeros((1, 128), np.uint8)),
        name=np.array(["a", "b"]),
        offset=np.array([0, 80]),
        n_frames=np.array([80, 50]),
    )
    (data / "cremad_mel" / "labels.csv").write_text("name,split\na,train\nb,dev\n")
    for speaker in ("03", "14", "15"):
        samples = 0.1 * rng.standard_normal(16_000)
        soundfile.write(data / "emodb" / f"{speaker}.wav", samples, 16_000)
    rows = "".join(f"{speaker}.wav,{speaker}\n" for speaker in ("03", "14", "15"))
    (data / "emodb" / "labels.csv").write_text(f"path,speaker\n{rows}")
    return data


def test_only_the_speakers_of_a_split_are_read(tmp_path: Path) -> None:
    """With their peak at 0; EmoDB's last two are in neither."""
    data = write_recordings(tmp_path)
    assert [clip.shape for clip in read_clips(data, "train")] == [(80, 127), (80, 100)]
    assert [clip.shape for clip in read_clips(data, "dev")] == [(80, 79), (80, 100)]
    for clip in read_clips(data, "train"):
        assert clip.max() == 0
        assert clip.min() >= -8


def test_a_band_of_the_one_is_that_of_the_other() -> None:
    """A whistle that rises through the 128 bands rises through the 80, at ten frames for 16."""
    frames = np.zeros((65, 128), np.uint8)
    frames[np.arange(65), np.arange(65) + 30] = 255
    found = whisper_mel(frames)
    assert found.shape == (80, 103)
    loudest = found[:, ::8].argmax(axis=0)
    # From band 30 of 128, five narrow bands in eight frames of 10 ms.
    np.testing.assert_allclose(loudest, (30 + 5 * np.arange(13)) * 80 / 128, atol=1.5)


def test_utterances_have_the_scale_and_the_lengths_of_real_ones() -> None:
    """And are the same for the same seed."""
    clips = [np.linspace(-8, 0, 80 * 150, dtype=np.float32).reshape(80, 150)]
    made = [utterance(clips, np.random.default_rng([0, number])) for number in range(60)]
    seconds = [each.shape[1] / 100 for each in made]
    assert min(seconds) >= 0.7
    assert max(seconds) <= 16
    assert np.median(seconds) == pytest.approx(3.1, abs=1.5)
    for each in made:
        assert 0.9 <= each.max() <= 1.7
        assert each.max() - each.min() <= 2.0001
    again = utterance(clips, np.random.default_rng([0, 7]))
    np.testing.assert_array_equal(again, made[7])


def test_missing_spectrograms_are_one_line(tmp_path: Path) -> None:
    """With the folder that was looked in."""
    with pytest.raises(ConfigError, match="cremad_mel and emodb are not both in"):
        read_clips(tmp_path, "train")
