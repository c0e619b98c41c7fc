from __future__ import annotations

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.tempo import count_syllables, measure_tempo
from tests.data import shared_data
from tools.measure_tempo import read, syllables_of

SYLLABLE_S = 0.18


def silence(seconds: float) -> Samples:
    """Return nothing, for so long."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def syllables(count: int, seconds: float = SYLLABLE_S, pitch: float = 120.0) -> Samples:
    """Return vowels of a voice in a row, each swelling up and fading away."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * pitch * n * times) / n for n in range(1, 20))
    swell = np.sin(np.pi * times / seconds) ** 2
    return np.tile((0.2 * voice * swell).astype(np.float32), count)


def noisy(sound: Samples, below_db: float) -> Samples:
    """Lay white noise under a sound, so far below it."""
    noise = np.random.default_rng(5).standard_normal(len(sound))
    return np.asarray(sound + np.std(sound) * 10 ** (-below_db / 20) * noise, np.float32)


@pytest.mark.parametrize("seconds", [0.12, 0.18, 0.3])
@pytest.mark.parametrize("pitch", [95.0, 230.0])
def test_the_rate_is_that_of_the_syllables(seconds: float, pitch: float) -> None:
    """Slow or fast, low voice or high, however much silence is around."""
    said = np.concatenate([silence(0.3), syllables(12, seconds, pitch), silence(0.4)])
    tempo = measure_tempo(said)
    assert tempo is not None
    assert tempo.speech_rate == pytest.approx(1 / seconds, rel=0.12)
    assert (tempo.pause_share, tempo.longest_pause_s) == (0.0, 0.0)


@pytest.mark.parametrize("below_db", [40.0, 20.0, 15.0])
def test_pauses_are_found_and_measured(below_db: float) -> None:
    """Two of them, in a quiet room and in a loud one; what is shorter than .2 s is none."""
    gaps = [silence(seconds) for seconds in (0.3, 0.12, 0.45, 0.3)]
    said = np.concatenate([gaps[0], *(x for gap in gaps[1:] for x in (syllables(5), gap))])
    said = np.concatenate([said[: -len(gaps[3])], gaps[3], syllables(5), silence(0.3)])
    tempo = measure_tempo(noisy(said, below_db))
    assert tempo is not None
    span = 4 * 5 * SYLLABLE_S + 0.12 + 0.45 + 0.3
    assert tempo.longest_pause_s == pytest.approx(0.45, abs=0.08)
    assert tempo.pause_share == pytest.approx(0.75 / span, abs=0.04)
    assert tempo.speech_rate == pytest.approx(20 / span, rel=0.15)


def test_loudness_makes_no_difference() -> None:
    """A microphone's gain is not a manner of speaking."""
    said = noisy(np.concatenate([silence(0.3), syllables(8), silence(0.5), syllables(4)]), 40)
    loud, soft = measure_tempo(said), measure_tempo(0.02 * said)
    assert loud is not None
    assert soft is not None
    assert soft.speech_rate == pytest.approx(loud.speech_rate, rel=0.02)
    assert soft.pause_share == pytest.approx(loud.pause_share, abs=0.02)


@pytest.mark.parametrize(
    "sound",
    [
        silence(0.0),
        silence(2.0),
        syllables(2),
        np.full(SAMPLE_RATE, np.nan, np.float32),
        np.full(100, 0.5, np.float32),
    ],
    ids=["nothing", "silence", "two syllables", "no numbers", "a click"],
)
def test_too_little_speech_has_no_tempo(sound: Samples) -> None:
    """A syllable more or less would be everything."""
    assert measure_tempo(sound) is None


def test_a_steady_sound_has_neither_syllables_nor_pauses() -> None:
    """A held vowel is one syllable."""
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    held = sum(0.1 * np.sin(2 * np.pi * 140 * n * times) / n for n in range(1, 20))
    tempo = measure_tempo(np.asarray(held, np.float32))
    assert tempo is not None
    assert tempo.speech_rate <= 0.5 + 1e-6
    assert tempo.longest_pause_s == 0.0


def test_a_ripple_is_no_syllable() -> None:
    """Only what falls by 3 dB and rises again; what is far below the loudest does not count."""
    swells = -20 * np.cos(np.linspace(0, 6 * np.pi, 300)) - 30
    assert count_syllables(swells.astype(np.float32)) == 3
    ripple = np.sin(np.linspace(0, 60 * np.pi, 300)) - 30
    assert count_syllables(ripple.astype(np.float32)) == 1
    faint = np.concatenate([swells[:100], swells[100:] - 45]).astype(np.float32)
    assert count_syllables(faint) == 1


def test_real_speech_is_counted_about_right() -> None:
    """Plain English speech with a transcript: the mean rate is near, and most clips are."""
    said = list(read(shared_data(), "speech"))
    told = [measure_tempo(each.samples) for each in said]
    spoken = [
        (tempo.speech_rate * len(each.samples) / SAMPLE_RATE, each.syllables)
        for tempo, each in zip(told, said, strict=True)
        if tempo is not None
    ]
    errors = np.array([counted / true - 1 for counted, true in spoken])
    assert len(errors) == 29
    assert abs(float(np.mean(errors))) < 0.2
    assert float(np.mean(np.abs(errors) < 0.3)) > 0.7


def test_syllables_of_english_words_are_counted_roughly() -> None:
    """As the tool does for transcripts."""
    assert syllables_of("The table is made of wood, isn't it?") == 9
    assert syllables_of("strength") == 1
