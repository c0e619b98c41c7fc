"""WebRTC VAD: a smoothed vote that the segmenter's thresholds can work with."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import Samples
from streamser.errors import ConfigError, ModelError
from streamser.speech.vad import Vad, WebRtcVad
from tests.data import shared_data

WINDOW = WebRtcVad.window


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Return 2.9 s of one spoken sentence."""
    sound, _ = soundfile.read(shared_data("speech/audio/sb_spk1_snt1.flac"), dtype="float32")
    return np.asarray(sound, np.float32)


def listen(vad: WebRtcVad, sound: Samples) -> list[float]:
    """Return the probability of each whole window."""
    count = len(sound) // WINDOW
    return [vad.probability(window) for window in sound[: count * WINDOW].reshape(-1, WINDOW)]


def test_it_is_a_vad() -> None:
    """The detector fulfils the contract with windows of 30 ms."""
    vad: Vad = WebRtcVad()
    assert (vad.name, vad.window) == ("webrtc", 480)


def test_probability_is_the_mean_of_the_last_three_votes(speech: Samples) -> None:
    """Each answer is the share of yes among this window and the two before."""
    import webrtcvad

    raw = webrtcvad.Vad(2)
    pcm = (speech * 32767).astype("<i2")
    count = len(pcm) // WINDOW
    votes = [
        raw.is_speech(window.tobytes(), 16_000)
        for window in pcm[: count * WINDOW].reshape(-1, WINDOW)
    ]
    assert {True, False} == set(votes)
    padded = [False, False, *votes]
    expected = [sum(padded[index : index + 3]) / 3 for index in range(count)]
    assert listen(WebRtcVad(), speech) == pytest.approx(expected)


def test_speech_is_heard_and_silence_is_not(speech: Samples) -> None:
    """A sentence between two silences is told apart from them."""
    silence = np.zeros(16_000, np.float32)
    heard = np.array(listen(WebRtcVad(), np.concatenate([silence, speech, silence])))
    inside = slice(16_000 // WINDOW + 3, (16_000 + len(speech)) // WINDOW)
    assert (heard[inside] >= 0.5).mean() > 0.8
    assert (heard[: 16_000 // WINDOW] < 0.35).all()
    assert (heard[-10:] < 0.35).all()


def test_reset_equals_a_new_stream(speech: Samples) -> None:
    """Neither votes nor the adapted noise model survive a reset."""
    noise = np.random.default_rng(1).normal(0, 0.2, 5 * 16_000).astype(np.float32)
    used = WebRtcVad()
    adapted = listen(used, np.concatenate([noise, speech]))[-(len(speech) // WINDOW) :]
    used.reset()
    fresh = listen(WebRtcVad(), speech)
    assert listen(used, speech) == fresh
    assert adapted != fresh, "the noise did leave a trace that reset had to clear"


def test_a_higher_mode_hears_less(speech: Samples) -> None:
    """Aggressiveness reaches the detector."""
    noise = np.random.default_rng(2).normal(0, 0.005, len(speech)).astype(np.float32)
    shares = [sum(listen(WebRtcVad(mode), speech + noise)) for mode in (0, 3)]
    assert shares[0] > shares[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 3e38, 40.0])
def test_samples_out_of_range_are_harmless(speech: Samples, broken: float) -> None:
    """A broken window is answered without a warning and the speech after it is heard."""
    vad = WebRtcVad()
    spoilt = speech.copy()
    spoilt[100:110] = broken
    heard = listen(vad, spoilt)
    assert np.isfinite(heard).all()
    assert max(heard[10:]) == 1


@pytest.mark.parametrize("length", [0, 160, 320, 481])
def test_a_window_of_another_length_is_refused(length: int) -> None:
    """Also the 10 and 20 ms that the library itself would take."""
    with pytest.raises(ValueError, match="480"):
        WebRtcVad().probability(np.zeros(length, np.float32))


@pytest.mark.parametrize("mode", [-1, 4])
def test_an_unknown_mode_is_refused(mode: int) -> None:
    """Modes are 0 to 3."""
    with pytest.raises(ConfigError, match="0, 1, 2 or 3"):
        WebRtcVad(mode)


def test_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the user gets the line that installs it."""
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(ModelError, match=r"pip install .*webrtcvad-wheels") as caught:
        WebRtcVad()
    assert "\n" not in str(caught.value)
