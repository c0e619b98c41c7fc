from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.reader import MAX_RATE, MIN_RATE, Resampler
from streamser.audio.source import Frames
from streamser.errors import AudioError
from tests.audio.sounds import tone

RATES = [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000]


def take(intake: Resampler, frames: Frames, sizes: list[int] | None = None) -> Samples:
    """Feed frames in pieces of these sizes, over and over, and flush."""
    out, at = [], 0
    for turn in range(len(frames) * 2 + 2):
        size = sizes[turn % len(sizes)] if sizes else len(frames)
        out.append(intake.feed(frames[at : at + size]))
        at += size
        if at >= len(frames):
            break
    out.append(intake.feed(frames[at:]))
    out.append(intake.flush())
    return np.concatenate(out)


@settings(max_examples=60)
@given(
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([1, 2, 3, 8]),
    length=st.integers(0, 9_000),
    sizes=st.lists(st.integers(0, 5_000), min_size=1, max_size=12).filter(any),
    seed=st.integers(0, 2**32 - 1),
)
def test_output_does_not_depend_on_chunking(
    rate: int, channels: int, length: int, sizes: list[int], seed: int
) -> None:
    """Any chopping of the same frames, damage included, gives the same bits and counts."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(0, 0.6, (length, channels)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.01] = np.nan
    frames[rng.random(frames.shape) < 0.01] = np.inf
    whole, chopped = Resampler(rate, channels), Resampler(rate, channels)
    assert np.array_equal(take(whole, frames), take(chopped, frames, sizes))
    assert (whole.repaired, whole.clipped) == (chopped.repaired, chopped.clipped)


@pytest.mark.parametrize("rate", RATES)
def test_resampled_tone_is_the_tone_sampled_at_16_khz(rate: int) -> None:
    """Pitch, level and above all the position in time survive the change of rate."""
    got = take(Resampler(rate, 1), tone(1.0, rate), [rate // 50])
    wanted = tone(1.0, SAMPLE_RATE)[:, 0]
    assert abs(len(got) - len(wanted)) <= 1
    assert got.dtype == np.float32
    assert np.abs(got[800:-800] - wanted[800 : len(got) - 800]).max() < 2e-3


def test_sound_above_8_khz_is_removed_and_not_folded_down() -> None:
    """A tone that 16 kHz cannot carry is at least 80 dB down."""
    got = take(Resampler(48_000, 1), tone(1.0, 48_000, hz=10_000))
    assert np.abs(got[1600:-1600]).max() < 0.5e-4


def test_16_khz_passes_unchanged() -> None:
    """Nothing is resampled, delayed or rounded where the rate is already right."""
    frames = tone(0.1, SAMPLE_RATE)
    intake = Resampler(SAMPLE_RATE, 1)
    assert np.array_equal(intake.feed(frames), frames[:, 0])
    assert len(intake.flush()) == 0


def test_channels_are_averaged_or_one_is_taken() -> None:
    """None takes the mean; a number takes that channel alone."""
    frames = tone(0.1, SAMPLE_RATE, channels=2)
    assert np.allclose(Resampler(SAMPLE_RATE, 2).feed(frames), frames.mean(axis=1), atol=1e-7)
    assert np.array_equal(Resampler(SAMPLE_RATE, 2, channel=1).feed(frames), frames[:, 1])


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_channels_that_cancel_give_one_of_them(rate: int) -> None:
    """A balanced line on a stereo input, or a microphone wired in reverse, is no silence."""
    mono = tone(1.0, rate)
    got = take(Resampler(rate, 2), np.hstack([mono, -mono]), [rate // 70])
    wanted = take(Resampler(rate, 1), mono)
    assert np.abs(got - wanted).max() < 1e-6


def test_one_microphone_among_many_silent_inputs_is_heard_as_loud_as_it_is() -> None:
    """The mean of 32 would be 30 dB down."""
    frames = np.zeros((SAMPLE_RATE, 32), np.float32)
    frames[:, [20]] = tone(1.0, SAMPLE_RATE)
    assert np.array_equal(take(Resampler(SAMPLE_RATE, 32), frames), frames[:, 20])


def test_a_cable_that_is_turned_in_the_middle_makes_no_click() -> None:
    """From the mean to one channel and back the sound goes on, without a jump."""
    mono = tone(6.0, SAMPLE_RATE, hz=100.0)
    second = mono.copy()
    second[2 * SAMPLE_RATE : 4 * SAMPLE_RATE] *= -1
    got = take(Resampler(SAMPLE_RATE, 2), np.hstack([mono, second]))
    lost = np.abs(got).reshape(-1, 160).max(axis=1) < 0.01
    assert 0 < lost.sum() * 10 < 1000
    assert np.abs(np.diff(got[SAMPLE_RATE * 2 + 320 :])).max() < 0.05
    before, after = got[: SAMPLE_RATE * 2], got[SAMPLE_RATE * 5 :]
    assert np.array_equal(before, mono[: SAMPLE_RATE * 2, 0])
    assert np.array_equal(after, mono[SAMPLE_RATE * 5 :, 0])


def test_independent_channels_stay_the_mean() -> None:
    """Two people on two microphones are both heard, the quiet one too."""
    rng = np.random.default_rng(0)
    frames = rng.normal(0, (0.1, 0.01), (SAMPLE_RATE, 2)).astype(np.float32)
    got = take(Resampler(SAMPLE_RATE, 2), frames)
    assert np.allclose(got, frames.mean(axis=1), atol=1e-7)


def test_192_khz_with_8_channels_works() -> None:
    """The largest interfaces come out as the mean of their channels."""
    got = take(Resampler(192_000, 8), tone(0.5, 192_000, channels=8))
    wanted = tone(0.5, SAMPLE_RATE, channels=8).mean(axis=1)
    assert np.abs(got[800:-800] - wanted[800:-800]).max() < 2e-3


@pytest.mark.parametrize(
    ("channels", "channel", "valid"),
    [(2, 2, "0 to 1"), (2, -1, "0 to 1"), (1, 1, "only channel is 0")],
)
def test_channel_that_does_not_exist_is_refused(channels: int, channel: int, valid: str) -> None:
    """The error names the channels that there are."""
    with pytest.raises(AudioError, match=valid):
        Resampler(SAMPLE_RATE, channels, channel)


@pytest.mark.parametrize("rate", [0, -1, MIN_RATE - 1, MAX_RATE + 1])
def test_absurd_rates_are_refused(rate: int) -> None:
    """The error names the range that can be used."""
    with pytest.raises(AudioError, match="4000 to 384000 Hz"):
        Resampler(rate, 1)


def test_no_channels_are_refused() -> None:
    """A source of zero channels is an error, not an empty mean."""
    with pytest.raises(AudioError, match="without any channel"):
        Resampler(SAMPLE_RATE, 0)


def test_frames_of_another_shape_are_refused() -> None:
    """Frames must have the announced channels, in the second dimension."""
    with pytest.raises(AudioError, match=r"2 channel.*\(4, 1\)"):
        Resampler(SAMPLE_RATE, 2).feed(np.zeros((4, 1), dtype=np.float32))
    with pytest.raises(AudioError, match=r"shape \(4,\)"):
        Resampler(SAMPLE_RATE, 1).feed(np.zeros(4, dtype=np.float32))


def test_nan_and_infinite_samples_become_silence_and_are_counted_in_frames() -> None:
    """A frame that is bad in both channels counts once; only channels in use count."""
    frames = np.full((6, 2), 0.5, dtype=np.float32)
    frames[1] = np.nan
    frames[3, 0] = np.inf
    frames[4, 1] = -np.inf
    intake = Resampler(SAMPLE_RATE, 2)
    assert take(intake, frames).tolist() == [0.5, 0.0, 0.5, 0.25, 0.25, 0.5]
    assert (intake.repaired, intake.clipped) == (3, 0)
    left = Resampler(SAMPLE_RATE, 2, channel=0)
    assert left.feed(frames).tolist() == [0.5, 0.0, 0.5, 0.0, 0.5, 0.5]
    assert left.repaired == 2


def test_nan_does_not_spread_through_the_resampler() -> None:
    """One bad sample must not poison the filter's memory."""
    frames = tone(0.5, 48_000)
    frames[5_000] = np.nan
    got = take(Resampler(48_000, 1), frames)
    assert np.isfinite(got).all()
    assert np.abs(got).max() > 0.4


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_square_wave_stays_within_full_scale_and_is_counted(rate: int) -> None:
    """Overshoot at the edges is clipped; every frame at or over full scale counts."""
    square = np.where(tone(1.0, rate, hz=200) >= 0, 1.0, -3e38).astype(np.float32)
    intake = Resampler(rate, 1)
    got = take(intake, square)
    assert np.abs(got).max() == 1.0
    assert intake.clipped == rate
    assert intake.repaired == 0


