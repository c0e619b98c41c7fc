from __future__ import annotations

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.pitch import VOICED, follow_pitch
from streamser.emotion.frontend import BANDS, log_mel
from tests.emotion.voices import glide, in_noise, sing, speak


@pytest.mark.parametrize("hertz", [90.0, 120.0, 180.0, 240.0, 320.0])
def test_the_pitch_of_a_voice_is_found_from_bands_alone(hertz: float) -> None:
    """Within half a semitone, in nearly every frame, from a deep voice to a child's."""
    track = follow_pitch(log_mel(in_noise(sing(glide(hertz, hertz, 1.0)), 30)))
    voiced = track.periodicity > VOICED
    off = np.abs(12 * (track.log2_f0[voiced] - np.log2(hertz)))
    assert voiced.mean() > 0.5
    assert np.median(off) < 0.5
    assert (off > 3).mean() < 0.1


def test_neither_gain_nor_a_tilted_microphone_moves_the_pitch() -> None:
    """A constant leaves it exactly; 12 dB more treble by less than a tenth of a semitone."""
    levels = log_mel(in_noise(speak(160), 30)).astype(np.float64)
    plain = follow_pitch(levels)
    louder = follow_pitch(levels + 20.0)
    np.testing.assert_allclose(louder.periodicity, plain.periodicity, atol=1e-9)
    np.testing.assert_array_equal(louder.log2_f0, plain.log2_f0)
    bright = follow_pitch(levels + np.linspace(0, 12, BANDS))
    voiced = plain.periodicity > VOICED
    moved = np.abs(12 * (bright.log2_f0 - plain.log2_f0))[voiced]
    assert np.median(moved) < 0.1


def test_noise_is_rarely_voiced() -> None:
    """White noise has ripple, but no harmonics."""
    noise = np.random.default_rng(1).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    assert (follow_pitch(log_mel(noise)).periodicity > VOICED).mean() < 0.3


def test_flat_and_missing_frames_have_no_pitch() -> None:
    """Nothing is nothing."""
    assert len(follow_pitch(np.zeros((0, BANDS), np.float32)).log2_f0) == 0
    assert np.abs(follow_pitch(np.zeros((3, BANDS), np.float32)).periodicity).max() < 1e-9
