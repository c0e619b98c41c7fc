"""The window in which Whisper hears: lengths, padding, remembered silence."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.speech.whisper_encoder import complete, frames_needed, pad, silence


@pytest.mark.parametrize(
    ("content", "frames"), [(0, 56), (1, 56), (302, 352), (303, 360), (2949, 3000), (3003, 3000)]
)
def test_what_is_encoded_is_even_and_fits_the_window(content: int, frames: int) -> None:
    """Half a second behind the sound, in whole steps of silence that is remembered."""
    assert frames_needed(content, 3000) == frames


def test_sound_is_filled_up_with_its_own_silence() -> None:
    """Two decades below the peak after scaling, but never below what 1e-10 gives."""
    loud = np.array([[1.0, 0.2], [0.0, -1.0]], np.float32)
    np.testing.assert_array_equal(pad(loud, 3)[:, 2], [-1.0, -1.0])
    np.testing.assert_array_equal(pad(loud, 1), loud[:, :1])
    quiet = np.full((2, 1), -1.5, np.float32)
    np.testing.assert_array_equal(pad(quiet, 4), np.full((2, 4), -1.5))


def test_remembered_silence_stands_at_its_own_places() -> None:
    """Behind n encoded steps comes what silence gives from step n on; a full window needs none."""
    silent = np.arange(10, dtype=np.float32).reshape(5, 2)
    encoded = np.full((2, 2), -1, np.float32)
    np.testing.assert_array_equal(complete(encoded, silent), [*encoded, *silent[2:]])
    np.testing.assert_array_equal(complete(silent, silent), silent)
    assert len(np.unique(silence(80, 3000))) == 1