def test_full_scale_of_16_bits_counts_as_clipped_and_less_does_not() -> None:
    """The largest positive 16-bit value is below 1.0 and still means clipping."""
    intake = Resampler(SAMPLE_RATE, 1)
    pcm = np.array([[32767], [-32768], [32766], [0]])
    intake.feed((pcm / 32768).astype(np.float32))
    assert intake.clipped == 2


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_fill_keeps_time_true_with_silence(rate: int) -> None:
    """Sound after a gap of 5 seconds is found 5 seconds later."""
    intake = Resampler(rate, 2)
    sound = tone(1.0, rate, channels=2)
    got = np.concatenate(
        [intake.feed(sound), intake.fill(5 * rate), intake.feed(sound), intake.flush()]
    )
    wanted = tone(1.0, SAMPLE_RATE, channels=2).mean(axis=1)
    assert abs(len(got) - 7 * SAMPLE_RATE) <= 1
    assert np.abs(got[16_800:95_200]).max() < 1e-4
    assert np.abs(got[96_800:111_200] - wanted[800:15_200]).max() < 2e-3
    assert (intake.repaired, intake.clipped) == (0, 0)


def test_gap_of_unknown_length_adds_nothing() -> None:
    """An overflow of 0 known frames is no silence."""
    assert len(Resampler(48_000, 1).fill(0)) == 0
    with pytest.raises(ValueError, match="gap"):
        Resampler(48_000, 1).fill(-1)


@pytest.mark.parametrize(("frames", "samples"), [(0, 0), (3, 1), (48, 16)])
def test_tiny_sounds_come_out(frames: int, samples: int) -> None:
    """No sound and three samples are sounds too."""
    assert len(take(Resampler(48_000, 1), tone(1.0, 48_000)[:frames])) == samples


def test_nothing_may_follow_a_flush() -> None:
    """Feeding a flushed intake is a mistake that shows; flushing again gives nothing."""
    for rate in (16_000, 48_000):
        intake = Resampler(rate, 1)
        intake.feed(tone(0.1, rate))
        intake.flush()
        assert len(intake.flush()) == 0
        with pytest.raises(ValueError, match="flushed"):
            intake.feed(tone(0.1, rate))
