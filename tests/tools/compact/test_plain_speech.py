from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from streamser.errors import ConfigError
from tests.emotion.voices import in_noise, speak
from tools.compact.plain_speech import plain_clips, plain_lessons

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


def test_only_clips_of_stated_licence_teach(root: Path) -> None:
    """Here a and e; what they say is neutral."""
    items = plain_lessons(root)
    assert [item.id for item in items] == ["plain-a.wav", "plain-e.wav"]
    assert {item.category for item in items} == {"neutral"}


def test_a_folder_without_a_table_is_told(tmp_path: Path) -> None:
    """By what is missing."""
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        plain_clips(tmp_path)
