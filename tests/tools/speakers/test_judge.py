"""Equal error rates of voices, on scores and clips whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Samples
from streamser.errors import ConfigError
from streamser.speech.speakers import Voice
from tools.speakers.judge import Spoken, equal_error, judge, load, shortened


def clip(speaker: str, emotion: str, level: float) -> Spoken:
    """Make a clip whose voice is its level."""
    return Spoken(np.full(16_000, level, np.float32), speaker, emotion)


class Levels:
    """Take the angle of a voice from the sound's first sample."""

    name = "levels"

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        """Describe each sound by itself."""
        return [np.array([np.cos(s[0]), np.sin(s[0])], np.float32) for s in batch]


def test_scores_that_are_apart_have_no_error() -> None:
    """And the threshold lies where they part."""
    found = equal_error(np.array([0.8, 0.9]), np.array([0.1, 0.2, 0.3]))
    assert found.rate == 0.0
    assert 0.3 <= found.threshold <= 0.8


def test_scores_that_are_mixed_err_alike_on_both_sides() -> None:
    """One own pair of four below one other pair of four: a quarter."""
    found = equal_error(np.array([0.4, 0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.3, 0.5]))
    assert found.rate == pytest.approx(0.25)


def test_pairs_are_of_two_clips_and_of_the_kind_that_is_asked() -> None:
    """Who changes with emotion is found in neutral speech, and mistaken across emotions."""
    clips = [
        clip("ann", "neutral", 0.1),
        clip("ann", "neutral", 0.12),
        clip("bob", "neutral", 1.0),
        clip("bob", "calm", 1.02),
        clip("ann", "anger", 1.01),
        clip("bob", "anger", 0.11),
    ]
    found = judge(Levels(), clips)
    assert found["neutral"].rate == 0.0
    assert found["any emotion"].rate > 0.3


def test_the_middle_of_a_clip_is_kept() -> None:
    """A shorter one stays as it is."""
    ramp = Spoken(np.arange(16_000, dtype=np.float32), "ann", "neutral")
    (half,) = shortened([ramp], 0.5)
    assert (half.samples[0], len(half.samples)) == (4_000, 8_000)
    assert len(shortened([ramp], 2.0)[0].samples) == 16_000


def test_recordings_that_are_not_there_are_named(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(ConfigError, match="recordings are not all in"):
        load(tmp_path)
