from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamser.audio.clip import Samples
from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.checkpoint import load_checkpoint, save_checkpoint
from streamser.emotion.fused.config import (
    FusedConfig,
    LoraConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.interfaces import FusedInput, FusedOutput
from streamser.emotion.fused.model import Precision, load_fused
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.model import Segment
from streamser.errors import ConfigError, ModelError
from streamser.taxonomy import CATEGORIES
from tests.emotion.fused.checkpoints import FUSION, TEXTS, TINY, tiny_model
from tests.emotion.fused.tiny import AcousticFamily, TextFamily, tiny_acoustic, tiny_text
from tests.scripted_whisper import build_babbling_whisper


def noise(seconds: float, seed: int = 0) -> Samples:
    """Make quiet noise."""
    random = np.random.default_rng(seed)
    return random.uniform(-0.1, 0.1, round(16_000 * seconds)).astype(np.float32)


def batch_for(model: FusedModel) -> FusedInput:
    """Prepare clips of several lengths, with words and without."""
    return model.prepare([noise(1.0), noise(0.3, seed=1), None], [TEXTS[0], None, TEXTS[1]])


def learn_a_little(model: FusedModel) -> None:
    """Take one step of an optimiser towards arbitrary labels."""
    torch.manual_seed(0)
    model.train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    output: FusedOutput = model(batch_for(model))
    loss = torch.nn.functional.cross_entropy(output.category_logits, torch.tensor([1, 2, 3]))
    torch.autograd.backward(loss + (output.dimensions - 0.9).square().mean())
    optimizer.step()
    model.eval()


def answer(model: FusedModel) -> list[torch.Tensor]:
    """Return all that a model says of the batch."""
    with torch.inference_mode():
        return list(model(batch_for(model)))


def goes_all_the_way(config: FusedConfig, directory: Path) -> FusedModel:
    """Build, train, save, load and use a model; returns the loaded one."""
    model = build_model(config, texts=TEXTS, offline=True)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    learn_a_little(model)
    assert not all(map(torch.equal, before, model.parameters()))
    save_checkpoint(directory, model, calibrations={}, card="")
    loaded = load_checkpoint(directory, offline=True).model
    assert loaded.config == model.config
    for ours, theirs in zip(answer(model), answer(loaded), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    live = load_fused(str(directory), device="cpu", offline=True)
    (finding,) = live.extract([Segment(samples=noise(1.2), text=TEXTS[0])])
    reading = live.new_speaker().predict(finding)
    assert reading.modalities == ("audio", "text")
    assert reading.category in CATEGORIES
    assert reading.dimensions.valence is not None
    return loaded


FAMILIES = [
    *((family, "bert") for family in ("hubert", "wav2vec2", "wavlm", "whisper")),
    *(("hubert-base", family) for family in get_args(TextFamily)),
]


@pytest.mark.parametrize(("acoustic", "text"), FAMILIES)
def test_encoders_of_every_family_go_from_training_to_a_live_stream(
    acoustic: AcousticFamily, text: TextFamily, tmp_path: Path
) -> None:
    """Built with published weights, trained, saved, loaded without them, and used."""
    config = FusedConfig(
        acoustic=PretrainedAcousticConfig(name=str(tiny_acoustic(acoustic, tmp_path / "a"))),
        text=PretrainedTextConfig(name=str(tiny_text(text, tmp_path / "t"))),
        fusion=FUSION,
    )
    loaded = goes_all_the_way(config, tmp_path / "model")
    described = loaded.config
    assert isinstance(described.acoustic, PretrainedAcousticConfig)
    assert isinstance(described.text, PretrainedTextConfig)
    assert described.acoustic.architecture is not None
    assert described.acoustic.architecture["model_type"] == acoustic.removesuffix("-base")
    assert described.text.architecture is not None
    assert described.text.architecture["model_type"] == text


def test_adapted_encoders_and_sums_of_layers_come_along(tmp_path: Path) -> None:
    """Low-rank adaptation and layer weights are part of the checkpoint."""
    lora = LoraConfig(rank=2)
    config = FusedConfig(
        acoustic=PretrainedAcousticConfig(
            name=str(tiny_acoustic("wavlm", tmp_path / "a")), layer_sum=True, lora=lora
        ),
        text=PretrainedTextConfig(
            name=str(tiny_text("roberta", tmp_path / "t")), layer_sum=True, lora=lora
        ),
        fusion=FUSION,
    )
    loaded = goes_all_the_way(config, tmp_path / "model")
    assert any("lora" in name for name, _ in loaded.named_parameters())


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)], ids=["whole", "lora"])
@pytest.mark.parametrize("form", ["ctranslate2", "transformers"])
def test_the_lower_layers_of_whisper_go_from_training_to_a_live_stream(
    form: str, lora: LoraConfig | None, tmp_path: Path
) -> None:
    """From either form of published weights, which need not be there any more."""
    place = tmp_path / "whisper"
    if form == "ctranslate2":
        build_babbling_whisper(place)
    else:
        tiny_acoustic("whisper", place)
    acoustic = WhisperAcousticConfig(name=str(place), used_layers=(1, 2), lora=lora)
    text = PretrainedTextConfig(name=str(tiny_text("bert", tmp_path / "t")))
    config = FusedConfig(acoustic=acoustic, text=text, fusion=FUSION)
    loaded = goes_all_the_way(config, tmp_path / "model")
    assert loaded.config.acoustic is not None
    shutil.rmtree(place)
    # Of an adapted layer peft wants to know the type of the weights, which int8 has none of.
    coarse: tuple[Precision, ...] = ("bfloat16", "int8") if lora is None else ("bfloat16",)
    spoken = [Segment(samples=noise(seconds), text=TEXTS[0]) for seconds in (1.2, 0.4)]
    exact, *others = (
        load_fused(str(tmp_path / "model"), device="cpu", precision=each, offline=True)
        for each in ("float32", *coarse)
    )
    for other in others:
        for told, roughly in zip(exact.extract(spoken), other.extract(spoken), strict=True):
            assert roughly.logits == pytest.approx(told.logits, abs=0.1)


