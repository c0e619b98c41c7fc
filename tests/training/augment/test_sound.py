"""What augmentation does to recordings."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.training.augment.bands import Equaliser, Telephone, filter_sound
from streamser.training.augment.sound import (
    Variation,
    add_noise,
    change_speed,
    coloured_noise,
    draw_room,
    reverberate,
    vary_sound,
)
from tests.training.augment.clips import (
    active_power,
    band_energy,
    demo_clip,
    real_clip,
    real_clips,
    tone,
)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 25.0])
@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_noise_has_the_asked_ratio_to_the_speech(snr_db: float, colour: str) -> None:
    """Measured over the speech by another search for it, the ratio is right within 0.5 dB."""
    clip = real_clip()
    noise = coloured_noise(colour, len(clip), _rng())  # type: ignore[arg-type]
    added = add_noise(clip, noise, snr_db) - clip
    speech, where = active_power(clip)
    heard = np.mean(np.square(added[: len(where)][where], dtype=np.float64))
    # Half a decibel for the level of the speech, and how a noise of few cycles varies.
    allowed = 0.5 if colour != "brown" else 1.0
    assert 10 * np.log10(speech / heard) == pytest.approx(snr_db, abs=allowed)


def test_silence_around_speech_does_not_make_the_noise_weaker() -> None:
    """Three seconds of silence added to a clip leave the noise as loud as it was."""
    clip = demo_clip()
    padded = np.concatenate([np.zeros(24_000, np.float32), clip, np.zeros(24_000, np.float32)])

    def noise_level(samples: np.ndarray) -> float:
        white = coloured_noise("white", len(samples), _rng())
        return float(np.std(add_noise(samples, white, 10.0) - samples))

    assert 20 * np.log10(noise_level(padded) / noise_level(clip)) == pytest.approx(0, abs=0.2)


def test_noise_that_pauses_during_speech_is_not_blown_up() -> None:
    """A knock beside the speech counts with its mean, 10 dB lower, not with the silence."""
    clip = np.concatenate([tone(200), np.zeros(16_000, np.float32)])
    knock = np.zeros(32_000, np.float32)
    knock[24_000:26_000] = 0.5
    knock[8_000] = 1e-4
    added = add_noise(clip, knock, 10.0) - clip
    speech = np.mean(clip[:16_000] ** 2)
    assert 10 * np.log10(speech / np.mean(added**2)) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("colour", "octave_db"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)]
)
def test_noise_has_its_colour(colour: str, octave_db: float) -> None:
    """The density of power falls by 0, 3 or 6 dB an octave, and the power is 1."""
    noise = coloured_noise(colour, 160_000, _rng())  # type: ignore[arg-type]
    assert np.mean(noise**2) == pytest.approx(1, abs=0.02)
    low, high = band_energy(noise, 400, 800) / 400, band_energy(noise, 3200, 6400) / 3200
    assert 10 * np.log10(high / low) / 3 == pytest.approx(octave_db, abs=0.2)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch_by_the_factor(factor: float) -> None:
    """A tone of 440 Hz becomes one of 440 Hz times the factor, as much shorter."""
    changed = change_speed(tone(440), factor)
    assert len(changed) == round(16_000 / factor)
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed)), 1 << 18))
    assert spectrum.argmax() * 16_000 / (1 << 18) == pytest.approx(440 * factor, abs=0.5)


@pytest.mark.parametrize("length", [1, 2, 7, 255, 257])
def test_shortest_clips_pass_everything(length: int) -> None:
    """A clip of a few samples comes out finite and as long as its speed asks for."""
    variation = Variation(
        1.1, draw_room((), _rng()), 10.0, (Equaliser((6.0, -6.0)), Telephone(True)), 3.0
    )
    varied = vary_sound(tone(1000)[1 : length + 1], variation, (), _rng())
    assert len(varied) == max(1, round(length / 1.1))
    assert varied.dtype == np.float32
    assert np.isfinite(varied).all()


@pytest.mark.parametrize("narrow", [True, False])
def test_telephone_leaves_its_band_alone_and_nothing_far_outside(narrow: bool) -> None:
    """500 Hz to 3 kHz stay within 0.5 dB; below 100 Hz and above 4.5 kHz 35 dB are lost."""
    white = coloured_noise("white", 160_000, _rng())
    heard = filter_sound(white, Telephone(narrow))

    def gain_db(low: float, high: float) -> float:
        before = band_energy(white, low, high) * np.sum(white**2)
        return float(10 * np.log10(band_energy(heard, low, high) * np.sum(heard**2) / before))

    assert gain_db(500, 3000) == pytest.approx(0, abs=0.5)
    assert gain_db(290, 310) == pytest.approx(-3, abs=1)
    assert gain_db(3380, 3420) == pytest.approx(-3, abs=1)
    assert gain_db(20, 100) < -35
    assert gain_db(4500, 8000) < -35
    assert gain_db(4000, 4300) < (-35 if narrow else -20)


def test_telephone_removes_the_sibilants_of_speech() -> None:
    """Of a real clip's energy above 4 kHz less than a thousandth remains."""
    for clip in real_clips():
        heard = filter_sound(clip, Telephone(True))
        before = band_energy(clip, 4000, 8000) * np.sum(np.square(clip, dtype=np.float64))
        after = band_energy(heard, 4000, 8000) * np.sum(np.square(heard, dtype=np.float64))
        assert after < before / 1000


