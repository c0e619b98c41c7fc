"""What augmentation does to log-mel frames follows what it does to recordings."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.compact.encoders import whisper_frames
from streamser.emotion.frontend import Mel, band_weights, log_mel
from streamser.training.augment.bands import (
    Telephone,
    band_centres,
    band_power,
    draw_equaliser,
    hertz_to_mel,
    mel_to_hertz,
)
from streamser.training.augment.mel import vary_both, vary_mel
from streamser.training.augment.sound import (
    Variation,
    band_decay,
    coloured_noise,
    draw_room,
    vary_sound,
)
from tests.training.augment.clips import audible, demo_clip, real_clips, tone


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_bands_are_those_of_the_front_end() -> None:
    """The quick filters give the front end's levels of frames that lie inside of a clip."""
    clip = coloured_noise("pink", 32_000, _rng()) * np.float32(0.1)
    quick = 10 * np.log10(band_power(clip, 100))
    assert np.abs(quick - log_mel(clip)[2:102]).max() < 0.01


def test_mel_scale_is_slaneys_and_turns_back() -> None:
    """1 kHz is 15 mel, 6.4 kHz is 42; hertz survive both ways."""
    assert hertz_to_mel([1000, 6400]) == pytest.approx([15, 42])
    hertz = np.linspace(0, 8000, 50)
    assert mel_to_hertz(hertz_to_mel(hertz)) == pytest.approx(hertz)


def test_weighted_bands_follow_the_power_of_a_sound() -> None:
    """Tones of one level have one power at any frequency, within 1 dB, when bands are weighted."""
    powers = [
        10 * np.log10((band_power(tone(hertz), 50) @ band_weights()).mean())
        for hertz in (200, 700, 1500, 3000, 6000)
    ]
    assert max(powers) - min(powers) < 1.0


