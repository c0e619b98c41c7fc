"""A model is tried under every condition that it and the utterances allow."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.calibration import Calibration
from streamser.errors import ConfigError
from streamser.training.batches import Inputs
from streamser.training.evaluation.evaluate import Trial, plan_conditions, try_condition
from streamser.training.evaluation.report import Condition
from streamser.training.manifest import Item
from streamser.training.sounds import Sounds
from tests.emotion.fused.checkpoints import CALIBRATIONS, VOICE_ONLY, tiny_model
from tests.training.tiny import items


@pytest.fixture
def spoken(tmp_path: Path) -> list[Item]:
    """Return utterances of which every other one was also recognised."""
    made = items(tmp_path, train=0, dev=8)
    return [
        replace(item, text_asr="get out of mouse now" if number % 2 else None)
        for number, item in enumerate(made)
    ]


def trial() -> Trial:
    """Return a tiny random model, ready to be asked."""
    model, sounds = tiny_model(), Sounds()
    return Trial(model, CALIBRATIONS, sounds, Inputs(model, sounds))


def titles(conditions: list[Condition]) -> list[str]:
    """Return conditions in words."""
    return [condition.title for condition in conditions]


def test_the_richest_condition_comes_first(spoken: list[Item]) -> None:
    """Both modalities, then each alone, words from each source that is there."""
    assert titles(plan_conditions(tiny_model(), spoken)) == [
        "audio + text, transcripts",
        "audio + text, recognised words",
        "audio",
        "text, transcripts",
        "text, recognised words",
    ]


def test_what_nobody_has_is_not_tried(spoken: list[Item]) -> None:
    """Without words there is the voice alone; without a reader too."""
    mute = [replace(item, text=None, text_asr=None) for item in spoken]
    assert titles(plan_conditions(tiny_model(), mute)) == ["audio"]
    assert titles(plan_conditions(tiny_model(VOICE_ONLY), spoken)) == ["audio"]


def test_noise_repeats_the_conditions_that_hear(spoken: list[Item]) -> None:
    """Each ratio, with transcripts, and never for words alone."""
    found = plan_conditions(tiny_model(), spoken, snrs=(20, 0))
    assert titles(found)[5:] == [
        "audio + text, transcripts, 20 dB SNR",
        "audio + text, transcripts, 0 dB SNR",
        "audio, 20 dB SNR",
        "audio, 0 dB SNR",
    ]


def test_a_choice_is_kept_to(spoken: list[Item]) -> None:
    """One modality, one source of words."""
    both = plan_conditions(tiny_model(), spoken, modality="both", text="asr")
    assert titles(both) == ["audio + text, recognised words"]
    assert titles(plan_conditions(tiny_model(), spoken, modality="audio")) == ["audio"]


def test_what_cannot_be_had_is_refused(spoken: list[Item]) -> None:
    """A modality that the model lacks, words that nobody has, noise without sound."""
    deaf = [replace(item, audio=None) for item in spoken]
    with pytest.raises(ConfigError, match="takes no text"):
        plan_conditions(tiny_model(VOICE_ONLY), spoken, modality="both")
    with pytest.raises(ConfigError, match="no utterance has what is needed: audio"):
        plan_conditions(tiny_model(VOICE_ONLY), deaf)
    with pytest.raises(ConfigError, match="recognised words"):
        plan_conditions(tiny_model(), [spoken[0]], modality="text", text="asr")
    with pytest.raises(ConfigError, match="no condition hears"):
        plan_conditions(tiny_model(), deaf, snrs=(10,))


def test_only_utterances_that_have_everything_are_asked_about(spoken: list[Item]) -> None:
    """A condition never quietly judges an utterance by less than it says."""
    recognised = Condition(modalities="audio+text", text="asr")
    assert try_condition(trial(), spoken, recognised).raw.ids == ("1", "3", "5", "7")
    voice = replace(spoken[0], text=None)
    read = try_condition(
        trial(), [voice, spoken[1]], Condition(modalities="audio+text", text="gold")
    )
    assert read.raw.ids == ("1",)


def test_each_condition_has_the_calibration_of_its_modalities(spoken: list[Item]) -> None:
    """Audio alone was fitted a temperature of 2; words alone nothing."""
    heard = try_condition(trial(), spoken, Condition(modalities="audio"))
    assert np.allclose(heard.calibrated.logits, heard.raw.logits / 2)
    read = try_condition(trial(), spoken, Condition(modalities="text", text="gold"))
    assert np.array_equal(read.calibrated.logits, read.raw.logits)


def test_modalities_change_the_answer(spoken: list[Item]) -> None:
    """Voice, words, and both are three different questions."""
    asked = trial()
    found = [
        try_condition(asked, spoken, condition).raw.logits
        for condition in plan_conditions(asked.model, spoken, text="gold")
    ]
    assert not np.allclose(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    assert not np.allclose(found[1], found[2])


def test_noise_is_the_same_for_every_model_and_order(spoken: list[Item]) -> None:
    """Noise changes answers, more of it more so, and does not depend on the neighbours."""
    asked = trial()

    def logits(some: list[Item], snr_db: float | None) -> np.ndarray:
        return try_condition(asked, some, Condition(modalities="audio", snr_db=snr_db)).raw.logits

    clean, some, much = (logits(spoken, ratio) for ratio in (None, 40.0, -10.0))
    assert 0 < np.abs(some - clean).mean() < np.abs(much - clean).mean()
    assert np.allclose(logits(spoken[:3], -10.0), much[:3], atol=1e-5)
    assert np.allclose(logits(spoken, math.inf), clean)


def test_thresholds_make_answers_unsure(spoken: list[Item]) -> None:
    """What is below the threshold of its calibration is not named."""
    asked = trial()
    strict = Trial(
        asked.model, {"audio": Calibration(unsure_below=2.0)}, asked.sounds, asked.inputs
    )
    assert not try_condition(strict, spoken, Condition(modalities="audio")).sure.any()
    assert try_condition(asked, spoken, Condition(modalities="audio")).sure.all()