def test_equaliser_has_the_gains_of_its_knots_and_no_delay() -> None:
    """Tones at the lowest, middle and highest frequencies change as the curve says."""
    curve = Equaliser((9.0, 0.0, -9.0))
    white = coloured_noise("white", 160_000, _rng())
    heard = filter_sound(white, curve)

    def gain_db(low: float, high: float) -> float:
        ratio = band_energy(heard, low, high) / band_energy(white, low, high)
        return float(10 * np.log10(ratio * np.sum(heard**2) / np.sum(white**2)))

    middle = 1000 * np.exp((45.2453 / 2 - 15) * np.log(6.4) / 27)
    assert gain_db(20, 80) == pytest.approx(9, abs=0.7)
    assert gain_db(middle * 0.98, middle * 1.02) == pytest.approx(0, abs=0.7)
    assert gain_db(7800, 8000) == pytest.approx(-9, abs=0.7)
    together = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(white)))
    assert together.argmax() == 0


def test_room_keeps_the_onset_and_the_energy() -> None:
    """Before a word nothing is heard; it begins on its sample and rings on after its end."""
    word = np.zeros(32_000, np.float32)
    word[8_000:16_000] = tone(300, 0.5)
    for seed in range(5):
        wet = reverberate(word, draw_room((), _rng(seed)))
        assert np.abs(wet[:8_000]).max() < 1e-5
        assert np.abs(wet[8_000:8_020]).max() > 0.01
        assert np.sum(wet**2) == pytest.approx(np.sum(word**2), rel=1e-3)
        assert np.mean(wet[16_000:17_600] ** 2) > 1e-4 * np.mean(word[8_000:16_000] ** 2)


def test_room_does_not_shift_real_speech() -> None:
    """A reverberant clip is most like the dry one without any lag."""
    for seed, clip in enumerate(real_clips()):
        wet = reverberate(clip, draw_room((), _rng(seed)))
        size = 2 * len(clip)
        both = np.fft.irfft(np.fft.rfft(wet, size) * np.conj(np.fft.rfft(clip, size)))
        lag = int(both.argmax())
        assert min(lag, size - lag) <= 4
        assert not np.allclose(wet, clip, atol=1e-3)


def test_nothing_is_clipped() -> None:
    """Where 30 dB of gain would leave full scale, the clip is as loud as fits, and the same."""
    clip = tone(440, level=0.5)
    louder = vary_sound(clip, Variation(gain_db=30.0), (), _rng())
    assert np.abs(louder).max() == pytest.approx(1)
    assert np.allclose(louder, 2 * clip, atol=1e-4)
    assert np.allclose(
        vary_sound(clip, Variation(gain_db=-6.0), (), _rng()), clip * 10**-0.3, atol=1e-6
    )


def test_silence_stays_silence() -> None:
    """An empty clip and a silent one are given back, noise or not."""
    for clip in (np.zeros(0, np.float32), np.zeros(16_000, np.float32)):
        assert vary_sound(clip, Variation(0.9, None, 5.0), (), _rng()) is clip
