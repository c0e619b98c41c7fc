"""Whispers that are only good for measuring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Clip
from streamser.errors import ConfigError
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tools.bench.random_whisper import WORDS, WhisperSize, write_random_whisper


def test_a_random_whisper_answers_with_as_many_words_as_speech_has(tmp_path: Path) -> None:
    """Through faster-whisper's own loading, in English without being told, and then it ends."""
    parameters = write_random_whisper(WhisperSize(32, 1, 2), tmp_path / "whisper")
    assert parameters > 51_865 * 32
    whisper = WhisperTranscriber(WhisperOptions(model=str(tmp_path / "whisper"), device="cpu"))
    rng = np.random.default_rng(0)
    clips = [
        Clip("s", number, 0, 0.1 * rng.standard_normal(16_000 * seconds, dtype=np.float32), True)
        for number, seconds in enumerate((2, 5))
    ]
    for heard in whisper.transcribe(clips):
        assert WORDS - 3 <= len(heard.text.split()) <= WORDS + 3
        assert heard.language == "en"
        assert heard.no_speech is not None
        assert heard.no_speech < 0.1


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    """The same gives the same file."""
    size = WhisperSize(32, 1, 2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_random_whisper(size, tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name / "model.bin").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    """With those that there are."""
    with pytest.raises(ConfigError, match="choose tiny, base"):
        write_random_whisper("huge", tmp_path)
