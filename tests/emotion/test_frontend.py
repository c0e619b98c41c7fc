import csv
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.frontend import (
    BANDS,
    HOP,
    LOOK_AHEAD,
    LogMel,
    Mel,
    RunningLevel,
    StreamingFeatures,
    features,
    log_mel,
    relative_level,
)
from streamser.training.corpora.acted import CREMAD_ARCHIVE
from streamser.training.sounds import decibels, read_archive
from tests.data import shared_data
from tests.emotion.voices import in_noise, speak

VOICE = in_noise(speak(180), 30)


def slaney_hertz(mel: float) -> float:
    """Return the frequency of a mel value as Slaney's Auditory Toolbox spaces its filters."""
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def by_definition(samples: Samples, frame: int) -> list[float]:
    """Compute one frame's levels from the formulas, in float64, without an FFT."""
    padded = np.concatenate([np.zeros(512), samples.astype(np.float64), np.zeros(1024)])
    n = np.arange(1024)
    windowed = padded[frame * 256 : frame * 256 + 1024] * np.sin(np.pi * n / 1024) ** 2
    power = [abs(np.sum(windowed * np.exp(-2j * np.pi * k * n / 1024))) ** 2 for k in range(513)]
    top = 15 + 27 * np.log(8) / np.log(6.4)
    edges = [slaney_hertz(top * i / 129) for i in range(130)]
    bands = []
    for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False):
        band = 0.0
        for k, value in enumerate(power):
            hertz = k * 15.625
            if low < hertz <= mid:
                band += value * (hertz - low) / (mid - low) * 2 / (high - low)
            elif mid < hertz < high:
                band += value * (high - hertz) / (high - mid) * 2 / (high - low)
        bands.append(band)
    return [10 * np.log10(max(bands[i] + bands[i + 1], 1e-20)) for i in range(0, 128, 2)]


def cut(samples: Samples, sizes: list[int]) -> list[Samples]:
    """Cut a clip into chunks of the given sizes, and one more with what is left."""
    return np.split(samples, np.minimum(np.cumsum(sizes), len(samples)))


sizes = st.lists(st.integers(0, 3000), max_size=30)
lengths = st.integers(0, len(VOICE))


@pytest.mark.parametrize("frame", [0, 1, 7, 40, 93])
def test_frames_follow_the_definition(frame: int) -> None:
    """A frame is what the formulas give: a discrete Fourier transform term by term."""
    assert log_mel(VOICE)[frame] == pytest.approx(by_definition(VOICE, frame), abs=2e-4)


def test_ready_made_frames_of_the_same_clips_are_met() -> None:
    """Mel scale, pair sums, level and frame grid are those of the ready-made data."""
    folder = shared_data("cremad_mel")
    with (folder / "labels.csv").open(newline="") as file:
        place = {row["name"]: row for row in csv.DictReader(file)}
    levels = decibels(read_archive(folder / CREMAD_ARCHIVE).mel)
    recordings = sorted((folder / "griffinlim_samples").glob("*.flac"))
    errors = []
    for path in recordings:
        row = place[path.stem]
        offset, count = int(row["offset"]), int(row["n_frames"])
        made = levels[offset : offset + count]
        samples, rate = soundfile.read(path, dtype="float32")
        found = log_mel(samples)
        assert rate == SAMPLE_RATE
        assert len(found) == count
        errors.append(np.abs(found - found.max() - made)[made > -40].mean())
    assert len(errors) == 24
    assert np.mean(errors) < 0.8
    assert np.max(errors) < 1.0


