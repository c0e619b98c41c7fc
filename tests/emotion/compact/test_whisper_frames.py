"""Whisper's front end: its bands, and the same bits however the sound is chopped."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.compact.blocks import (
    BANDS,
    HOP,
    LOWEST,
    frame_count,
    whisper_frames,
)
from tests.emotion.voices import in_noise, speak

SOUND = in_noise(speak(140), 35)


def test_frames_are_those_that_whisper_was_trained_on() -> None:
    """Compared with the extractor of faster-whisper, which scales them: (x + 4) / 4."""
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    wanted = np.asarray(extractor(SOUND)).T * 4 - 4
    found = whisper_frames(SOUND)
    inside = slice(2, len(found) - 3)
    # There quiet bands are raised to 8 decades below the loudest.
    floor = wanted[inside].min()
    np.testing.assert_allclose(np.maximum(found[inside], floor), wanted[inside], atol=1e-4)


@pytest.mark.parametrize("first", [0, 1, 63, 64, 100])
def test_later_frames_can_be_had_alone(first: int) -> None:
    """To the last bit."""
    np.testing.assert_array_equal(whisper_frames(SOUND)[first:], whisper_frames(SOUND, first))


@pytest.mark.parametrize("samples", [0, 1, HOP - 1, HOP, 1000])
def test_short_clips_and_silence_have_frames(samples: int) -> None:
    """One for each hop, and one more."""
    found = whisper_frames(np.zeros(samples, np.float32))
    assert found.shape == (frame_count(samples), BANDS)
    assert (found == LOWEST).all()
