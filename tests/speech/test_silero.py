"""Silero VAD: the streaming detector says what the batch call says, for any number of streams."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import Samples
from streamser.errors import ModelError
from streamser.speech.vad import SileroModel, SileroVad, Vad, find_weights, load_silero
from tests.data import shared_data

DEMO = Path(__file__).parents[2] / "streamser" / "assets" / "demo.flac"
WINDOW = SileroVad.window


@pytest.fixture(scope="module")
def model() -> SileroModel:
    """Load the weights once."""
    return load_silero()


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Return 60 s of conversation with pauses."""
    sound, _ = soundfile.read(shared_data("speech/audio/silero_test.flac"), dtype="float32")
    return np.asarray(sound, np.float32)


@pytest.fixture(scope="module")
def talk() -> Samples:
    """Return the first sentences of the bundled conversation."""
    sound, _ = soundfile.read(DEMO, frames=8 * 16_000, dtype="float32")
    return np.asarray(sound, np.float32)


def windows(sound: Samples) -> list[Samples]:
    """Cut sound into whole windows."""
    return list(sound[: len(sound) // WINDOW * WINDOW].reshape(-1, WINDOW))


def tone(seed: int, count: int = 40) -> list[Samples]:
    """Return windows of a gliding, pulsing harmonic tone: enough to move the detector."""
    t = np.arange(count * WINDOW) / 16_000
    f0 = 110 + 20 * seed + 30 * np.sin(2 * np.pi * (1 + seed) * t)
    phase = 2 * np.pi * np.cumsum(f0) / 16_000
    sound = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 3 * t) > 0)
    return windows((0.1 * np.asarray(sound)).astype(np.float32))


def test_streaming_equals_the_batch_call_on_real_speech(
    model: SileroModel, speech: Samples
) -> None:
    """Windows one by one give the probabilities of faster-whisper's call on the whole sound."""
    from faster_whisper.vad import SileroVADModel

    judged = windows(speech)
    # The batch call blanks the end of the sound it is given (it zeroes a view): one more window.
    padded = np.concatenate([*judged, np.zeros(WINDOW, np.float32)])
    batch = SileroVADModel(str(find_weights()))(padded).ravel()[: len(judged)]
    vad = model.stream()
    stream = np.array([vad.probability(window) for window in judged])
    assert np.abs(stream - batch).max() <= 1e-4
    assert (stream > 0.9).mean() > 0.3, "the recording holds much speech"
    assert (stream < 0.1).mean() > 0.1, "and pauses"


def test_interleaved_streams_equal_each_alone(model: SileroModel) -> None:
    """Twenty streams that take turns on one session do not disturb each other."""
    sounds = [tone(seed) for seed in range(20)]
    alone = []
    for sound in sounds:
        vad = model.stream()
        alone.append([vad.probability(window) for window in sound])
    streams = [model.stream() for _ in sounds]
    together: list[list[float]] = [[] for _ in sounds]
    for turn in range(len(sounds[0])):
        for stream, sound, heard in zip(streams, sounds, together, strict=True):
            heard.append(stream.probability(sound[turn]))
    assert together == alone
    assert len({tuple(heard) for heard in alone}) == len(alone), "the sounds do differ"


