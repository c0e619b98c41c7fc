"""The model `rules`: readings of real and synthesised voices, with and without words."""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import Samples
from streamser.emotion.model import EmotionModel, Prediction, Segment, SpeakerModel
from streamser.emotion.rules import PRIOR, RulesFeatures, RulesModel, RulesSpeaker
from streamser.errors import ModelError
from streamser.taxonomy import CATEGORIES, UNSURE
from tests.data import shared_data
from tests.emotion.voices import sing, speak

NOTHING = np.zeros(0, np.float32)


@pytest.fixture(scope="module")
def model() -> RulesModel:
    """Share one model, as all sessions do."""
    return RulesModel()


def one(model: RulesModel, samples: Samples, text: str | None = None) -> RulesFeatures:
    """Observe a single clip."""
    return model.extract([Segment(samples, text)])[0]


def talk(count: int = 16, gain_db: float = 0.0) -> list[Samples]:
    """Return utterances of one voice whose pitch, level and tilt vary by effort."""
    effort = np.random.default_rng(3).normal(0.0, 1.0, count).tolist()
    return [
        speak(140.0 * 1.08**e, level_db=-30.0 + 2.0 * e + gain_db, tilt_db=-12.0 + e)
        for e in effort
    ]


def acquainted(model: RulesModel, clips: list[Samples]) -> RulesSpeaker:
    """Return a listener that has learnt these clips."""
    listener = model.new_speaker()
    for finding in model.extract([Segment(clip, None) for clip in clips]):
        listener.adapt(finding)
    return listener


def arousal_of(reading: Prediction) -> float:
    """Return the arousal of a reading that must have one."""
    assert reading.dimensions.arousal is not None
    return reading.dimensions.arousal


def test_it_is_an_emotion_model() -> None:
    """It and its listener fit the contract that the runtime knows."""
    model: EmotionModel = RulesModel()
    listener: SpeakerModel = model.new_speaker()
    assert model.name == "rules"
    reading = listener.predict(model.extract([Segment(NOTHING, None)])[0])
    assert tuple(reading.scores) == CATEGORIES


def test_shouting_is_aroused_and_soft_speech_is_not(model: RulesModel) -> None:
    """A raised voice scores far above a soft one of the same speaker."""
    listener = acquainted(model, talk())
    shout = listener.predict(one(model, speak(230.0, level_db=-14.0, tilt_db=-6.0)))
    soft = listener.predict(one(model, speak(110.0, level_db=-40.0, tilt_db=-18.0)))
    assert arousal_of(shout) > 0.7
    assert arousal_of(soft) < -0.7
    assert shout.scores["angry"] > soft.scores["angry"]
    assert soft.scores["sad"] > shout.scores["sad"]


@pytest.mark.parametrize("gain_db", [-12.0, 12.0])
def test_gain_does_not_change_arousal(model: RulesModel, gain_db: float) -> None:
    """With the same gain on past and present, arousal stays within .01."""
    usual = acquainted(model, talk())
    moved = acquainted(model, talk(gain_db=gain_db))
    for effort in (-1.5, 0.0, 1.5):
        clips = [
            speak(140.0 * 1.08**effort, level_db=-30.0 + 2 * effort + db, tilt_db=-12.0 + effort)
            for db in (0.0, gain_db)
        ]
        first = arousal_of(usual.predict(one(model, clips[0])))
        second = arousal_of(moved.predict(one(model, clips[1])))
        assert second == pytest.approx(first, abs=0.01)


def test_words_bring_valence_and_settle_angry_or_happy(model: RulesModel) -> None:
    """The same raised voice is happy with pleasant words and angry with unpleasant ones."""
    listener = acquainted(model, talk())
    shout = speak(230.0, level_db=-14.0, tilt_db=-6.0)
    happy = listener.predict(one(model, shout, "i am so happy today this is wonderful"))
    angry = listener.predict(one(model, shout, "this is terrible i hate you"))
    assert happy.dimensions.valence is not None
    assert happy.dimensions.valence > 0.5
    assert (happy.category, angry.category) == ("happy", "angry")
    assert happy.modalities == angry.modalities == ("audio", "text")


def test_without_words_angry_and_happy_are_nearly_equal(model: RulesModel) -> None:
    """Valence stays unknown, the two scores come out alike, and no category is claimed."""
    listener = acquainted(model, talk())
    reading = listener.predict(one(model, speak(190.0, level_db=-24.0, tilt_db=-9.0)))
    assert reading.modalities == ("audio",)
    assert reading.dimensions.valence is None
    assert abs(reading.scores["angry"] - reading.scores["happy"]) < 0.15
    assert reading.category == UNSURE


def test_without_a_voice_words_speak_alone(model: RulesModel) -> None:
    """A text without sound has valence and no arousal."""
    reading = model.new_speaker().predict(one(model, NOTHING, "what a wonderful lovely surprise"))
    assert reading.modalities == ("text",)
    assert reading.dimensions.arousal is None
    assert reading.category == "happy"
    assert "f0_median_hz" not in reading.evidence


@pytest.mark.parametrize(
    "samples",
    [
        NOTHING,
        np.zeros(3, np.float32),
        np.zeros(48_000, np.float32),
        np.full(16_000, np.nan, np.float32),
    ],
)
def test_nothing_known_is_the_prior_and_unsure(model: RulesModel, samples: Samples) -> None:
    """No voice and no words: the prior, no dimension, no modality, and nothing is learnt."""
    listener = model.new_speaker()
    finding = one(model, samples)
    listener.adapt(finding)
    reading = listener.predict(finding)
    assert reading.scores == pytest.approx(PRIOR)
    assert reading.category == UNSURE
    assert reading.uncertainty > 0.9
    assert reading.modalities == ()
    dimensions = reading.dimensions
    assert (dimensions.valence, dimensions.arousal, dimensions.dominance) == (None, None, None)
    assert reading.evidence["baseline_utterances"] == 0.0


