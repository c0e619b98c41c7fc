from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Samples
from streamser.emotion.compact.encoders import whisper_frames
from streamser.emotion.compact.model import CompactModel, load_compact
from streamser.emotion.compact.speaker_stats import PRIOR
from streamser.emotion.frontend import Mel, log_mel
from streamser.emotion.model import Place, Segment
from streamser.errors import ModelError
from streamser.taxonomy import CATEGORIES, UNSURE
from tests.emotion.compact.bundles import TEXTS, tiny_bundle
from tests.emotion.voices import in_noise, speak

LOW, HIGH = in_noise(speak(110), 35), in_noise(speak(230, tilt_db=-6), 35)
NOTHING: Samples = np.zeros(0, np.float32)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small bundle's folder."""
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(where: Path) -> CompactModel:
    """Load it."""
    return load_compact(where, "tiny")


@pytest.mark.parametrize(
    ("samples", "text", "modalities"),
    [
        (LOW, TEXTS[0], ("audio", "text")),
        (LOW, None, ("audio",)),
        (LOW, "  ", ("audio",)),
        (NOTHING, TEXTS[1], ("text",)),
        (np.zeros(16000, np.float32), TEXTS[1], ("text",)),
    ],
)
def test_a_reading_says_what_it_rests_on(
    model: CompactModel, samples: Samples, text: str | None, modalities: tuple[str, ...]
) -> None:
    """And holds everything that a reading holds."""
    (finding,) = model.extract([Segment(samples, text)])
    reading = model.new_speaker().predict(finding)
    assert reading.modalities == modalities
    assert set(reading.scores) == set(CATEGORIES)
    assert sum(reading.scores.values()) == pytest.approx(1.0)
    assert reading.confidence == max(reading.scores.values())
    for value in (reading.dimensions.valence, reading.dimensions.arousal):
        assert value is not None
        assert -1.0 <= value <= 1.0


@pytest.mark.parametrize("samples", [NOTHING, LOW[:100], np.zeros(16000, np.float32)])
def test_nothing_heard_and_nothing_said_is_unsure(model: CompactModel, samples: Samples) -> None:
    """With dimensions that are not measured."""
    (finding,) = model.extract([Segment(samples, None)])
    reading = model.new_speaker().predict(finding)
    assert reading.category == UNSURE
    assert reading.modalities == ()
    assert reading.dimensions.valence is None


def test_of_a_voice_hardly_known_an_emotion_is_named_only_where_nearly_certain(
    model: CompactModel,
) -> None:
    """The threshold falls as the stream gets known; neutral keeps its own."""
    listener = model.new_speaker()
    (voice,) = model.extract([Segment(HIGH, None)])
    thresholds, weights = [], []
    for _ in range(40):
        reading = listener.predict(voice)
        if max(reading.scores, key=reading.scores.__getitem__) != "neutral":
            thresholds.append(reading.evidence["unsure_below"])
            weights.append(reading.evidence["known_utterances"])
        listener.adapt(voice)
    assert thresholds, "the bundle must hear an emotion at some time"
    assert thresholds == sorted(thresholds, reverse=True)
    known = [weight / (weight + PRIOR) for weight in weights]
    assert thresholds == pytest.approx([0.9 * (1 - share) for share in known], abs=1e-3)


@pytest.mark.parametrize(("certainty", "weight"), [(None, 1.0), (0.95, 1.0), (0.55, 0.5)])
def test_words_that_say_the_same_lift_the_caution_about_a_voice_hardly_known(
    model: CompactModel, certainty: float | None, weight: float
) -> None:
    """As far as they say so by themselves, and as far as they count."""
    checked = 0
    for text in TEXTS:
        both, words = model.extract(
            [Segment(HIGH, text, certainty=certainty), Segment(NOTHING, text)]
        )
        reading = model.new_speaker().predict(both)
        likeliest = max(reading.scores, key=reading.scores.__getitem__)
        said = model.new_speaker().predict(words).scores[likeliest]
        expected = 0.0 if likeliest == "neutral" else 0.9 * (1.0 - weight * said)
        assert reading.evidence["unsure_below"] == pytest.approx(expected, abs=1e-3)
        checked += likeliest != "neutral"
    assert checked, "the bundle must read an emotion at some time"


def test_words_count_by_how_sure_the_recogniser_is(model: CompactModel) -> None:
    """In between, every category's odds lie between those of both and of the voice alone."""
    full, half, voice = (
        model.new_speaker().predict(finding)
        for finding in model.extract(
            [Segment(HIGH, TEXTS[1]), Segment(HIGH, TEXTS[1], certainty=0.55), Segment(HIGH, None)]
        )
    )
    odds = [
        np.log([each.scores[name] / each.scores["neutral"] for name in CATEGORIES])
        for each in (full, half, voice)
    ]
    assert np.abs(odds[0] - odds[2]).max() > 0.1
    np.testing.assert_allclose(odds[1], (odds[0] + odds[2]) / 2, atol=1e-6)
    assert half.dimensions.valence == pytest.approx(
        ((full.dimensions.valence or 0.0) + (voice.dimensions.valence or 0.0)) / 2
    )
    assert half.modalities == ("audio", "text")
    assert (full.evidence["words_weight"], half.evidence["words_weight"]) == (1.0, 0.5)
    assert "words_weight" not in voice.evidence


