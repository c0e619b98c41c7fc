from __future__ import annotations

from pathlib import Path

import pytest

from streamser.emotion.fused.config import (
    LoraConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.network import check_config
from streamser.errors import ConfigError
from streamser.training.learner import task_weights
from streamser.training.settings import load_train_settings, train_preset_folder

PRESETS = sorted(path.stem for path in train_preset_folder().glob("*.toml"))


def test_presets_come_with_the_program() -> None:
    """For a cluster, for one GPU, for two CPU cores in two ways, for the report in docs."""
    assert PRESETS == ["ablation", "base", "compact", "paper", "whisper"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_read(name: str) -> None:
    """And tells what it is for in its first line."""
    assert load_train_settings(name).model.acoustic is not None
    assert (train_preset_folder() / f"{name}.toml").read_text().startswith("# ")


def test_the_paper_preset_has_the_values_of_the_paper() -> None:
    """Of section 3 and 4 of arXiv 2401.00536."""
    settings = load_train_settings("paper")
    model, optimizer, masking = settings.model, settings.optimizer, settings.masking
    assert isinstance(model.acoustic, PretrainedAcousticConfig)
    assert isinstance(model.text, PretrainedTextConfig)
    assert "hubert-large" in model.acoustic.name
    assert "deberta-v3-large" in model.text.name
    assert (model.acoustic.frozen, model.text.frozen) == ("features", "features")
    assert (model.fusion.mode, model.fusion.width, model.fusion.heads) == ("mixed_kv", 1024, 32)
    assert (model.fusion.refinement, model.fusion.bridge_tokens) == (1, 30)
    assert model.heads.categories == ("neutral", "happy", "sad", "angry")
    assert model.heads.dimensions == ("valence", "arousal")
    assert (optimizer.kind, optimizer.learning_rate, optimizer.batch) == ("adam", 3e-5, 16)
    assert (optimizer.epochs, optimizer.clip, optimizer.schedule) == (20, 1.0, "constant")
    assert (masking.mode, masking.probability, masking.text_share) == ("epoch", 0.8, 0.6)
    assert (masking.cosine, masking.least) == (True, 0.1)
    assert task_weights(settings.loss, model.heads) == pytest.approx([1 / 3] * 3)


def test_single_settings_win_over_the_preset() -> None:
    """Numbers, words, lists and nothing at all."""
    settings = load_train_settings(
        "compact",
        [
            "optimizer.learning_rate=2e-4",
            "model.text=none",
            "model.heads.dimensions=arousal, valence",
            "model.heads.categories=",
            "augment.snr_db=[3, 9.5]",
            "masking.mode=none",
            "data.strict=true",
        ],
    )
    assert settings.optimizer.learning_rate == 2e-4
    assert settings.model.text is None
    assert settings.model.heads.dimensions == ("arousal", "valence")
    assert settings.model.heads.categories == ()
    assert settings.augment.snr_db == (3.0, 9.5)
    assert settings.masking.mode == "none"
    assert settings.data.strict


def test_another_kind_of_encoder_begins_from_its_own_defaults() -> None:
    """In whichever order it is asked for."""
    settings = load_train_settings(
        "compact", ["model.acoustic.name=some/model", "model.acoustic.kind=pretrained"]
    )
    assert settings.model.acoustic == PretrainedAcousticConfig(name="some/model")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_whispers_layers_for_ears(name: str) -> None:
    """By the settings that anybody would set."""
    wanted = {"used_layers": "1,2", "join": "concat", "lora.rank": "4", "frozen": "none"}
    pairs = [f"model.acoustic.{key}={value}" for key, value in wanted.items()]
    settings = load_train_settings(name, ["model.acoustic.kind=whisper", *pairs])
    acoustic = settings.model.acoustic
    assert isinstance(acoustic, WhisperAcousticConfig)
    assert (acoustic.name, acoustic.used_layers, acoustic.join) == ("tiny.en", (1, 2), "concat")
    assert (acoustic.frozen, acoustic.lora) == ("none", LoraConfig(rank=4))
    check_config(settings.model)


def test_a_file_may_take_settings_away(tmp_path: Path) -> None:
    """As the assignments may."""
    file = tmp_path / "mine.toml"
    file.write_text('[model]\ntext = "none"\n[model.acoustic]\nkind = "compact"\nwidth = 32\n')
    settings = load_train_settings(str(file))
    assert settings.model.text is None
    assert settings.model.acoustic is not None


def test_the_architecture_of_an_encoder_is_any_table(tmp_path: Path) -> None:
    """Its keys are those of another library."""
    file = tmp_path / "mine.toml"
    file.write_text(
        '[model.acoustic]\nkind = "pretrained"\nname = "x"\n'
        '[model.acoustic.architecture]\nmodel_type = "hubert"\nconv_dim = [32, 32]\n'
    )
    acoustic = load_train_settings(str(file)).model.acoustic
    assert isinstance(acoustic, PretrainedAcousticConfig)
    assert acoustic.architecture == {"model_type": "hubert", "conv_dim": [32, 32]}


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        (
            "optimizer.epoch=3",
            "--set optimizer.epoch: unknown key 'optimizer.epoch'; "
            "did you mean 'optimizer.epochs'?",
        ),
        ("optimizer.epochs=0", "--set optimizer.epochs: Expected `int` >= 1."),
        ("optimizer.epochs=many", "--set optimizer.epochs: Expected `int`, got `str`."),
        (
            "loss.class_weights=some",
            "--set loss.class_weights: Invalid enum value 'some'; choose from balanced, none.",
        ),
        (
            "model.acoustic.kind=big",
            "--set model.acoustic.kind: Invalid value 'big'; choose from compact, plugin,"
            " pretrained, whisper.",
        ),
        (
            "model.acoustic.name=x",
            "config compact.toml: model.acoustic: Object contains unknown field `name`.",
        ),
        ("optimizer", "--set optimizer: write it as KEY=VALUE, such as optimizer.epochs=5."),
        ("augment.snr_db=3", "--set augment.snr_db: Expected `array` of length 2, got 1."),
        ("run.precision=\udcff", "--set run.precision: the value is not valid UTF-8."),
        ("augment.snr_db=\udcff,3", "--set augment.snr_db: the value is not valid UTF-8."),
    ],
)
def test_a_wrong_assignment_is_told_in_one_line(assignment: str, line: str) -> None:
    """With the nearest key, or what the value may be."""
    with pytest.raises(ConfigError) as caught:
        load_train_settings("compact", [assignment])
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[optimizer]\nepoch = 3\n[model]", "did you mean 'optimizer.epochs'"),
        ("[optimizer]\nepochs = 3", "missing required field `model`"),
        ("[model", "not valid TOML"),
        ('[model.acoustic]\nname = "x"', "model.acoustic"),
        ("[model]\n[optimizer]\nbatch = 0", "optimizer.batch"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    """By its name."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=part) as caught:
        load_train_settings(str(file))
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_lists_those_there_are() -> None:
    """Those of trainings, not those of listening."""
    with pytest.raises(ConfigError, match="there are ablation, base, compact, paper, whi"):
        load_train_settings("embedded")