def test_plain_words_leave_the_scores_alone(model: RulesModel) -> None:
    """A sentence without any lexicon word has valence 0, which decides nothing."""
    listener = acquainted(model, talk())
    shout = speak(230.0, level_db=-14.0, tilt_db=-6.0)
    plain = listener.predict(one(model, shout, "the train leaves at noon"))
    assert plain.scores == listener.predict(one(model, shout)).scores
    assert plain.dimensions.valence == 0.0
    assert plain.evidence["lexicon_words"] == 0.0
    assert plain.modalities == ("audio", "text")
    alone = model.new_speaker().predict(one(model, NOTHING, "the train leaves at noon"))
    assert alone.scores == pytest.approx(PRIOR)
    assert alone.category == UNSURE


def test_a_short_clip_is_less_sure(model: RulesModel) -> None:
    """Under a second of speech the same voice and words give flatter scores."""
    listener = acquainted(model, talk())
    clip = speak(230.0, level_db=-14.0, tilt_db=-6.0)
    whole = listener.predict(one(model, clip, "i hate it"))
    part = listener.predict(one(model, clip[:8_000], "i hate it"))
    assert part.uncertainty > whole.uncertainty
    assert part.confidence < whole.confidence


def test_too_little_voice_is_no_voice(model: RulesModel) -> None:
    """A fifth of a second has no arousal and is not learnt, but shows what it was."""
    listener = model.new_speaker()
    finding = one(model, sing(np.full(3_200, 150.0)))
    listener.adapt(finding)
    reading = listener.predict(finding)
    assert finding.prosody.voiced_seconds > 0.0
    assert reading.modalities == ()
    assert reading.evidence["baseline_utterances"] == 0.0
    assert reading.evidence["f0_median_hz"] == pytest.approx(150.0, rel=0.02)


def test_evidence_shows_the_measurements(model: RulesModel) -> None:
    """Every number that led to the judgement is there, in its unit."""
    listener = acquainted(model, talk(6))
    evidence = listener.predict(one(model, speak(140.0), "so sad")).evidence
    assert evidence["f0_median_hz"] == pytest.approx(140.0, rel=0.05)
    assert evidence["baseline_utterances"] == 6.0
    assert evidence["vader_compound"] < 0.0
    assert set(evidence) == {
        "voiced_seconds",
        "speech_seconds",
        "baseline_utterances",
        "f0_median_hz",
        "intensity_db",
        "hf500_db",
        "f0_score",
        "f0_weight",
        "intensity_score",
        "intensity_weight",
        "hf500_score",
        "hf500_weight",
        "vader_compound",
        "lexicon_words",
    }


def test_a_finding_does_not_depend_on_its_batch(model: RulesModel) -> None:
    """Alone, in company and asked again, a clip is found the same."""
    batch = [
        Segment(clip, text) for clip, text in zip(talk(4), ("a", None, "sad", ""), strict=True)
    ]
    together = model.extract(batch)
    assert together == [model.extract([spoken])[0] for spoken in batch]
    assert together == RulesModel().extract(batch[::-1])[::-1]


def test_interpreting_learns_nothing_and_sessions_share_nothing(model: RulesModel) -> None:
    """Partials may be interpreted at any time, in any number, without a trace."""
    clip = one(model, speak(200.0), "fine")
    busy, idle = acquainted(model, talk(8)), acquainted(model, talk(8))
    for finding in model.extract([Segment(speak(90.0), None)] * 5):
        busy.predict(finding)
        model.new_speaker().adapt(finding)
    assert busy.predict(clip) == idle.predict(clip)


def test_acted_anger_is_more_aroused_than_acted_sadness() -> None:
    """In EmoDB angry clips score above sad ones by far, for every one of ten speakers."""
    folder = shared_data("emodb")
    clips: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            clips[row["speaker"]][row["emotion"]].append(row["path"])
    model = RulesModel()
    assert len(clips) == 10
    for speaker, of_emotion in clips.items():
        findings = {
            emotion: [
                one(model, soundfile.read(folder / path, dtype="float32")[0])
                for path in of_emotion[emotion][:4]
            ]
            for emotion in ("neutral", "anger", "sadness")
        }
        listener = model.new_speaker()
        for finding in [f for group in zip(*findings.values(), strict=False) for f in group]:
            listener.adapt(finding)
        anger, sadness = (
            np.mean([arousal_of(listener.predict(f)) for f in findings[emotion]])
            for emotion in ("anger", "sadness")
        )
        assert anger > sadness + 0.4, speaker


def test_a_listener_goes_on_where_another_left_off() -> None:
    """From some bytes; or forgets, and is as new."""
    model = RulesModel()
    (finding,) = model.extract([Segment(speak(150), None)])
    listener, again = model.new_speaker(), model.new_speaker()
    new = listener.predict(finding)
    for _ in range(6):
        listener.adapt(finding)
    again.restore(listener.snapshot())
    assert again.predict(finding) == listener.predict(finding) != new
    listener.reset()
    assert listener.predict(finding) == new
    with pytest.raises(ModelError, match="damaged"):
        listener.restore(b"?")
