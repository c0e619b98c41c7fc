"""Guards against invented text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.speech.transcriber import (
    GuardLimits,
    Transcript,
    Word,
    distrust,
    guarded,
    loudest_dbfs,
)


def noise(seconds: float, dbfs: float = -25.0) -> Samples:
    """Return white noise of a level."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(round(seconds * SAMPLE_RATE)) * 10 ** (dbfs / 20)
    return samples.astype(np.float32)


def clip(seconds: float = 3.0, dbfs: float = -25.0) -> Clip:
    """Return a clip of noise, as loud as speech."""
    return Clip("s", 1, 0, noise(seconds, dbfs), final=True)


def judged(text: str, seconds: float = 3.0) -> str:
    """Return the verdict on a text that is said to be heard in so many seconds."""
    return distrust(Transcript(text), clip(seconds))


def test_plain_speech_is_trusted() -> None:
    """An ordinary sentence with ordinary numbers passes every guard."""
    transcript = Transcript("I am so happy today.", no_speech=0.1, avg_logprob=-0.3)
    assert distrust(transcript, clip()) == ""


def test_engines_that_report_no_numbers_are_not_punished() -> None:
    """Missing probabilities are no reason for distrust."""
    assert judged("go forward ten meters") == ""


def test_text_over_near_silence_is_too_quiet() -> None:
    """A recogniser that hears words in -80 dBFS of hiss is not believed."""
    assert distrust(Transcript("thank you"), clip(dbfs=-80)) == "too_quiet"
    assert distrust(Transcript("thank you"), clip(dbfs=-50)) == ""


def test_a_short_word_in_a_long_silence_is_loud_enough() -> None:
    """The gate looks at the loudest 100 ms, not at the mean."""
    samples = np.zeros(10 * SAMPLE_RATE, np.float32)
    samples[80_000:83_200] = noise(0.2, -40)
    assert distrust(Transcript("yes"), Clip("s", 1, 0, samples, final=True)) == ""


@pytest.mark.parametrize(("no_speech", "logprob", "reason"), [
    (0.9, -1.2, "no_speech"),
    (0.9, -0.7, "no_speech"),
    (0.9, -0.4, ""),
    (0.63, -0.51, ""),
    (0.7, -0.9, "no_speech"),
    (0.5, -1.2, "low_logprob"),
    (0.5, -0.9, ""),
    (0.2, -1.2, ""),
    (0.2, -1.4, "low_logprob"),
    (0.9, None, "no_speech"),
    (None, -1.2, "low_logprob"),
])  # fmt: skip
def test_the_less_speech_there_seems_to_be_the_surer_the_text_must_be(
    no_speech: float | None, logprob: float | None, reason: str
) -> None:
    """Where it is clear that somebody speaks, laughter and single words may be unsure."""
    transcript = Transcript("a sentence", no_speech=no_speech, avg_logprob=logprob)
    assert distrust(transcript, clip()) == reason


def sure(text: str, words: tuple[Word, ...] = ()) -> Transcript:
    """Return what a recogniser is sure of, that somebody speaks as well."""
    return Transcript(text, words, no_speech=0.1, avg_logprob=-0.2)


def unsure(text: str) -> Transcript:
    """Return what a recogniser is not sure of."""
    return Transcript(text, no_speech=0.5, avg_logprob=-0.8)


@pytest.mark.parametrize("text", [
    "No, no, no, no, no! I do not want that!",
    "Ha ha ha ha ha, that is so funny.",
    "1 2 3 4 5 6 7 8 9 10",
    "five five five five",
    "I said no. I said no. I said no. I said no. And I mean it.",
    "料金は10,000円です。",
    "人口は1000000人です",
    "0120-000-000です",
    "はいはいはいはい、わかりました",
    "对对对对，我知道了",
    "哈哈哈哈",
    "네 네 네 네 알겠습니다",
    "Noooooooo!",
    "Hahahahahaha",
])  # fmt: skip
def test_what_people_say_again_and_again_stays(text: str) -> None:
    """Emphasis, laughter, counting and numbers, from a recogniser that is sure or says nothing."""
    for transcript in (sure(text), Transcript(text)):
        assert guarded(transcript, clip(2.5)) == transcript


def test_laughter_that_is_heard_unsurely_stays() -> None:
    """What tiny.en says of laughter: unsure of the words, sure that somebody is there."""
    transcript = Transcript("Ha ha ha ha ha", no_speech=0.23, avg_logprob=-0.91)
    assert guarded(transcript, clip(2.0)) == transcript


@pytest.mark.parametrize("text", [
    "thank you thank you thank you thank you",
    "It is what it is, it is what it is, it is what it is. It is what it is.",
    "谢谢谢谢谢谢谢谢",
    "ご視聴ありがとうございました" * 4,
])  # fmt: skip
def test_repetition_condemns_where_the_recogniser_is_unsure(text: str) -> None:
    """The same text passes from one that is sure, or does not say."""
    assert distrust(unsure(text), clip(25.0)) == "repetitive"
    assert distrust(sure(text), clip(25.0)) == ""
    assert distrust(Transcript(text), clip(25.0)) == ""


@pytest.mark.parametrize("text", [
    "thank you " * 100,
    "spasibo " * 200,
    "no, " * 220,
    "ご視聴ありがとうございました" * 25,
    "哈" * 200,
    "A" + "H" * 890,
    "0." + "3" * 440,
    "ha-" * 220,
    "one two three four five six seven " * 30,
])  # fmt: skip
def test_more_than_can_be_said_in_the_time_is_a_loop_however_sure(text: str) -> None:
    """Runs of words, of phrases and of characters that fill all a recogniser may write."""
    transcript = Transcript(text, no_speech=0.7, avg_logprob=-0.1)
    assert distrust(transcript, clip(10.0)) == "repetitive"