@given(length=lengths, sizes=sizes)
@settings(max_examples=60)
def test_chunking_changes_no_bit_of_the_log_mel(length: int, sizes: list[int]) -> None:
    """Frames are the same bits however the sound was chopped, and come as soon as they can."""
    clip = VOICE[:length]
    stream = LogMel()
    parts = []
    heard = 0
    for chunk in cut(clip, sizes):
        parts.append(stream.push(chunk))
        heard += len(chunk)
        assert sum(map(len, parts)) == max(0, (heard - 512) // HOP + 1)
    parts.append(stream.flush())
    found = np.concatenate(parts)
    assert found.dtype == np.float32
    assert found.shape == (1 + length // HOP, BANDS)
    assert found.tobytes() == log_mel(clip).tobytes()


@given(length=lengths, sizes=sizes)
@settings(max_examples=60)
def test_chunking_changes_no_bit_of_the_features(length: int, sizes: list[int]) -> None:
    """What a live stream hears is bit for bit what a training saw; a stream can be used again."""
    clip = VOICE[:length]
    whole = features(clip)
    stream = StreamingFeatures()
    for _ in range(2):
        parts = [stream.push(chunk) for chunk in cut(clip, sizes)]
        found = np.concatenate([*parts, stream.flush()])
        assert found.dtype == whole.dtype == np.float32
        assert found.tobytes() == whole.tobytes()


@given(sizes=st.lists(st.integers(0, 50), max_size=10))
@settings(max_examples=40)
def test_chunking_changes_no_bit_of_the_level(sizes: list[int]) -> None:
    """Ready-made frames may be pushed in any portions too."""
    decibels = log_mel(VOICE)
    level = RunningLevel()
    ends = np.minimum(np.cumsum(sizes, dtype=int), len(decibels))
    parts = [level.push(part) for part in np.split(decibels, ends)]
    found = np.concatenate([*parts, level.flush()])
    assert found.tobytes() == relative_level(decibels).tobytes()


def test_long_clips_do_not_depend_on_blocks() -> None:
    """A clip much longer than what is computed at once gives the frames of its parts."""
    clip = np.tile(VOICE, 8)
    frames = log_mel(clip)
    first = 300
    assert len(frames) > 2 * first
    part = clip[first * HOP - 512 : (first + 20) * HOP]
    assert frames[first : first + 10].tobytes() == log_mel(part)[2:12].tobytes()


@pytest.mark.parametrize("gain", [0.01, 0.3, 7.0])
def test_gain_changes_nothing(gain: float) -> None:
    """A microphone's gain is not heard."""
    found = features((VOICE * np.float32(gain)).astype(np.float32))
    assert np.abs(found - features(VOICE)).max() <= 1e-4


def test_ready_made_frames_give_what_their_recording_gives() -> None:
    """Levels relative to the clip's peak are as good as levels of a recording."""
    decibels = log_mel(VOICE)
    found = features(Mel(decibels - decibels.max()))
    assert np.abs(found - features(VOICE)).max() <= 1e-5


def test_the_future_is_not_heard() -> None:
    """After the look-ahead a frame depends on no later one."""
    decibels = log_mel(VOICE)
    louder = decibels.copy()
    louder[60:] += 30
    assert relative_level(louder)[:60].tobytes() == relative_level(decibels)[:60].tobytes()


def test_the_room_before_the_first_word_is_not_loud() -> None:
    """Noise at the beginning is measured from the voice that begins soon after it."""
    room = np.random.default_rng(0).normal(0, 1e-4, SAMPLE_RATE // 4).astype(np.float32)
    found = features(np.concatenate([room, VOICE]))
    assert found[:10].max() < 1.0
    assert found[10:LOOK_AHEAD].max() == 2.0


def test_a_louder_word_raises_the_reference() -> None:
    """The loudest level so far is 2, and what was as loud before then counts less."""
    found = relative_level(
        np.array([[-30], [0], [-30]], np.float32).repeat(40, axis=0).repeat(64, axis=1)
    )
    assert np.unique(found[:40]) == pytest.approx([2.0])
    assert np.unique(found[40:80]) == pytest.approx([2.0])
    assert np.unique(found[80:]) == pytest.approx([1.25])


@pytest.mark.parametrize("length", [0, 1, 255, 256, 16_000])
def test_silence_is_zero(length: int) -> None:
    """Digital silence of any length is finite: zeros, in 1 + n // 256 frames."""
    found = features(np.zeros(length, np.float32))
    assert found.shape == (1 + length // 256, BANDS)
    assert not found.any()


def test_a_constant_is_heard_at_the_bottom_alone() -> None:
    """An offset of the sound card is no noise in the higher bands."""
    found = features(np.full(16_000, 0.5, np.float32))
    assert np.isfinite(found).all()
    assert found[10:-10, 0].min() > 1.5
    assert found[10:-10, 4:].max() == 0.0


def test_no_ready_made_frames_are_one_frame_of_silence() -> None:
    """There is always something to encode."""
    assert not features(Mel(np.zeros((0, BANDS), np.float32))).any()
    assert features(Mel(np.zeros((0, BANDS), np.float32))).shape == (1, BANDS)


def test_the_front_end_needs_no_torch() -> None:
    """A device that only listens can compute features without torch."""
    script = "import sys, streamser.emotion.frontend; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