def test_streams_in_threads_equal_each_alone(model: SileroModel) -> None:
    """The shared session is safe to use from several threads at once."""
    sounds = [tone(seed) for seed in range(4)]
    expected = []
    for sound in sounds:
        vad = model.stream()
        expected.append([vad.probability(window) for window in sound])
    heard: list[list[float]] = [[] for _ in sounds]

    def listen(index: int) -> None:
        vad = model.stream()
        heard[index] = [vad.probability(window) for window in sounds[index]]

    threads = [threading.Thread(target=listen, args=(index,)) for index in range(len(sounds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == expected


@pytest.mark.parametrize("pushed", [7, 8])
def test_reset_equals_a_new_stream(model: SileroModel, pushed: int) -> None:
    """After reset, at an odd or even window, the stream answers as if it had heard nothing."""
    used, new = model.stream(), model.stream()
    for window in tone(1)[:pushed]:
        used.probability(window)
    used.reset()
    assert [used.probability(w) for w in tone(2)] == [new.probability(w) for w in tone(2)]


def test_the_window_is_not_changed_or_kept(model: SileroModel) -> None:
    """The caller may reuse its buffer as soon as the call returns."""
    sound = tone(3)
    vad, reference = model.stream(), model.stream()
    buffer = np.empty(WINDOW, np.float32)
    reused = []
    for window in sound:
        buffer[:] = window
        reused.append(vad.probability(buffer))
        np.testing.assert_array_equal(buffer, window)
        buffer[:] = 1
    assert reused == [reference.probability(window) for window in sound]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30])
def test_a_broken_window_does_not_deafen_the_stream(
    model: SileroModel, speech: Samples, broken: float
) -> None:
    """Speech is heard again within 0.3 s after samples that are not finite."""
    judged = windows(speech)
    vad, healthy = model.stream(), model.stream()
    expected = [healthy.probability(window) for window in judged[:200]]
    for window in judged[:100]:
        vad.probability(window)
    assert 0 <= vad.probability(np.full(WINDOW, broken, np.float32)) <= 1
    after = [vad.probability(window) for window in judged[101:200]]
    assert np.isfinite(after).all()
    assert np.abs(np.subtract(after, expected[101:]))[10:].mean() < 0.05


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("size", [1, 4])
def test_a_broken_window_amid_speech_is_a_moment_of_silence(
    model: SileroModel, talk: Samples, broken: float, size: int
) -> None:
    """What was heard before is still known: the same is said of what follows."""
    judged = np.stack(windows(talk)[:80])
    judged[39:41] = 0
    vad, blanked = model.stream(), model.stream()
    expected = [blanked.probability(window) for window in judged]
    assert expected[38] > 0.9
    judged[39:41] = broken
    found: list[float] = []
    for offset in range(0, len(judged), size):
        found += vad.probabilities(judged[offset : offset + size])
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_probability_that_is_not_a_number_changes_nothing(
    model: SileroModel, talk: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the runtime makes NaN of a window, the last verdict stands, and speech goes on."""
    judged = windows(talk)[:45]
    vad = model.stream()
    before = [vad.probability(window) for window in judged[:39]][-1]
    assert before > 0.9
    with monkeypatch.context() as patch:
        patch.setattr(vad, "_run", lambda _: vad._output.fill(np.nan))
        assert vad.probability(judged[39]) == before
    assert min(vad.probability(window) for window in judged[40:]) > 0.5


@pytest.mark.parametrize("level", [0.0, 0.001, 0.003])
@pytest.mark.parametrize("size", [1, 16])
def test_speech_after_minutes_of_quiet_is_heard_from_its_beginning(
    model: SileroModel, talk: Samples, level: float, size: int
) -> None:
    """After zeros and after faint noise, as if it had come first."""

    def judge(quiet_s: int) -> list[bool]:
        random = np.random.default_rng(0)
        sound = np.concatenate([np.zeros(quiet_s * 16_000 // WINDOW * WINDOW), talk])
        sound += level * random.normal(0, 1, len(sound))
        judged = np.stack(windows(sound.astype(np.float32)))
        vad = model.stream()
        found: list[float] = []
        for offset in range(0, len(judged), size):
            found += vad.probabilities(judged[offset : offset + size])
        return [probability >= 0.5 for probability in found]

    first, later = judge(0), judge(90)
    spoken = later[-len(first) :]
    assert not any(later[: -len(first)])
    assert abs(spoken.index(True) - first.index(True)) <= 1
    assert sum(spoken) == pytest.approx(sum(first), rel=0.03)


@pytest.mark.parametrize("length", [0, 1, 511, 513, 1024])
def test_a_window_of_another_length_is_refused(model: SileroModel, length: int) -> None:
    """A window that would be spread or cut silently is an error of the caller."""
    with pytest.raises(ValueError, match="512"):
        model.stream().probability(np.zeros(length, np.float32))


def test_it_is_a_vad(model: SileroModel) -> None:
    """The stream fulfils the contract, and hears nothing in silence."""
    vad: Vad = model.stream()
    assert (vad.name, vad.window) == ("silero", 512)
    assert all(vad.probability(np.zeros(512, np.float32)) < 0.2 for _ in range(50))


def test_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without faster-whisper the user learns what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install .*faster-whisper") as caught:
        load_silero()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_silero_is_one_clear_line(tmp_path: Path) -> None:
    """A broken weights file gives ModelError that names it."""
    broken = tmp_path / "silero_vad_v6.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"silero_vad_v6\.onnx") as caught:
        load_silero(broken)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        load_silero(tmp_path / "absent.onnx")


def test_loading_does_not_import_faster_whisper() -> None:
    """The weights are found without paying for the import of the package that carries them."""
    program = (
        "import sys; from streamser.speech import vad;"
        "assert 'onnxruntime' not in sys.modules, 'onnxruntime imported too early';"
        "vad.load_silero().stream();"
        "print(sorted({'faster_whisper', 'ctranslate2', 'torch'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_windows_judged_together_are_judged_as_one_by_one(
    model: SileroModel, speech: Samples
) -> None:
    """In groups of any size, after each other, whatever came before."""
    alone, together = model.stream(), model.stream()
    judged = np.stack(windows(speech)[:600])
    expected = [alone.probability(window) for window in judged]
    found: list[float] = []
    for size in (3, 1, 7, 2, 16) * 25:
        group = judged[len(found) : len(found) + size]
        if len(group):
            found += together.probabilities(group)
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_bad_window_among_others_deafens_nobody(model: SileroModel) -> None:
    """What is no number is left out, and the rest is judged as if it had come alone."""
    bad = np.stack(tone(1, 6))
    bad[2, 100] = np.nan
    alone, together = model.stream(), model.stream()
    assert together.probabilities(bad) == pytest.approx([alone.probability(w) for w in bad])
    assert np.isfinite(together.probability(tone(2, 1)[0]))
