"""The utterances that windows are measured with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.errors import ConfigError
from tools.whisper_windows.material import Said, bare, beginnings, joined, load, noisy


def said(seconds: float, *words: str, level: float = 0.1) -> Said:
    """Return an utterance of a constant."""
    return Said(np.full(round(16_000 * seconds), level, np.float32), words, "en")


def test_words_are_compared_without_spelling() -> None:
    """Case, punctuation and figures are not what is measured; umlauts are words."""
    assert bare("Eight of Spades, cold-hearted!", "en") == bare("8 of spades cold hearted", "en")
    assert bare("Um 7 wäre es fällig.", "de") == ("um", "sieben", "wäre", "es", "fällig")
    assert bare("13 o'clock", "en") == ("13", "oclock")


def test_joined_clips_keep_every_word_and_last_6_to_20_s() -> None:
    """The same seed gives the same utterances; the last may be shorter."""
    clips = [said(1.0 + i % 4, f"{i}") for i in range(40)]
    longer = joined(clips, seed=1)
    assert sorted(word for one in longer for word in one.words) == sorted(f"{i}" for i in range(40))
    assert all(6 <= one.seconds <= 23 for one in longer[:-1])
    assert [one.words for one in joined(clips, seed=1)] == [one.words for one in longer]


def test_noise_is_ten_decibels_below_the_clip() -> None:
    """In turn from each recording, repeated where it is too short."""
    clips = [said(2.0, "a"), said(1.0, "b")]
    rng = np.random.default_rng(0)
    noises = [rng.standard_normal(8_000).astype(np.float32), np.ones(100, np.float32)]
    for clip, one in zip(clips, noisy(clips, noises, seed=0), strict=True):
        noise = one.samples - clip.samples
        ratio = np.mean(clip.samples**2) / np.mean(noise**2)
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.1)
        assert one.words == clip.words


def test_beginnings_are_those_that_a_clip_has() -> None:
    """None is the whole clip."""
    assert [one.seconds for one in beginnings([said(1.5), said(3.0)], (1.0, 2.0))] == [1, 1, 2]


def test_missing_recordings_are_one_line(tmp_path: Path) -> None:
    """With the folder that was looked in."""
    with pytest.raises(ConfigError, match=r"recordings of 'de' are not all in .*labels\.csv"):
        load("de", tmp_path, 10)