def test_words_that_are_likely_misheard_are_as_good_as_none(model: CompactModel) -> None:
    """The reading is the voice's alone, and says so."""
    doubtful, voice = model.extract([Segment(HIGH, TEXTS[1], certainty=0.3), Segment(HIGH, None)])
    assert model.new_speaker().predict(doubtful) == model.new_speaker().predict(voice)


def test_doubtful_words_without_a_voice_say_less(model: CompactModel) -> None:
    """Their scores are flatter and their dimensions nearer to the middle."""
    sure, doubtful = (
        model.new_speaker().predict(finding)
        for finding in model.extract(
            [Segment(NOTHING, TEXTS[1]), Segment(NOTHING, TEXTS[1], None, 0.55)]
        )
    )
    assert doubtful.uncertainty > sure.uncertainty
    assert doubtful.dimensions.valence == pytest.approx((sure.dimensions.valence or 0.0) / 2)


def test_a_clip_alone_is_found_as_in_a_batch(model: CompactModel) -> None:
    """Neighbours do not matter."""
    batch = [Segment(LOW, TEXTS[0]), Segment(HIGH, None), Segment(NOTHING, TEXTS[2])]
    for spoken, found in zip(batch, model.extract(batch), strict=True):
        (alone,) = model.extract([spoken])
        np.testing.assert_array_equal(alone.measured.values, found.measured.values)
        assert (alone.words is None) == (found.words is None)
        if alone.words is not None and found.words is not None:
            np.testing.assert_allclose(alone.words, found.words, rtol=1e-5, atol=1e-6)


def test_findings_do_not_depend_on_what_is_kept(model: CompactModel) -> None:
    """A clip that grows, a session beside it, one that is forgotten: the same bits throughout."""
    sounds = {"low": LOW, "high": HIGH}
    for end in (5000, 9000, 16_000, 14_000, len(LOW)):
        if end == 16_000:
            model.forget("low")
        start = 512 if end == len(LOW) else 0
        clips = {name: sound[start:end] for name, sound in sounds.items()}
        batch = [Segment(clip, None, Place(name, 1, start)) for name, clip in clips.items()]
        for clip, found in zip(clips.values(), model.extract(batch), strict=True):
            (alone,) = model.extract([Segment(clip, None)])
            np.testing.assert_array_equal(alone.measured.values, found.measured.values)
            assert alone.measured.speech_seconds == found.measured.speech_seconds


def test_frames_give_what_their_recording_gives(model: CompactModel) -> None:
    """So that a corpus without recordings is judged by the very path that ships."""
    from_sound, from_frames = model.examine(
        [(HIGH, None), (Mel(log_mel(HIGH), whisper_frames(HIGH)), None)]
    )
    np.testing.assert_array_equal(from_sound.measured.values, from_frames.measured.values)


def test_broken_samples_count_as_silence(model: CompactModel) -> None:
    """A driver's nan must not become a reading of nan."""
    broken = LOW.copy()
    broken[1000:1100] = np.nan
    broken[2000] = np.inf
    (finding,) = model.extract([Segment(broken, None)])
    reading = model.new_speaker().predict(finding)
    assert all(np.isfinite(list(reading.scores.values())))


def test_readings_depend_on_what_the_stream_sounded_like(model: CompactModel) -> None:
    """The same clip is something else after ten low voices than after ten high ones."""
    low, high = model.extract([Segment(LOW, None), Segment(HIGH, None)])
    listeners = [model.new_speaker(), model.new_speaker()]
    for listener, past in zip(listeners, (low, high), strict=True):
        for _ in range(10):
            listener.adapt(past)
    first, second = (listener.judge(high) for listener in listeners)
    assert np.abs(first.logits - second.logits).max() > 0.05


def test_interpreting_teaches_nothing_and_learning_only_the_stream(model: CompactModel) -> None:
    """Partials leave no trace; neither does another session."""
    low, high = model.extract([Segment(LOW, None), Segment(HIGH, None)])
    listener, other = model.new_speaker(), model.new_speaker()
    before = listener.predict(high)
    other.adapt(low)
    assert listener.predict(high) == before
    listener.adapt(low)
    assert listener.predict(high) != before


def test_a_listener_goes_on_where_another_left_off(model: CompactModel) -> None:
    """From a few kilobytes; or forgets, and is as new."""
    low, high = model.extract([Segment(LOW, None), Segment(HIGH, None)])
    listener = model.new_speaker()
    new = listener.predict(high)
    listener.adapt(low)
    again = model.new_speaker()
    again.restore(listener.snapshot())
    assert again.predict(high).scores == pytest.approx(listener.predict(high).scores, abs=1e-4)
    listener.reset()
    assert listener.predict(high) == new
    with pytest.raises(ModelError, match="damaged"):
        listener.restore(b"other")


def test_neither_torch_nor_transformers_is_needed(where: Path) -> None:
    """Who only listens installs neither."""
    script = (
        "import sys; from pathlib import Path\n"
        "from streamser.emotion.compact.model import load_compact\n"
        f"load_compact(Path({str(where)!r}), 'x')\n"
        "sys.exit(bool({'torch', 'transformers', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
