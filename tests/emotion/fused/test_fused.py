from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamser.audio.clip import Samples
from streamser.emotion.calibration import Calibration, MonotoneMap, entropy
from streamser.emotion.fused.checkpoint import Checkpoint
from streamser.emotion.fused.config import HeadsConfig
from streamser.emotion.fused.model import (
    FusedEmotionModel,
    FusedFeatures,
    FusedSpeaker,
    Precision,
    load_fused,
)
from streamser.emotion.model import EmotionModel, Prediction, Segment, SpeakerModel
from streamser.errors import ModelError
from streamser.machine import core_count
from streamser.taxonomy import CATEGORIES, Dimensions
from tests.emotion.fused.checkpoints import (
    CALIBRATIONS,
    TINY,
    VOICE_ONLY,
    tiny_checkpoint,
    tiny_model,
)

BOTH = ("audio", "text")
HEADS = HeadsConfig()


def noise(samples: int, seed: int = 0) -> Samples:
    """Make quiet noise."""
    return np.random.default_rng(seed).uniform(-0.1, 0.1, samples).astype(np.float32)


def tiny(**changes: Any) -> FusedEmotionModel:
    """Return a random model at work, its configuration changed."""
    model = tiny_model(replace(TINY, **changes))
    return FusedEmotionModel(
        Checkpoint(model=model, calibrations=CALIBRATIONS, directory=Path("tiny")), "tiny"
    )


def read(model: FusedEmotionModel, samples: Samples, text: str | None) -> Prediction:
    """Return what a model says of one clip."""
    (finding,) = model.extract([Segment(samples=samples, text=text)])
    return model.new_speaker().predict(finding)


def test_it_is_an_emotion_model() -> None:
    """With a name, findings and listeners."""
    model: EmotionModel = tiny()
    listener: SpeakerModel = model.new_speaker()
    (finding,) = model.extract([Segment(samples=noise(16_000), text="a surprise")])
    assert listener.predict(finding).category in CATEGORIES
    assert model.name == "tiny"
    assert model.extract([]) == []


def test_a_finding_does_not_depend_on_its_neighbours() -> None:
    """Neither on their length nor on what modalities they have."""
    model = tiny()
    batch = [
        Segment(samples=noise(16_000), text="what a wonderful surprise"),
        Segment(samples=noise(700, seed=1), text=None),
        Segment(samples=noise(48_000, seed=2), text="never again"),
        Segment(samples=noise(0), text="leave me alone"),
        Segment(samples=noise(0), text=None),
    ]
    together = model.extract(batch)
    assert [finding.modalities for finding in together] == [BOTH, ("audio",), BOTH, ("text",), ()]
    for finding, spoken in zip(together, batch, strict=True):
        (alone,) = model.extract([spoken])
        assert alone.modalities == finding.modalities
        np.testing.assert_allclose(alone.logits, finding.logits, atol=1e-5)
        np.testing.assert_allclose(alone.dimensions, finding.dimensions, atol=1e-5)


def test_a_listener_learns_nothing() -> None:
    """The same finding reads the same for ever."""
    model = tiny()
    findings = model.extract([Segment(samples=noise(8000, seed), text=None) for seed in range(3)])
    listener = model.new_speaker()
    before = listener.predict(findings[0])
    for finding in findings:
        listener.adapt(finding)
    assert listener.predict(findings[0]) == before


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_without_words_the_voice_speaks_alone(text: str | None) -> None:
    """Blank text is no text."""
    reading = read(tiny(), noise(8000), text)
    assert reading.modalities == ("audio",)
    assert reading == read(tiny(), noise(8000), None)


@pytest.mark.parametrize("samples", [1, 2, 100, 511, 513])
@pytest.mark.parametrize("text", [None, "alone"])
def test_a_few_samples_are_read_too(samples: int, text: str | None) -> None:
    """Windows can be as short as a click."""
    reading = read(tiny(), noise(samples), text)
    assert "audio" in reading.modalities
    assert sum(reading.scores.values()) == pytest.approx(1)


