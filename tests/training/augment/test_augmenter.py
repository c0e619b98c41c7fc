"""The one object a training asks, and what an evaluation degrades sound with."""

from __future__ import annotations

import pickle

import msgspec
import numpy as np
import pytest

from streamser.emotion.frontend import Mel, log_mel
from streamser.training.augment import Augmenter, degrade_at_snr
from streamser.training.settings import AugmentSettings
from tests.training.augment.clips import active_power, demo_clip

EVERYTHING = AugmentSettings(
    speed=0.1,
    gain_db=6.0,
    noise=1.0,
    room=1.0,
    band=1.0,
    telephone=1.0,
    spec_time=0.2,
    spec_bands=0.2,
    word_drop=0.2,
    word_swap=0.2,
    plain_text=0.5,
)
TEXT = "What a Wonderful surprise, I am so happy to see you!"
WORDS = ("wonderful", "surprise", "happy", "harpy", "sun", "sea", "supplies", "wander")


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _all(augmenter: Augmenter, seed: int) -> tuple[bytes, bytes, bytes, str]:
    clip, rng = demo_clip(), _rng(seed)
    frames = log_mel(clip)
    sound, mel = augmenter.sound(clip, rng), augmenter.sound(Mel(frames), rng)
    assert isinstance(sound, np.ndarray)
    assert isinstance(mel, Mel)
    features = augmenter.features(frames, rng)
    return sound.tobytes(), mel.decibels.tobytes(), features.tobytes(), augmenter.text(TEXT, rng)


def test_nothing_asked_for_is_nothing_done() -> None:
    """With all settings at zero the very same objects come back, and nothing is drawn."""
    augmenter, rng = Augmenter(AugmentSettings(), WORDS), _rng()
    clip = demo_clip()
    mel = Mel(log_mel(clip))
    before = rng.bit_generator.state
    assert augmenter.sound(clip, rng) is clip
    assert augmenter.sound(mel, rng) is mel
    assert augmenter.features(mel.decibels, rng) is mel.decibels
    assert augmenter.text("  As  it is. ", rng) == "  As  it is. "
    assert rng.bit_generator.state == before


def test_same_seed_same_result_and_another_seed_another() -> None:
    """All draws come from the given generator, also in an object that went through pickle."""
    augmenter = Augmenter(EVERYTHING, WORDS)
    first = _all(augmenter, 1)
    assert _all(Augmenter(EVERYTHING, WORDS), 1) == first
    assert _all(pickle.loads(pickle.dumps(augmenter)), 1) == first
    other = _all(augmenter, 2)
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_what_is_given_is_never_changed() -> None:
    """Arrays that may not be written to pass every variation."""
    clip = demo_clip()
    frames = log_mel(clip)
    clip.flags.writeable = frames.flags.writeable = False
    augmenter = Augmenter(EVERYTHING)
    for seed in range(5):
        assert augmenter.sound(clip, _rng(seed)) is not clip
        augmenter.sound(Mel(frames), _rng(seed))
        augmenter.features(frames, _rng(seed))


def test_everything_at_once_is_finite_and_within_full_scale() -> None:
    """Length is within the speed's share; no value leaves [-1, 1] or is no number."""
    clip = demo_clip()
    augmenter = Augmenter(EVERYTHING)
    for seed in range(10):
        varied = augmenter.sound(clip, _rng(seed))
        assert isinstance(varied, np.ndarray)
        assert varied.dtype == np.float32
        assert np.isfinite(varied).all()
        assert 0 < np.abs(varied).max() <= 1
        assert len(clip) / 1.1 - 1 <= len(varied) <= len(clip) / 0.9 + 1


@pytest.mark.parametrize("kind", ["noise", "room", "band", "telephone"])
def test_a_probability_is_the_share_of_clips_that_change(kind: str) -> None:
    """With 0.3, between a fifth and two fifths of 200 clips are others than before."""
    augmenter = Augmenter(msgspec.structs.replace(AugmentSettings(), **{kind: 0.3}))
    mel, rng = Mel(log_mel(demo_clip())[:20]), _rng()
    changed = sum(augmenter.sound(mel, rng) is not mel for _ in range(200))
    assert 40 <= changed <= 80


def test_ratios_are_drawn_from_their_range() -> None:
    """Ratios measured on many noisy clips fill the asked range and do not leave it."""
    clip = demo_clip() * np.float32(0.1)
    augmenter = Augmenter(AugmentSettings(noise=1.0, snr_db=(10.0, 20.0)))
    speech, where = active_power(clip)
    ratios = []
    for seed in range(40):
        noisy = augmenter.sound(clip, _rng(seed))
        assert isinstance(noisy, np.ndarray)
        added = (noisy - clip)[: len(where)][where]
        ratios.append(10 * np.log10(speech / np.mean(added**2)))
    assert min(ratios) > 9
    assert max(ratios) < 21
    assert max(ratios) - min(ratios) > 7


def test_degrading_reaches_the_asked_ratio() -> None:
    """At 5 dB the noise that was added to a quiet clip is 5 dB below its speech."""
    clip = demo_clip() * np.float32(0.1)
    degrade = degrade_at_snr(None, 5.0)
    speech, where = active_power(clip)
    for seed in range(5):
        noisy = degrade(clip, _rng(seed))
        assert np.abs(noisy).max() < 1
        added = (noisy - clip)[: len(where)][where]
        assert 10 * np.log10(speech / np.mean(added**2)) == pytest.approx(5, abs=1)
        assert np.array_equal(noisy, degrade(clip, _rng(seed)))


def test_degrading_features_and_not_degrading_at_all() -> None:
    """Frames become noisy frames; an infinite ratio gives the very same clip back."""
    clip = demo_clip()
    mel = Mel(log_mel(clip))
    noisy = degrade_at_snr(None, 0.0)(mel, _rng())
    assert noisy.decibels.shape == mel.decibels.shape
    assert noisy.decibels.mean() > mel.decibels.mean() + 3
    assert degrade_at_snr(None, float("inf"))(clip, _rng()) is clip
