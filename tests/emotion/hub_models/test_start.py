"""Trainings that begin with the encoder of a public model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from streamser.audio.clip import Samples
from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.checkpoint import load_checkpoint, save_checkpoint
from streamser.emotion.fused.config import (
    FusedConfig,
    FusionConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
)
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.hub_models.registry import HUB_MODELS
from streamser.emotion.hub_models.torch_models import begin_encoder, load_reader
from streamser.errors import ConfigError, ModelError
from streamser.training.settings import encoder_assignments, load_train_settings
from tests.emotion.hub_models.layouts import snapshot_of

FUSION = FusionConfig(width=16, heads=2, bridge_tokens=4)


def begun(acoustic: str | None, text: str | None) -> FusedModel:
    """Begin a fused model with public encoders."""
    return build_model(
        FusedConfig(
            acoustic=None if acoustic is None else PretrainedAcousticConfig(name=acoustic),
            text=None if text is None else PretrainedTextConfig(name=text),
            fusion=FUSION,
        ),
        offline=True,
        begin=begin_encoder,
    )


@pytest.mark.parametrize(
    "name", ["audeering-msp-dim", "superb-hubert-large", "odyssey-wavlm-categorical"]
)
def test_the_voice_is_encoded_as_in_the_public_model(
    hub: Path, clips: list[Samples], name: str
) -> None:
    """The fused model's branch begins with just those weights, not with others of that kind."""
    encoder: Any = begun(name, None).acoustic
    published = load_reader(HUB_MODELS[name], snapshot_of(name, hub))._encoder
    ours, theirs = encoder.model.state_dict(), published.model.state_dict()
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=0)
    assert encoder.config.normalize is True
    assert any(weight.requires_grad for weight in encoder.parameters())


def test_a_checkpoint_of_both_needs_the_public_models_no_more(
    hub: Path, clips: list[Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is written down."""
    model = begun("superb-hubert-base", "samlowe-goemotions").eval()
    save_checkpoint(tmp_path / "model", model, calibrations={}, card="")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nothing"))
    again = load_checkpoint(tmp_path / "model", offline=True).model.eval()
    given = model.prepare([clips[0]], ["What a wonderful surprise!"])
    with torch.inference_mode():
        torch.testing.assert_close(again(given).category_logits, model(given).category_logits)


def test_a_model_of_words_is_no_encoder_of_the_voice(hub: Path) -> None:
    """Nor the other way round, nor one of FunASR's."""
    with pytest.raises(ConfigError, match=r"belongs to model\.text\.name"):
        begun("hartmann-distilroberta", None)
    with pytest.raises(ConfigError, match=r"belongs to model\.acoustic\.name"):
        begun(None, "superb-hubert-base")
    with pytest.raises(ConfigError, match="FunASR alone"):
        begun("sensevoice", None)


def test_what_is_not_here_is_told_offline(empty_hub: Path) -> None:
    """As everywhere."""
    with pytest.raises(ModelError, match="superb-hubert-base is not here"):
        begun("superb-hubert-base", None)


def test_names_become_settings_of_the_branch_they_belong_to() -> None:
    """Public models by themselves, others with their branch."""
    given = encoder_assignments(["odyssey-wavlm-dims", "text=microsoft/deberta-v3-base"])
    settings = load_train_settings("compact", given)
    assert settings.model.acoustic == PretrainedAcousticConfig(name="odyssey-wavlm-dims")
    assert settings.model.text == PretrainedTextConfig(name="microsoft/deberta-v3-base")
    kept = load_train_settings("base", encoder_assignments(["superb-hubert-large"]))
    acoustic = kept.model.acoustic
    assert isinstance(acoustic, PretrainedAcousticConfig)
    assert (acoustic.name, acoustic.max_seconds) == ("superb-hubert-large", 12.0)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["superb-hubert-lage"], "did you mean superb-hubert-large"),
        (["voice=x"], "write it as audio=NAME"),
        (["audio="], "write it as audio=NAME"),
        (["superb-hubert-large", "audio=x"], "superb-hubert-large is the encoder of audio"),
        (["superb-hubert-large+samlowe-goemotions"], "repeat --init"),
        (["emotion2vec-plus"], "FunASR alone"),
    ],
)
def test_names_that_make_no_sense_are_refused(names: list[str], reason: str) -> None:
    """In one line each."""
    with pytest.raises(ConfigError, match=reason):
        encoder_assignments(names)