def test_silence_is_read_without_a_fault() -> None:
    """Digital silence has no level to be measured against."""
    reading = read(tiny(), np.zeros(16_000, np.float32), None)
    assert np.isfinite([*reading.scores.values(), reading.uncertainty]).all()


def test_with_nothing_to_go_by_the_reading_says_nothing() -> None:
    """No modality, no dimension, and every category alike."""
    reading = read(tiny(text=None), noise(0), "words that it cannot read")
    assert reading == Prediction(
        category="unsure",
        confidence=0.25,
        scores=dict.fromkeys(CATEGORIES, 0.25),
        dimensions=Dimensions(),
        uncertainty=1.0,
        modalities=(),
    )


def predict(
    heads: HeadsConfig = HEADS,
    logits: tuple[float, ...] = (1.0, 0.0, 3.0, 0.0),
    dimensions: tuple[float, ...] = (0.25, 0.75),
    modalities: tuple[str, ...] = BOTH,
    **calibrations: Calibration,
) -> Prediction:
    """Read a finding that is given as numbers; `both` calibrates audio and text together."""
    fitted = {"audio+text" if name == "both" else name: c for name, c in calibrations.items()}
    return FusedSpeaker(heads, fitted).predict(FusedFeatures(logits, dimensions, modalities))


def test_scores_are_calibrated_probabilities_of_every_category() -> None:
    """exp(logit / T), normalised, in the model's order."""
    reading = predict(both=Calibration(temperature=2.0))
    weights = np.exp(np.array([1.0, 0.0, 3.0, 0.0]) / 2.0)
    np.testing.assert_allclose(list(reading.scores.values()), weights / weights.sum())
    assert tuple(reading.scores) == CATEGORIES
    assert reading.category == "sad"
    assert reading.confidence == reading.scores["sad"]
    assert reading.uncertainty == entropy(reading.scores)
    assert reading.evidence == {"logit_margin": 2.0, "temperature": 2.0, "unsure_below": 0.0}


def test_each_set_of_modalities_is_calibrated_for_itself() -> None:
    """A voice alone deserves less trust than voice and words."""
    sharp, flat = Calibration(temperature=0.5), Calibration(temperature=5.0)
    both = predict(both=sharp, audio=flat)
    voice = predict(modalities=("audio",), both=sharp, audio=flat)
    words = predict(modalities=("text",), both=sharp, audio=flat)
    assert both.confidence > words.confidence > voice.confidence
    assert words == predict(modalities=("text",))


def test_below_its_threshold_a_reading_is_unsure() -> None:
    """Its scores are told all the same."""
    sure = predict()
    unsure = predict(both=Calibration(unsure_below=sure.confidence + 0.01))
    assert (sure.category, unsure.category) == ("sad", "unsure")
    assert unsure.scores == sure.scores
    assert unsure.confidence == sure.confidence


def test_dimensions_go_through_their_maps_to_the_scale_of_events() -> None:
    """From 0..1 to -1..1; the model without dominance does not speak of it."""
    plain = predict()
    assert plain.dimensions == Dimensions(valence=-0.5, arousal=0.5, dominance=None)
    mapped = predict(both=Calibration(maps={"arousal": MonotoneMap((0.0, 1.0), (0.0, 0.5))}))
    assert mapped.dimensions == Dimensions(valence=-0.5, arousal=-0.25, dominance=None)


def test_a_category_that_the_model_lacks_has_the_score_0() -> None:
    """Whatever order the others are in."""
    heads = HeadsConfig(categories=("angry", "neutral"))
    reading = predict(heads, logits=(0.0, np.log(3.0)))
    assert reading.scores == pytest.approx({"neutral": 0.75, "happy": 0, "sad": 0, "angry": 0.25})
    assert reading.category == "neutral"


def test_the_uncertainty_is_measured_among_the_categories_that_the_model_knows() -> None:
    """Of two that are alike it can be no less certain."""
    heads = HeadsConfig(categories=("happy", "sad"))
    assert predict(heads, logits=(2.0, 2.0)).uncertainty == pytest.approx(1)
    assert predict(heads, logits=(50.0, 0.0)).uncertainty == pytest.approx(0, abs=1e-6)


