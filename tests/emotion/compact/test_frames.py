"""Whatever was heard before, a clip has the frames that it has by itself, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.compact import frames as module
from streamser.emotion.compact.frames import (
    VOICED,
    FrameCache,
    VoiceFrames,
    follow_pitch,
    voice_frames,
)
from streamser.emotion.frontend import BANDS, Frames, log_mel, whole_frames
from streamser.emotion.model import Place
from tests.emotion.voices import glide, in_noise, sing, speak

SOUND: Samples = np.concatenate([in_noise(speak(hertz), 35, seed=hertz) for hertz in (95, 210)])
SOUND[20_000:20_040] = np.nan


def expect_same(found: VoiceFrames, samples: Samples) -> None:
    """Compare with a clip that is heard alone."""
    alone = voice_frames(samples)
    np.testing.assert_array_equal(found.decibels, alone.decibels)
    np.testing.assert_array_equal(found.pitch.log2_f0, alone.pitch.log2_f0)
    np.testing.assert_array_equal(found.pitch.periodicity, alone.pitch.periodicity)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of frames each time that some are worked out."""
    counts: list[int] = []

    def count(sound: Samples) -> Frames:
        found = whole_frames(sound)
        counts.append(len(found))
        return found

    def count_anew(samples: Samples) -> VoiceFrames:
        found = voice_frames(samples)
        counts.append(len(found.decibels))
        return found

    monkeypatch.setattr(module, "whole_frames", count)
    monkeypatch.setattr(module, "voice_frames", count_anew)
    return counts


@st.composite
def questions(draw: st.DrawFn) -> list[tuple[Place, int]]:
    """Draw clips of some sessions: mostly growing, some sliding, some starting over."""
    asked = []
    state = dict.fromkeys("ab", (1, 0, 0))
    for _ in range(draw(st.integers(1, 14))):
        session = draw(st.sampled_from("ab"))
        utterance, start, end = state[session]
        how = draw(st.sampled_from(["grow", "grow", "slide", "step", "whole", "next", "shrink"]))
        if how == "next":
            utterance, start, end = utterance + 1, draw(st.integers(0, 5000)), 0
        elif how == "slide":
            start += draw(st.integers(0, 9000))
        elif how == "step":
            start += 256 * draw(st.integers(0, 30))
        elif how == "whole":
            start = 0
        if how == "shrink":
            end -= draw(st.integers(0, 9000))
        else:
            end = max(start, end) + draw(st.integers(0, 9000))
        start = min(start, len(SOUND))
        end = min(max(end, start), len(SOUND))
        state[session] = (utterance, start, end)
        asked.append((Place(session, utterance, start), end))
    return asked


@settings(max_examples=60)
@given(questions(), st.sampled_from([0, 40, 100, 1 << 17]))
def test_frames_do_not_depend_on_what_was_asked_before(
    asked: list[tuple[Place, int]], most: int
) -> None:
    """Clips grow, slide and shrink; sessions take turns; little or much is kept."""
    cache = FrameCache(most)
    for place, end in asked:
        # Another sound for each session and utterance, or nothing could be mistaken.
        sound = np.roll(SOUND, 777 * place.utterance + 333 * ord(place.session_id))
        clip = sound[place.start : end]
        expect_same(cache.frames(clip, place), clip)


def test_a_growing_clip_costs_what_is_new(heard: list[int]) -> None:
    """And the two frames at its end, which reach beyond it."""
    cache = FrameCache()
    for end in range(8000, len(SOUND), 8000):
        cache.frames(SOUND[:end], Place("a", 1, 0))
    clips = len(range(8000, len(SOUND), 8000))
    assert sum(heard) <= len(SOUND) // 256 + 2 * clips


def test_windows_on_the_grid_share_frames_and_the_whole_after_them_too(heard: list[int]) -> None:
    """As when an utterance is longer than what partials are read from."""
    cache = FrameCache()
    for start in range(3328, 33_000, 4096):
        cache.frames(SOUND[start : start + 12_800], Place("a", 1, start))
    heard.clear()
    whole = cache.frames(SOUND, Place("a", 1, 0))
    assert sum(heard) == 3328 // 256 + 2 + (len(SOUND) - start - 12_800) // 256 + 2
    expect_same(whole, SOUND)


def test_another_utterance_or_grid_is_heard_anew(heard: list[int]) -> None:
    """Never is sound taken for another."""
    cache = FrameCache()
    cache.frames(SOUND[:32_000], Place("a", 1, 0))
    for place in (Place("a", 2, 0), Place("b", 2, 0), Place("b", 2, 100)):
        heard.clear()
        cache.frames(SOUND[place.start : 32_000], place)
        assert sum(heard) >= 31_000 // 256


def test_what_is_forgotten_or_was_heard_long_ago_is_heard_anew(heard: list[int]) -> None:
    """Memory is bounded, however many sessions there are."""
    cache = FrameCache(most=300)
    second = SOUND[:SAMPLE_RATE]
    for session in "abcdef":
        cache.frames(second, Place(session, 1, 0))
    heard.clear()
    cache.frames(second, Place("f", 1, 0))
    assert sum(heard) == 2
    cache.forget("f")
    cache.forget("nobody")
    for session in "fa":
        heard.clear()
        cache.frames(second, Place(session, 1, 0))
        assert sum(heard) == 63


def test_without_a_place_nothing_is_kept(heard: list[int]) -> None:
    """A clip from nowhere has no successor."""
    cache = FrameCache()
    for _ in range(2):
        heard.clear()
        expect_same(cache.frames(SOUND, None), SOUND)
        assert sum(heard) == 1 + len(SOUND) // 256


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
