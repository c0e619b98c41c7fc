"""Hiding parts of features."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.training.augment.mel import mask_features


def _features(frames: int = 100, bands: int = 64) -> np.ndarray:
    return np.random.default_rng(9).normal(3, 1, (frames, bands)).astype(np.float32)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_whole_frames_are_hidden_up_to_the_share(share: float) -> None:
    """Over many draws: never more frames than asked for, often some, near the most at times."""
    values, rng = _features(), np.random.default_rng(0)
    hidden = []
    for _ in range(300):
        masked = mask_features(values, share, 0.0, rng)
        frames = (masked != values).all(axis=1)
        assert ((masked != values) == frames[:, None]).all()
        hidden.append(frames.mean())
    assert max(hidden) <= share + 1e-9
    assert max(hidden) > 0.8 * share
    assert np.mean(hidden) == pytest.approx(share / 2, rel=0.2)


def test_whole_bands_are_hidden_up_to_the_share() -> None:
    """The same along the other axis, anywhere in it."""
    values, rng = _features(), np.random.default_rng(0)
    ever = np.zeros(64, bool)
    for _ in range(300):
        bands = (mask_features(values, 0.0, 0.25, rng) != values).all(axis=0)
        assert bands.sum() <= 16
        ever |= bands
    assert ever.all()


def test_what_is_hidden_is_the_mean_of_the_clip() -> None:
    """One number everywhere, which says nothing of the band or of the time."""
    values = _features()
    masked = mask_features(values, 0.5, 0.5, np.random.default_rng(1))
    hidden = masked[masked != values]
    assert len(hidden) > 0
    assert np.unique(hidden) == pytest.approx(values.mean(), abs=1e-5)
    assert masked.dtype == np.float32


def test_clips_too_short_to_hide_a_part_of_stay() -> None:
    """A single frame, and no frame, are given back whatever is asked for."""
    for frames in (0, 1):
        values = _features(frames)
        assert mask_features(values, 0.5, 0.0, np.random.default_rng(0)) is values
