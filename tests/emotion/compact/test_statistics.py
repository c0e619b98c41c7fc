"""What is measured of an utterance; its means and percentiles are numpy's, only sooner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.statistics import (
    GROUPS,
    WIDTH,
    deviation,
    lengths,
    mean_of,
    means,
    measure,
    percentiles,
    slope,
)
from streamser.emotion.frontend import BANDS, band_weights, log_mel
from tests.emotion.voices import in_noise, speak

VOICE = in_noise(speak(180), 40)


def test_groups_fill_the_vector_once() -> None:
    """Each number belongs to one group."""
    places = np.concatenate([np.arange(WIDTH)[span] for span in GROUPS.values()])
    np.testing.assert_array_equal(places, np.arange(WIDTH))


@pytest.mark.parametrize("gain_db", [-30.0, -12.0, 12.0])
def test_gain_changes_nothing(gain_db: float) -> None:
    """A louder microphone measures the same voice."""
    scaled = (VOICE * 10 ** (gain_db / 20)).astype(np.float32)
    quiet, loud = measure(log_mel(VOICE)), measure(log_mel(scaled))
    np.testing.assert_allclose(loud.values, quiet.values, rtol=1e-3, atol=1e-3)
    assert loud.speech_seconds == quiet.speech_seconds


def test_an_equaliser_moves_spectra_and_leaves_melody_and_rhythm() -> None:
    """That is what the absolute evidence rests on."""
    levels = log_mel(VOICE)
    bent = levels + np.linspace(-10, 10, BANDS, dtype=np.float32)
    plain, heard = measure(levels).values, measure(bent).values
    mean = GROUPS["mean"]
    assert np.abs(heard[mean] - plain[mean]).mean() > 3.0
    np.testing.assert_allclose(heard[GROUPS["pitch"]], plain[GROUPS["pitch"]], atol=0.05)
    np.testing.assert_allclose(heard[GROUPS["sd"]], plain[GROUPS["sd"]], atol=0.5)


def test_silence_around_an_utterance_hardly_counts() -> None:
    """Only speech frames are measured, however generous the endpointing."""
    padded = np.concatenate([np.zeros(8000, np.float32), VOICE, np.zeros(16000, np.float32)])
    plain, heard = measure(log_mel(VOICE)), measure(log_mel(in_noise(padded, 40)))
    assert heard.speech_seconds == pytest.approx(plain.speech_seconds, abs=0.2)
    for name in ("mean", "pitch", "sd"):
        off = np.abs(heard.values[GROUPS[name]] - plain.values[GROUPS[name]])
        assert np.median(off) < 1.0, name


@pytest.mark.parametrize("length", [0, 1, 200, 256])
def test_what_is_too_short_or_silent_has_no_speech(length: int) -> None:
    """And no number that could mislead."""
    found = measure(log_mel(np.zeros(length, np.float32)))
    assert found.speech_seconds == 0.0
    assert np.isnan(found.values).all()


@settings(max_examples=40)
@given(st.integers(2, 120), st.integers(0, 2**32 - 1), st.floats(0.1, 60.0))
def test_any_sound_gives_finite_numbers_or_says_that_it_cannot(
    frames: int, seed: int, spread: float
) -> None:
    """Only pitch may be missing."""
    levels = np.random.default_rng(seed).normal(-40, spread, (frames, BANDS)).astype(np.float32)
    found = measure(levels)
    known = np.ones(WIDTH, np.bool_)
    known[GROUPS["pitch"]] = False
    assert np.isfinite(found.values[known]).all()
    assert found.speech_seconds > 0.0


def test_a_click_in_silence_is_measured_without_trouble() -> None:
    """One loud sample is sound, if not speech."""
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[8000] = 1.0
    assert np.isfinite(measure(log_mel(click)).values[GROUPS["mean"]]).all()


def test_the_spectrum_is_that_of_plain_formulas() -> None:
    """However cleverly it is worked out: floors, percentiles and cepstra by their definitions."""
    raw = log_mel(in_noise(np.concatenate([np.zeros(9000, np.float32), VOICE]), 30)).astype(float)
    weights = band_weights() / band_weights().sum()
    total = 10 * np.log10(10 ** (raw[:, 2:] / 10) @ weights[2:])
    loudest, floor = np.percentile(total, [98, 5])
    speech = (total > loudest - 35) & (total > floor + (loudest - floor) / 4)
    floors = 10 ** ((np.percentile(raw[speech], 90, axis=0) - 20) / 10)
    levels = 10 * np.log10(10 ** (raw / 10) + floors)
    total = 10 * np.log10(10 ** (total / 10) + 10 ** ((loudest - 28) / 10))[speech]
    relative = np.maximum(levels[speech] - total.mean(), -60)
    steps = np.diff(levels, axis=0)[speech[1:] & speech[:-1]]
    bands = np.arange(BANDS)
    cosines = np.array([np.cos(np.pi * row * (bands + 0.5) / BANDS) for row in range(1, 21)])
    cosines *= np.sqrt(2 / BANDS)
    loud = total >= np.percentile(total, 60)
    expected = {
        "mean": relative.mean(axis=0),
        "p15": np.percentile(relative, 15, axis=0),
        "p85": np.percentile(relative, 85, axis=0),
        "loud": relative[loud].mean(axis=0) - total[loud].mean() + total.mean(),
        "sd": relative.std(axis=0),
        "delta": np.abs(steps).mean(axis=0),
        "cepstra_mean": (relative @ cosines.T).mean(axis=0),
        "cepstra_sd": (relative @ cosines.T).std(axis=0),
        "cepstra_delta": (steps @ cosines.T).std(axis=0),
        "tilt": [np.cov(band, total, bias=True)[0, 1] / (total.var() + 4) for band in relative.T],
    }
    found = measure(raw.astype(np.float32)).values
    for name, values in expected.items():
        np.testing.assert_allclose(found[GROUPS[name]], values, rtol=1e-5, atol=1e-5, err_msg=name)


@given(st.integers(1, 700), st.floats(-100, 100), st.floats(0.1, 50), st.integers(0, 2**31))
def test_moments_are_those_of_numpy(length: int, centre: float, spread: float, seed: int) -> None:
    """Within the last bits."""
    random = np.random.default_rng(seed)
    values = random.normal(centre, spread, length)
    rows = random.normal(centre, spread, (length, 5))
    assert mean_of(values) == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
    assert deviation(values) == pytest.approx(values.std(), rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(means(rows), rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(lengths(rows), np.sqrt((rows**2).mean(axis=0)), rtol=1e-9)


def test_a_slope_is_that_of_the_line_that_fits_best() -> None:
    """And level, where all points lie above each other."""
    x = np.array([0.0, 1.0, 2.0, 5.0])
    y = np.array([1.0, 2.5, 2.0, 7.0])
    assert slope(x, y) == pytest.approx(float(np.polyfit(x, y, 1)[0]))
    assert slope(np.ones(4), y) == 0.0


@given(
    st.integers(1, 300),
    st.sampled_from([(), (1,), (64,)]),
    st.lists(st.sampled_from([0.0, 5.0, 10.0, 15.0, 25.0, 50.0, 60.0, 85.0, 90.0, 98.0, 100.0])
             | st.floats(0, 100), min_size=1, max_size=5),
    st.integers(0, 2**31),
)  # fmt: skip
def test_every_percentile_is_numpys_to_the_last_bit(
    length: int, rest: tuple[int, ...], wanted: list[float], seed: int
) -> None:
    """So that what a model has learnt from stays what it hears."""
    values = np.random.default_rng(seed).normal(size=(length, *rest)) * 40
    for percent, found in zip(wanted, percentiles(values, wanted), strict=True):
        assert np.array_equal(found, np.percentile(values, percent, axis=0))