def test_a_model_without_categories_is_unsure_and_still_measures() -> None:
    """Only dimensions were asked of it."""
    reading = predict(HeadsConfig(categories=()), logits=())
    assert reading.category == "unsure"
    assert set(reading.scores.values()) == {0.25}
    assert reading.dimensions.arousal == 0.5
    assert reading.modalities == BOTH
    assert reading.evidence == {}


def test_a_model_without_dimensions_measures_none() -> None:
    """Only categories were asked of it."""
    reading = predict(HeadsConfig(dimensions=()), dimensions=())
    assert reading.dimensions == Dimensions()
    assert reading.category == "sad"


def test_an_answer_that_is_no_number_is_a_fault() -> None:
    """It must not reach an event."""
    model = tiny()
    with torch.no_grad():
        model._model.get_parameter("classifier.bias").fill_(float("nan"))
    with pytest.raises(ModelError, match="tiny gave an answer that is no number"):
        model.extract([Segment(samples=noise(8000), text=None)])


def test_memory_that_runs_out_is_told_so_that_the_batch_is_halved() -> None:
    """By the code and the words that the runtime knows."""
    model = tiny()

    def refuse(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    model._model.fusion.register_forward_pre_hook(refuse)
    with pytest.raises(ModelError, match=r"tiny: CUDA out of memory\. .* 2 GiB$") as caught:
        model.extract([Segment(samples=noise(8000), text=None)])
    assert caught.value.code == "out_of_memory"


def test_bfloat16_is_close_to_float32(tmp_path: Path) -> None:
    """And int8 too; what is not asked for by name is one of them."""
    where = str(tiny_checkpoint(tmp_path / "tiny"))
    spoken = [Segment(samples=noise(16_000), text="what a surprise")]
    precisions: tuple[Precision, ...] = ("auto", "float32", "bfloat16", "int8")
    answers = {
        precision: load_fused(where, device="cpu", precision=precision).extract(spoken)[0].logits
        for precision in precisions
    }
    auto = answers.pop("auto")
    assert auto in answers.values()
    assert len(set(answers.values())) == 3
    for logits in answers.values():
        np.testing.assert_allclose(logits, answers["float32"], atol=0.1)


def test_a_loaded_model_is_called_like_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the directory is written."""
    directory = tiny_checkpoint(tmp_path / "my-voice", VOICE_ONLY)
    monkeypatch.chdir(directory)
    assert load_fused(str(directory)).name == "my-voice"
    assert load_fused(".").name == "my-voice"


def test_the_model_of_a_training_is_called_like_the_training(tmp_path: Path) -> None:
    """All of their checkpoints are called "model"."""
    where = tiny_checkpoint(tmp_path / "third-try" / "model")
    assert load_fused(str(where)).name == "third-try"


def test_a_name_is_one_line(tmp_path: Path) -> None:
    """Whatever directories may be called."""
    assert load_fused(str(tiny_checkpoint(tmp_path / "two\nlines\t"))).name == "two lines"


def test_a_model_tells_what_it_can_make_use_of() -> None:
    """So that words which nobody recognises are not waited for."""
    assert tiny().modalities == BOTH
    assert tiny(text=None).modalities == ("audio",)
    assert tiny(acoustic=None).modalities == ("text",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    """Before anything is loaded."""
    with pytest.raises(ModelError, match="torch finds no CUDA device") as caught:
        load_fused(str(tmp_path), device="cuda")
    assert caught.value.code == "cuda_unavailable"


def test_the_number_of_threads_is_what_is_asked_for_or_what_can_be_kept_busy(
    tmp_path: Path,
) -> None:
    """Where nobody asks, fewer stay fewer."""
    where = str(tiny_checkpoint(tmp_path / "tiny"))
    before = torch.get_num_threads()
    try:
        load_fused(where, threads=before + 1)
        assert torch.get_num_threads() == before + 1
        load_fused(where)
        assert torch.get_num_threads() == min(before + 1, core_count())
        torch.set_num_threads(1)
        load_fused(where)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
