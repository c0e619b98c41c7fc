from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from streamser.audio.clip import Samples
from streamser.emotion.choose import choose_model
from streamser.emotion.hub_models.labels import HubPart
from streamser.emotion.hub_models.model import HubEmotionModel, load_hub_models
from streamser.emotion.hub_models.registry import HUB_MODELS
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.errors import ConfigError, ModelError
from streamser.settings import EmotionSettings
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

ALL = "audeering-msp-dim+superb-hubert-base+hartmann-distilroberta"
NOTHING = np.zeros(0, np.float32)


def chosen(name: str) -> EmotionModel:
    """Choose a model as a setting does."""
    return choose_model(EmotionSettings(model=name, device="cpu"), offline=True)


def read(model: EmotionModel, samples: Samples, text: str | None) -> Prediction:
    """Return what a model says of one clip."""
    (finding,) = model.extract([Segment(samples=samples, text=text)])
    return model.new_speaker().predict(finding)


def test_a_composition_gives_what_each_of_its_models_knows(hub: Path, clips: list[Samples]) -> None:
    """Dimensions by one, categories by voice and words."""
    model = chosen(ALL)
    reading = read(model, clips[0], "What a wonderful surprise!")
    assert model.name == ALL
    assert model.modalities == ("audio", "text")
    assert reading.modalities == ("audio", "text")
    assert reading.category in (*CATEGORIES, UNSURE)
    assert sum(reading.scores.values()) == pytest.approx(1.0)
    assert None not in (reading.dimensions.valence, reading.dimensions.arousal)
    assert set(reading.evidence) == {"audio_weight", "text_weight", "outside"}


def test_a_modality_that_is_missing_is_left_out(hub: Path, clips: list[Samples]) -> None:
    """Silence of one says nothing; of both, nothing is known."""
    model = chosen(ALL)
    voice = read(model, clips[0], None)
    words = read(model, NOTHING, "Leave me alone!")
    neither = read(model, NOTHING, "  ")
    assert voice.modalities == ("audio",)
    assert words.modalities == ("text",)
    assert words.dimensions == Dimensions()
    assert (neither.modalities, neither.category, neither.evidence) == ((), UNSURE, {})
    assert neither.uncertainty == pytest.approx(1.0)


def test_findings_do_not_depend_on_their_neighbours(hub: Path, clips: list[Samples]) -> None:
    """Whatever those have of sound and words."""
    model = chosen(ALL)
    batch = [
        Segment(samples=clips[1], text="Leave me alone!"),
        Segment(samples=NOTHING, text="The train leaves at nine."),
        Segment(samples=clips[2], text=None),
    ]
    together = [model.new_speaker().predict(finding) for finding in model.extract(batch)]
    for reading, spoken in zip(together, batch, strict=True):
        alone = read(model, spoken.samples, spoken.text)
        assert reading.modalities == alone.modalities
        assert reading.scores == pytest.approx(alone.scores, abs=1e-5)
    assert model.extract([]) == []


def test_what_crosses_to_another_process_can_be_packed(hub: Path, clips: list[Samples]) -> None:
    """Findings and listeners."""
    model = chosen("superb-hubert-base")
    (finding,) = model.extract([Segment(samples=clips[0], text=None)])
    listener = pickle.loads(pickle.dumps(model.new_speaker()))
    assert listener.predict(pickle.loads(pickle.dumps(finding))).modalities == ("audio",)


def test_a_listener_learns_and_keeps_nothing(hub: Path, clips: list[Samples]) -> None:
    """Every session begins as the last one did."""
    model = chosen("audeering-msp-dim")
    (finding,) = model.extract([Segment(samples=clips[0], text=None)])
    listener = model.new_speaker()
    before = listener.predict(finding)
    listener.adapt(finding)
    listener.reset()
    listener.restore(listener.snapshot())
    assert listener.predict(finding) == before
    assert before.category == UNSURE
    assert before.dimensions.dominance is not None
    with pytest.raises(ModelError, match="damaged"):
        listener.restore(b"x")


def test_half_precision_changes_little(hub: Path, clips: list[Samples]) -> None:
    """Only the encoders compute in it."""
    exact = load_hub_models(EmotionSettings(model="audeering-msp-dim", device="cpu"), offline=True)
    halved = load_hub_models(
        EmotionSettings(model="audeering-msp-dim", device="cpu", precision="bfloat16"), offline=True
    )
    first, second = (read(model, clips[0], None).dimensions for model in (exact, halved))
    assert first.arousal == pytest.approx(second.arousal, abs=0.05)
    assert first != second


def test_whole_numbers_are_for_checkpoints(hub: Path) -> None:
    """Told with what there is."""
    settings = EmotionSettings(model="audeering-msp-dim", device="cpu", precision="int8")
    with pytest.raises(ModelError, match="choose float32, bfloat16 or float16"):
        load_hub_models(settings, offline=True)


class Failing:
    """Read nothing, in one way or another."""

    def __init__(self, error: Exception) -> None:
        self.ready = HUB_MODELS["superb-hubert-base"]
        self.error = error

    def read(self, given: object) -> list[HubPart]:
        """Fail."""
        raise self.error


def test_memory_that_ran_out_is_told_as_such(clips: list[Samples]) -> None:
    """So that the batch is halved."""
    spoken = [Segment(samples=clips[0], text=None)]
    with pytest.raises(ModelError, match="superb-hubert-base: too much") as caught:
        HubEmotionModel([Failing(torch.OutOfMemoryError("too much\nmore"))]).extract(spoken)
    assert caught.value.code == "out_of_memory"
    with pytest.raises(RuntimeError, match="else"):
        HubEmotionModel([Failing(RuntimeError("else"))]).extract(spoken)


def test_nothing_is_loaded_where_one_of_several_is_missing(empty_hub: Path) -> None:
    """The name of the first that is not here."""
    with pytest.raises(ModelError, match="superb-hubert-large is not here"):
        chosen("superb-hubert-large+hartmann-distilroberta")


def test_a_misspelt_name_is_told_with_the_nearest() -> None:
    """Alone as in a composition."""
    with pytest.raises(ConfigError, match="did you mean superb-hubert-base or"):
        chosen("superb-hubertbase")
    with pytest.raises(ConfigError, match="did you mean sensevoice"):
        chosen("superb-hubert-base+sensevoce")


def test_cuda_where_there_is_none_is_told(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for checkpoints."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="no CUDA device") as caught:
        choose_model(EmotionSettings(model="superb-hubert-base", device="cuda"), offline=True)
    assert caught.value.code == "cuda_unavailable"
