"""What is said of plain speech: counted as it would be live; and that it is little."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.compact.model import CompactModel, load_compact
from streamser.speech.transcriber import Transcript
from tests.data import shared_data
from tools.measure_plain import (
    WAYS,
    Heard,
    alarms,
    plain,
    recognised,
    streams_of,
    under_noise,
    verdicts,
    whose,
)
from tools.talk import ASSETS

SILENCE: Samples = np.zeros(SAMPLE_RATE, np.float32)


class Certain:
    """Recognise the same words in everything, more or less surely."""

    def __init__(self, *said: Transcript) -> None:
        self.said = list(said)

    def transcribe(self, clips: list[object]) -> list[Transcript]:
        """Return the next transcript."""
        return [self.said.pop(0) for _ in clips]


@pytest.fixture(scope="module")
def model() -> CompactModel:
    """Load what ships."""
    return load_compact(ASSETS / "models" / "compact", "compact")


def heard(clip: str, speaker: str = "Ann") -> Heard:
    """Return an utterance of nothing."""
    return Heard(SILENCE, speaker, clip)


def test_an_alarm_is_a_sure_reading_of_something_but_neutral() -> None:
    """Whatever it was meant to be."""
    assert alarms([("neutral", "neutral"), ("neutral", "unsure"), ("neutral", "angry")]) == 1


def test_a_stream_is_a_clip_or_all_clips_of_a_speaker() -> None:
    """In their order."""
    said = [heard("a"), heard("b", "Ben"), heard("c"), heard("a")]
    assert streams_of(said, cold=True) == [[said[0], said[3]], [said[1]], [said[2]]]
    assert streams_of(said, cold=False) == [[said[0], said[2], said[3]], [said[1]]]


def test_of_an_alarm_is_told_whose_it_is_and_which_of_the_stream() -> None:
    """Counted from the first utterance, whatever was said of those before."""
    streams = streams_of([heard("a"), heard("b", "Ben"), heard("c")], cold=False)
    found = [("neutral", "neutral"), ("neutral", "angry"), ("neutral", "unsure")]
    assert whose(streams, found) == [("Ann", "c", 2, "angry")]


def test_what_a_model_is_given() -> None:
    """No words, words as if they were sure, or as sure as they are."""
    said = Heard(SILENCE, "Ann", "a", text="so it is", certainty=0.6)
    given = [(each.text, each.certainty) for each in map(said.given, WAYS)]
    assert given == [(None, None), ("so it is", None), ("so it is", 0.6)]


def test_words_reach_a_model_as_they_do_live() -> None:
    """What the guards withhold does not; silence is too quiet for any words."""
    loud = Heard(np.full(SAMPLE_RATE, 0.1, np.float32), "Ann", "a")
    fake = Certain(Transcript("so it is", confidence=0.6), Transcript("thank you", confidence=0.9))
    trusted, withheld = recognised(fake, [loud, heard("b")])  # type: ignore[arg-type]
    assert (trusted.text, trusted.certainty) == ("so it is", 0.6)
    assert withheld.text is None


def test_noise_lies_as_far_below_a_voice_as_is_asked() -> None:
    """The same for the same seed."""
    rng = np.random.default_rng(0)
    voice, noise = rng.normal(0, [[0.1], [0.5]], (2, SAMPLE_RATE)).astype(np.float32)
    said = [Heard(voice, "Ann", "a")]
    (mixed,) = under_noise(said, noise, 10.0, seed=1)
    below = 20 * np.log10(np.std(voice) / np.std(mixed.samples - voice))
    assert below == pytest.approx(10.0, abs=0.1)
    np.testing.assert_array_equal(mixed.samples, under_noise(said, noise, 10.0, 1)[0].samples)


def test_a_stream_hardly_known_is_not_emotional_for_plain_words(model: CompactModel) -> None:
    """With a plain sentence, what anybody says first is sure and not neutral once in fifty."""
    first = {each.clip: each for each in reversed(plain(shared_data("speech").parent))}
    said = [replace(each, text="And so it is with the others.") for each in first.values()]
    found = verdicts(model, streams_of(said, cold=True), "words in full")
    assert len(found) > 45
    assert alarms(found) <= 0.02 * len(found)