def test_a_compact_model_goes_from_training_to_a_live_stream(tmp_path: Path) -> None:
    """With the word pieces that it learnt."""
    loaded = goes_all_the_way(TINY, tmp_path / "model")
    assert loaded.prepare([None], ["surprise"]).text is not None
    assert loaded.config == TINY


def test_the_published_weights_are_in_a_new_model(tmp_path: Path) -> None:
    """Two of them agree in their encoders, and in nothing that is random."""
    config = replace(
        TINY, acoustic=PretrainedAcousticConfig(name=str(tiny_acoustic("hubert", tmp_path / "a")))
    )
    one, other = (build_model(config, texts=TEXTS, offline=True) for _ in range(2))
    assert one.acoustic is not None
    assert other.acoustic is not None
    assert all(map(torch.equal, one.acoustic.parameters(), other.acoustic.parameters()))
    assert not torch.equal(*(model.get_parameter("classifier.weight") for model in (one, other)))


def test_a_new_model_is_random_by_the_seed() -> None:
    """The same seed gives the same model."""
    assert all(map(torch.equal, tiny_model().parameters(), tiny_model().parameters()))
    torch.manual_seed(8)
    other = build_model(TINY, texts=TEXTS)
    assert not torch.equal(
        other.get_parameter("classifier.weight"), tiny_model().get_parameter("classifier.weight")
    )


def test_a_configuration_that_makes_no_model_is_refused_before_anything_is_loaded() -> None:
    """Also where its encoders are nowhere to be had."""
    absent = PretrainedAcousticConfig(name="/absent/model")
    with pytest.raises(ConfigError, match="not divisible"):
        build_model(FusedConfig(acoustic=absent, fusion=replace(FUSION, heads=3)))
    with pytest.raises(ModelError, match="/absent/model"):
        build_model(FusedConfig(acoustic=absent, fusion=FUSION), offline=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": None}, "architecture"),
        ({"architecture": {"model_type": "gpt"}}, "gpt"),
        ({"architecture": {"model_type": "hubert", "hidden_size": "wide"}}, "hubert"),
    ],
)
def test_a_checkpoint_of_an_encoder_that_cannot_be_built_is_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    """In one line that names the file."""
    config = FusedConfig(
        acoustic=PretrainedAcousticConfig(name=str(tiny_acoustic("hubert", tmp_path / "a"))),
        fusion=FUSION,
    )
    directory = tmp_path / "model"
    save_checkpoint(directory, build_model(config, offline=True), calibrations={}, card="")
    tree = json.loads((directory / "config.json").read_text())
    tree["model"]["acoustic"].update(change)
    (directory / "config.json").write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=reason) as caught:
        load_checkpoint(directory)
    assert str(directory / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)