VARIATIONS = {
    "faster": Variation(speed=1.1),
    "slower": Variation(speed=0.9),
    "small room": Variation(room=draw_room((), _rng(5))),
    "large room": Variation(room=draw_room((), _rng(8))),
    "equaliser": Variation(responses=(draw_equaliser(_rng(3)),)),
    "telephone": Variation(responses=(Telephone(False),)),
    "line": Variation(responses=(Telephone(True),)),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_features_change_as_the_recording_does(name: str) -> None:
    """Varied features are within 2 dB on average of the features of the varied recording."""
    variation = VARIATIONS[name]
    for clip in real_clips():
        before = log_mel(clip)
        wanted = log_mel(vary_sound(clip, variation, (), _rng()))
        found = vary_mel(before, variation, (), _rng())
        assert abs(len(found) - len(wanted)) <= 1
        assert audible(wanted, found).mean() < 2.0
        unvaried = audible(wanted, before).mean()
        assert unvaried > 1.0, "the variation must do something"
        assert audible(wanted, found).mean() < unvaried / 1.5


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_is_as_loud_as_in_a_recording(snr_db: float) -> None:
    """The median difference of noisy features and of a noisy recording's is under 2 dB."""
    for seed, clip in enumerate(real_clips()):
        variation = Variation(snr_db=snr_db)
        wanted = log_mel(vary_sound(clip, variation, (), _rng(seed)))
        found = vary_mel(log_mel(clip), variation, (), _rng(seed))
        middle = slice(4, -4)
        apart = (wanted - wanted.max()) - (found - found.max())
        assert abs(np.median(apart[middle])) < 1.5
        assert audible(wanted, found).mean() < 3.0
        assert audible(wanted, log_mel(clip)).mean() > 2 * audible(wanted, found).mean()


def test_ratio_of_noise_holds_over_the_frames_with_speech() -> None:
    """What was added to a loud tone's frames is 10 dB below it, whatever the silence around."""
    power = np.full((200, 64), 1e-8)
    power[80:120] = 1.0
    found = 10 ** (
        vary_mel((10 * np.log10(power)).astype(np.float32), Variation(snr_db=10.0), (), _rng())
        .astype(np.float64) / 10
    )  # fmt: skip
    added = ((found - power) @ band_weights())[80:120].mean()
    ratio = 10 * np.log10((power @ band_weights())[80:120].mean() / added)
    assert ratio == pytest.approx(10, abs=0.1)


def test_telephone_empties_the_outer_bands() -> None:
    """Bands above 4.3 kHz and below 100 Hz lose 20 dB and more, those in between less than 3."""
    level = np.zeros((10, 64), np.float32)
    found = vary_mel(level, Variation(responses=(Telephone(False),)), (), _rng())
    outside = (band_centres() > 4300) | (band_centres() < 100)
    inside = (band_centres() > 330) & (band_centres() < 3200)
    assert found[:, outside].max() < -20
    assert found[:, inside].min() > -3


def test_a_room_reaches_only_later_frames() -> None:
    """What is loud in one frame is heard in later ones, less and less, and in no earlier one."""
    level = np.full((60, 64), -80.0, np.float32)
    level[20] = 0
    found = vary_mel(level, Variation(room=draw_room((), _rng(1))), (), _rng())
    mean = found.mean(axis=1)
    assert mean[:20].max() < mean[20] - 60
    assert mean[21] > mean[30] > mean[40] > mean[19]


def test_a_room_of_direct_sound_alone_changes_nothing() -> None:
    """Its decay is one in the first frame; the energy of any response is kept."""
    decay = band_decay(np.ones(1, np.float32))
    assert decay[0] == pytest.approx(1)
    assert decay[1:] == pytest.approx(0)
    response = draw_room((), _rng(4))
    total = (band_decay(response) @ band_weights()).sum() / band_weights().sum()
    assert total == pytest.approx(np.sum(response**2), rel=0.1)


def test_gain_means_nothing_to_features() -> None:
    """Frames are given back as they are: their level is relative."""
    frames = log_mel(demo_clip())
    assert vary_mel(frames, Variation(gain_db=6.0), (), _rng()) is frames


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_shortest_features_pass_everything(frames: int) -> None:
    """A frame or two come out finite, and within 80 dB."""
    variation = Variation(
        1.3, draw_room((), _rng()), 5.0, (draw_equaliser(_rng()), Telephone(True))
    )
    level = np.linspace(-60, 0, frames * 64, dtype=np.float32).reshape(frames, 64)
    found = vary_mel(level, variation, (), _rng())
    assert found.shape == (max(1, round(frames / 1.3)), 64)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.max() - found.min() <= 80.01
    assert vary_mel(level[:0], variation, (), _rng()).shape == (0, 64)


@pytest.mark.parametrize("name", ["faster", "small room", "equaliser", "line"])
def test_whispers_frames_change_as_the_recording_does_too(name: str) -> None:
    """On their own grid, within 3 dB on average, and nearer than unchanged ones."""
    variation = VARIATIONS[name]
    for clip in real_clips():
        before = Mel(log_mel(clip), whisper_frames(clip))
        wanted = 10 * whisper_frames(vary_sound(clip, variation, (), _rng()))
        found = vary_both(before, variation, (), _rng())
        assert before.whisper is not None
        assert found.whisper is not None
        near = audible(wanted, 10 * found.whisper).mean()
        assert near < 3.0
        assert near < audible(wanted, 10 * before.whisper).mean() / 1.3


def test_both_grids_hear_the_same_noise() -> None:
    """The ratio that is left in the quiet frames is alike."""
    (clip, *_) = real_clips()
    found = vary_both(Mel(log_mel(clip), whisper_frames(clip)), Variation(snr_db=5.0), (), _rng(2))
    assert found.whisper is not None
    quiet = [
        float(np.percentile(levels.mean(axis=1), 10) - np.percentile(levels.mean(axis=1), 95))
        for levels in (found.decibels, 10 * found.whisper)
    ]
    assert quiet[0] == pytest.approx(quiet[1], abs=3.0)


def test_what_changes_nothing_gives_the_very_same_back() -> None:
    """On both grids."""
    mel = Mel(log_mel(demo_clip()), whisper_frames(demo_clip()))
    assert vary_both(mel, Variation(gain_db=3.0), (), _rng()) is mel
