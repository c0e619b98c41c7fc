from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.frontend import Mel, log_mel
from streamser.errors import ConfigError
from tests.tools.compact_report.made_data import spoken
from tools.compact_report.changes import changes, first_seconds, gain


def test_short_clips_begin_where_speech_does() -> None:
    """A second of silence before it is left out but for 0.2 s, in samples and frames alike."""
    voice = spoken("neutral", 0)
    late = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), voice])
    cut = first_seconds(late, 0.5)
    assert isinstance(cut, np.ndarray)
    assert len(cut) / SAMPLE_RATE == pytest.approx(0.7, abs=0.05)
    frames = first_seconds(Mel(log_mel(late)), 0.5)
    assert isinstance(frames, Mel)
    assert len(frames.decibels) / 62.5 == pytest.approx(0.7, abs=0.1)
    assert first_seconds(np.zeros(100, np.float32), 1.0).tolist() == [0.0] * 100  # type: ignore[union-attr]


def test_changes_take_both_kinds_of_sound(made_data: Path) -> None:
    """And the same noise each time, of the files that hold noise."""
    voice = spoken("anger", 1)
    for condition in changes(made_data / "noise_rir"):
        for sound in (voice, Mel(log_mel(voice))):
            one, two = (condition.change(sound, np.random.default_rng(5)) for _ in range(2))
            values = [each.decibels if isinstance(each, Mel) else each for each in (one, two)]
            assert np.array_equal(values[0], values[1])
            assert len(values[0])
    louder = gain(6.0).change(voice, np.random.default_rng(0))
    assert isinstance(louder, np.ndarray)
    assert louder == pytest.approx(voice * 10 ** (6 / 20), rel=1e-4)


def test_rooms_are_no_noise(tmp_path: Path, made_data: Path) -> None:
    """A folder of responses alone is refused."""
    source = made_data / "noise_rir" / "audio" / "rir1.flac"
    (tmp_path / "rir1.flac").write_bytes(source.read_bytes())
    with pytest.raises(ConfigError, match="noise"):
        changes(tmp_path)
