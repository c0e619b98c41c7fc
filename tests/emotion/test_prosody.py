"""Prosody: pitch against synthesised truth, bands and levels, and sound that is no voice."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.prosody import measure, track_pitch
from tests.data import shared_data
from tests.emotion.voices import Floats, glide, in_noise, sing


def errors(samples: Samples, truth: Floats) -> tuple[Floats, float]:
    """Return the octaves by which voiced frames are off [n], and the share of voiced frames."""
    f0 = track_pitch(samples).f0.astype(np.float64)
    centres = 160 * np.arange(len(f0)) + 320
    voiced = f0 > 0
    return np.abs(np.log2(f0[voiced] / truth[centres][voiced])), float(voiced.mean())


@pytest.mark.parametrize("start_hz", [85.0, 120.0, 210.0, 380.0])
@pytest.mark.parametrize("snr_db", [None, 20.0, 10.0])
def test_pitch_follows_a_glide_in_any_register_and_in_noise(
    start_hz: float, snr_db: float | None
) -> None:
    """Half an octave is followed within 1.5 %, 99 of 100 frames without a gross error."""
    truth = glide(start_hz, start_hz * 1.4, 1.5)
    voice = sing(truth)
    off, voiced = errors(voice if snr_db is None else in_noise(voice, snr_db), truth)
    assert voiced > 0.9
    assert np.median(off) < np.log2(1.015)
    assert (off > np.log2(1.2)).mean() < 0.01


def test_pitch_follows_vibrato() -> None:
    """Vibrato of a semitone at 5 Hz is followed, not averaged away."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    truth = 200.0 * 2.0 ** (np.sin(2 * np.pi * 5.0 * seconds) / 12.0)
    off, voiced = errors(sing(truth), truth)
    assert voiced > 0.9
    assert np.percentile(off, 95) < np.log2(1.02)


@pytest.mark.parametrize("strong", [2, 3])
def test_a_strong_harmonic_is_not_taken_for_the_pitch(strong: int) -> None:
    """A harmonic 20 dB above the rest does not raise the pitch by its number."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    voice = sum(
        (10.0 if number == strong else 1.0) * np.sin(2 * np.pi * 130.0 * number * seconds)
        for number in range(1, 12)
    )
    f0 = track_pitch((0.01 * np.asarray(voice)).astype(np.float32)).f0
    assert np.median(f0[f0 > 0]) == pytest.approx(130.0, rel=0.01)


def test_a_missing_fundamental_is_heard_all_the_same() -> None:
    """A telephone's band without the first harmonics keeps its pitch."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 110.0 * number * seconds) for number in range(3, 20))
    f0 = track_pitch((0.02 * np.asarray(voice)).astype(np.float32)).f0
    assert np.median(f0[f0 > 0]) == pytest.approx(110.0, rel=0.01)


def test_a_pure_tone_does_not_drop_an_octave() -> None:
    """Every multiple of its period fits a tone; the shortest is chosen."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    f0 = track_pitch((0.3 * np.sin(2 * np.pi * 420.0 * seconds)).astype(np.float32)).f0
    assert np.median(f0) == pytest.approx(420.0, rel=0.01)


def test_intensity_is_the_level_of_voiced_frames_alone() -> None:
    """Pauses do not lower the intensity, and 12 dB of gain raise it by 12 dB."""
    voice = sing(glide(150.0, 150.0, 1.0), level_db=-30.0)
    pause = np.zeros(SAMPLE_RATE, np.float32)
    alone, paused = measure(voice), measure(np.concatenate([pause, voice, pause]))
    louder = measure(voice * np.float32(10 ** (12 / 20)))
    assert alone.median_intensity_db == pytest.approx(-30.0, abs=0.5)
    assert paused.median_intensity_db == pytest.approx(-30.0, abs=0.5)
    assert louder.median_intensity_db == pytest.approx(-18.0, abs=0.5)
    assert paused.speech_seconds == pytest.approx(1.0, abs=0.1)
    assert paused.duration == 3.0


def test_effort_raises_hf500_and_gain_does_not() -> None:
    """A flatter source spectrum is brighter; the same voice louder is not."""
    contour = glide(150.0, 150.0, 1.0)
    soft, shout = measure(sing(contour, tilt_db=-18.0)), measure(sing(contour, tilt_db=-6.0))
    louder = measure(sing(contour, tilt_db=-18.0, level_db=-8.0))
    assert soft.hf500_db is not None
    assert shout.hf500_db is not None
    assert shout.hf500_db > soft.hf500_db + 6.0
    assert louder.hf500_db == pytest.approx(soft.hf500_db, abs=0.01)


@pytest.mark.parametrize("length", [0, 1, 3, 639, 640, 641, 16_000])
@pytest.mark.parametrize("fill", [0.0, 0.5, np.nan, np.inf])
def test_what_has_no_voice_yields_none(length: int, fill: float) -> None:
    """Silence, direct current, NaN and infinity of any length measure as unvoiced."""
    prosody = measure(np.full(length, fill, np.float32))
    assert prosody.median_log_f0 is None
    assert prosody.median_intensity_db is None
    assert prosody.hf500_db is None
    assert prosody.voiced_seconds == 0.0
    assert prosody.duration == length / SAMPLE_RATE


def test_noise_is_not_voiced() -> None:
    """Ten seconds of white noise hold no voiced stretch."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE)
    assert measure(noise.astype(np.float32)).voiced_seconds == 0.0


def test_a_clipping_square_wave_is_measured_like_any_periodic_sound() -> None:
    """A square wave far beyond full scale has a pitch and finite levels."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    prosody = measure((7.0 * np.sign(np.sin(2 * np.pi * 200.0 * seconds))).astype(np.float32))
    assert prosody.median_log_f0 == pytest.approx(np.log(200.0), abs=0.02)
    assert prosody.median_intensity_db == pytest.approx(0.0, abs=0.1)
    assert prosody.hf500_db is not None
    assert np.isfinite(prosody.hf500_db)


def test_a_few_broken_samples_do_not_spoil_a_voice() -> None:
    """NaN samples count as silence; the pitch around them stays."""
    voice = sing(glide(150.0, 150.0, 1.0))
    voice[5000:5010] = np.nan
    assert measure(voice).median_log_f0 == pytest.approx(np.log(150.0), abs=0.02)


@pytest.mark.parametrize(
    ("gender", "lowest_hz", "highest_hz"), [("male", 80.0, 160.0), ("female", 150.0, 260.0)]
)
def test_neutral_recordings_have_the_pitch_of_their_speakers_gender(
    gender: str, lowest_hz: float, highest_hz: float
) -> None:
    """Median F0 of EmoDB's and RAVDESS' neutral clips lies in the usual range of men and women."""
    medians = []
    for corpus in ("emodb", "ravdess_eval"):
        folder = shared_data(corpus)
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            chosen = [
                row["path"]
                for row in csv.DictReader(file)
                if row["gender"] == gender and row["emotion"] == "neutral"
            ][:20]
        for path in chosen:
            samples, _ = soundfile.read(folder / path, dtype="float32")
            medians.append(measure(samples).median_log_f0)
    assert len(medians) == 40
    hz = np.exp([median for median in medians if median is not None])
    assert len(hz) == 40
    assert np.mean((hz > lowest_hz) & (hz < highest_hz)) >= 0.95
