"""Checkpoints that are only good for measuring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamser.emotion.fused.config import (
    FusedConfig,
    FusionConfig,
    LoraConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.interfaces import AcousticEncoder, FusedInput
from streamser.emotion.fused.model import load_fused
from streamser.emotion.fused.pretrained import ACOUSTIC_FAMILIES, TEXT_FAMILIES, rebuild
from streamser.emotion.model import Segment
from streamser.errors import ModelError
from streamser.training.learner import autocast_dtype
from streamser.training.settings import load_train_settings
from tests.scripted_whisper import build_babbling_whisper
from tools.bench.random_checkpoint import CARD, KNOWN, random_model, write_random_checkpoint


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a small Whisper of CTranslate2, of two layers."""
    return build_babbling_whisper(tmp_path_factory.mktemp("whispers") / "whisper")


def test_a_random_checkpoint_loads_and_answers(tmp_path: Path) -> None:
    """Like any other, and its card says what it is."""
    parameters = write_random_checkpoint("ablation", tmp_path / "random")
    assert parameters > 10_000
    model = load_fused(str(tmp_path / "random"), device="cpu")
    (finding,) = model.extract([Segment(samples=np.zeros(16_000, np.float32), text="a word")])
    assert model.new_speaker().predict(finding).modalities == ("audio", "text")
    assert CARD.strip() in (tmp_path / "random" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("hubert-large-ll60k", 315.4),
        ("hubert-base-ls960", 94.4),
        ("deberta-v3-large", 434.0),
        ("deberta-v3-base", 183.8),
    ],
)
def test_known_architectures_have_their_published_size(name: str, millions: float) -> None:
    """The table gives models of the size that their authors and the hub tell."""
    with torch.device("meta"):
        model = rebuild(KNOWN[name], {**ACOUSTIC_FAMILIES, **TEXT_FAMILIES})
    weights = sum(weight.numel() for weight in model.parameters())
    assert weights / 1e6 == pytest.approx(millions, rel=0.002)


def test_presets_need_no_download() -> None:
    """Every pretrained encoder of the presets is in the table."""
    for preset in ("paper", "base"):
        model = load_train_settings(preset).model
        assert isinstance(model.acoustic, PretrainedAcousticConfig)
        assert isinstance(model.text, PretrainedTextConfig)
        for name in (model.acoustic.name, model.text.name):
            assert name.rpartition("/")[2] in KNOWN


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_whispers_layers_are_of_their_published_size_without_a_download(
    lora: LoraConfig | None,
) -> None:
    """Convolutions, 30 s of positions and three layers of tiny.en: 6.4 million weights."""
    acoustic = WhisperAcousticConfig(lora=lora)
    with torch.device("meta"):
        model = random_model(FusedConfig(acoustic=acoustic, fusion=FusionConfig(width=8, heads=2)))
    assert model.acoustic is not None
    known = [weight for name, weight in model.acoustic.named_parameters() if "lora" not in name]
    assert sum(weight.numel() for weight in known) / 1e6 == pytest.approx(6.43, abs=0.01)
    with pytest.raises(ModelError, match="tiny has 4 layers"):
        random_model(FusedConfig(acoustic=replace(acoustic, name="tiny", used_layers=(5,))))


@pytest.mark.parametrize("preset", ["ablation", "base", "compact", "paper", "whisper"])
@pytest.mark.parametrize(
    "learns", [("frozen=all",), ("frozen=none",), ("frozen=features", "lora.rank=2")]
)
def test_a_whisper_learns_in_every_training_preset(
    whisper: Path, preset: str, learns: tuple[str, ...]
) -> None:
    """In the precision that it asks for: all that is not frozen gets a gradient."""
    ears = ["kind=whisper", f"name={whisper}", "used_layers=1,2", *learns]
    small = ["text=none", "fusion.width=16", "fusion.heads=2", "fusion.bridge_tokens=2"]
    pairs = [f"model.acoustic.{pair}" for pair in ears] + [f"model.{pair}" for pair in small]
    settings = load_train_settings(preset, [*pairs, "run.device=cpu", "run.threads=1"])
    model = random_model(settings.model).train()
    assert isinstance(model.acoustic, AcousticEncoder)
    audio = model.acoustic.prepare(list(np.random.default_rng(1).normal(0, 0.1, (2, 8000))))
    there = torch.ones(2, dtype=torch.bool)
    half = autocast_dtype(settings, torch.device("cpu"))
    assert half == (torch.bfloat16 if preset == "paper" else None)
    with torch.autocast("cpu", dtype=half, enabled=half is not None):
        said = model(FusedInput(audio, None, there, ~there))
    (said.category_logits.sum() + said.dimensions.sum()).backward()
    weights = list(model.named_parameters())
    learning = {name for name, weight in weights if weight.requires_grad}
    assert {name for name, weight in weights if weight.grad is not None} == learning
    assert 0 < len(learning) < len(weights)