@pytest.mark.parametrize(("text", "left"), [
    ("Well, " + "no, " * 100 + "I do not want that!", "Well, no, I do not want that!"),
    ("And I said " + "I think that " * 60 + "I think", "And I said I think that"),
    ("今日は" + "はい" * 150 + "天気", "今日ははい天気"),
    ("Stop " + "a" * 400 + " now", "Stop now"),
])  # fmt: skip
def test_what_stands_before_and_behind_a_loop_stays(text: str, left: str) -> None:
    """Only the repetitions go, and with them what broke off at the end."""
    result = guarded(sure(text), clip(4.0))
    assert (result.text, result.distrust) == (left, "")


def test_words_go_with_the_text_that_they_stand_for() -> None:
    """And all of them where they are not the text's."""
    text = "So " + "yes, " * 60 + "it works."
    spoken = tuple(Word(word, 100 * i, 100 * i + 50) for i, word in enumerate(text.split()))
    result = guarded(sure(text, spoken), clip(4.0))
    assert result.text == "So yes, it works."
    assert [word.text for word in result.words] == result.text.split()
    assert result.words[2].start == 100 * 61
    others = (Word("something", 0, 100),)
    assert guarded(sure(text, others), clip(4.0)).words == ()


def test_a_loop_alone_is_its_phrase_where_somebody_seems_to_speak() -> None:
    """Else nothing of it is believed."""
    assert guarded(sure("no, " * 99), clip(4.0)).text == "no,"
    doubtful = Transcript("no, " * 99, no_speech=0.7, avg_logprob=-0.1)
    for transcript in (Transcript("no, " * 99), doubtful):
        assert distrust(transcript, clip(4.0)) == "repetitive"


@given(st.lists(st.sampled_from(["no", "yes,", "maybe", "今", "日"]), max_size=40))
def test_a_guard_adds_no_word_and_is_content_with_what_it_left(words: list[str]) -> None:
    """What is left is a part of the text in its order, and passes."""
    text = " ".join(words)
    once = guarded(sure(text), clip(0.5))
    rest = iter(words)
    assert once.distrust or all(word in rest for word in once.text.split())


@pytest.mark.parametrize("text", [
    "no no no",
    "very very very good",
    "the cat sat on the mat and the dog sat on the log and the frog sat on the bog",
    "我今天非常高兴, 因为天气很好",
    "Donaudampfschifffahrtsgesellschaft",
    "one two three four five six seven eight nine ten",
])  # fmt: skip
def test_emphasis_and_long_sentences_are_not(text: str) -> None:
    """What people do say again is left alone."""
    assert judged(text, seconds=10) == ""


def test_more_words_than_a_mouth_can_say_are_too_fast() -> None:
    """Twelve different words in one second were not spoken."""
    words = "please do not forget to like and subscribe to our lovely channel"
    assert judged(words, seconds=1.0) == "too_fast"
    assert judged(words, seconds=4.0) == ""


def test_speed_is_measured_without_spaces_too() -> None:
    """Sixteen Chinese characters in half a second are as impossible as English words."""
    text = "请不吝点赞订阅转发打赏支持明镜与"
    assert judged(text, seconds=0.5) == "too_fast"
    assert judged(text, seconds=4.0) == ""


def test_the_energy_gate_comes_first() -> None:
    """Of several reasons the first in the documented order is given."""
    transcript = Transcript("no " * 50, no_speech=0.9, avg_logprob=-3)
    assert distrust(transcript, clip(0.5, dbfs=-90)) == "too_quiet"
    assert distrust(transcript, clip(0.5)) == "no_speech"


def test_an_empty_text_claims_nothing() -> None:
    """Hearing nothing in silence is right."""
    silence = Clip("s", 1, 0, np.zeros(0, np.float32), final=True)
    assert distrust(Transcript("  ", no_speech=1.0, avg_logprob=-9), silence) == ""
    assert distrust(Transcript("words"), silence) == "too_quiet"


def test_limits_can_be_moved() -> None:
    """A caller's limits replace the defaults."""
    limits = GuardLimits(min_dbfs=-20)
    assert distrust(Transcript("hello"), clip(), limits) == "too_quiet"


def test_guarded_only_fills_in_the_reason() -> None:
    """The transcript stays what it was, so that the event can still say what was heard."""
    transcript = Transcript("la la", language="en", confidence=0.2, avg_logprob=-2.0)
    result = guarded(transcript, clip())
    assert result.distrust == "low_logprob"
    assert (result.text, result.language, result.confidence) == ("la la", "en", 0.2)


def test_loudness_is_relative_to_a_full_scale_square_wave() -> None:
    """A full-scale square wave is 0 dBFS, a sine -3, silence and junk minus infinity."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sine = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    assert loudest_dbfs(np.sign(sine) + (sine == 0)) == pytest.approx(0.0, abs=0.01)
    assert loudest_dbfs(sine) == pytest.approx(-3.01, abs=0.05)
    assert loudest_dbfs(np.full(3, 0.1, np.float32)) == pytest.approx(-20.0, abs=0.01)
    assert loudest_dbfs(np.full(800, math.nan, np.float32)) == -math.inf
