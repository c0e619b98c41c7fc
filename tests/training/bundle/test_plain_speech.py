from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.emotion.compact.running import Norm
from streamser.emotion.compact.statistics import GROUPS, WIDTH, measure
from streamser.emotion.frontend import log_mel
from streamser.errors import ConfigError
from streamser.training.bundle.plain_speech import live_norm, plain_clips, plain_mean
from tests.emotion.voices import in_noise, speak

VOICES = {"a": 100.0, "b": 150.0, "c": 200.0, "d": 250.0, "e": 300.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write five speakers; nobody knows where c comes from."""
    folder = tmp_path_factory.mktemp("speech")
    lines = ["path,speaker,licence,text"]
    for name, hertz in VOICES.items():
        soundfile.write(folder / f"{name}.wav", in_noise(speak(hertz), 35), 16000)
        licence = "CC0 (origin not stated)" if name == "c" else "CC0"
        lines.append(f"{name}.wav,{name},{licence},")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_half_of_the_speakers_are_held_out(root: Path) -> None:
    """Who makes the prior does not judge it."""
    assert [clip.speaker for clip in plain_clips(root) if clip.held_out] == ["b", "d"]


def test_only_clips_of_stated_licence_make_the_prior(root: Path) -> None:
    """Here a and e."""
    clips = [soundfile.read(root / f"{name}.wav", dtype="float32")[0] for name in "ae"]
    expected = np.mean([measure(log_mel(clip)).values for clip in clips], axis=0)
    np.testing.assert_allclose(plain_mean(root), expected, atol=2e-2)


def test_the_live_prior_has_the_levels_of_plain_speech_and_half_of_its_spectra() -> None:
    """The rest of a norm stays as training found it."""
    norm = Norm(*(np.full(WIDTH, value) for value in (1.0, 2.0, 3.0, 4.0)))
    live = live_norm(norm, np.full(WIDTH, 5.0))
    assert set(live.mean[GROUPS["energy"]]) == {5.0}
    assert set(live.mean[GROUPS["mean"]]) == {3.0}
    assert set(norm.mean) == {1.0}
    np.testing.assert_array_equal(live.variance, norm.variance)
    np.testing.assert_array_equal(live.spread, norm.spread)


def test_a_folder_without_a_table_is_told(tmp_path: Path) -> None:
    """By what is missing."""
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        plain_clips(tmp_path)
