from __future__ import annotations

from pathlib import Path

import pytest

import streamser
from streamser.emotion.hub_models.registry import (
    HUB_MODELS,
    caveats,
    is_hub_model,
    named,
    nearest_hub_model,
    size_of,
)
from streamser.errors import ConfigError
from streamser.settings_loader import load_settings


def test_every_public_model_is_named_as_documented() -> None:
    """Short names that settings can hold."""
    assert list(HUB_MODELS) == [
        "audeering-msp-dim",
        "superb-hubert-large",
        "superb-hubert-base",
        "superb-wav2vec2-base",
        "odyssey-wavlm-categorical",
        "odyssey-wavlm-dims",
        "hartmann-distilroberta",
        "samlowe-goemotions",
        "emotion2vec-plus",
        "sensevoice",
    ]
    for ready in HUB_MODELS.values():
        assert bool(ready.labels) != bool(ready.dimensions)
        assert ready.figures
        assert "GB" in size_of(ready) or "MB" in size_of(ready)


def test_models_are_found_by_either_name_and_with_plus_between() -> None:
    """In the order they were named."""
    assert named("sensevoice")[0].kind == "sensevoice"
    assert named("SamLowe/roberta-base-go_emotions") == (HUB_MODELS["samlowe-goemotions"],)
    both = named("hartmann-distilroberta + audeering-msp-dim")
    assert [ready.name for ready in both] == ["hartmann-distilroberta", "audeering-msp-dim"]


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("superb-hubert-larg", "did you mean superb-hubert-large or"),
        ("audeering-msp-dim+hartman", "did you mean hartmann-distilroberta?"),
        ("rules+sensevoice", "'rules'"),
        ("sensevoice+", "''"),
        ("qqqq+sensevoice", "there are audeering-msp-dim"),
    ],
)
def test_a_name_that_none_has_is_told_with_the_nearest(wanted: str, hint: str) -> None:
    """In one line."""
    with pytest.raises(ConfigError, match="no public model is called") as caught:
        named(wanted)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_may_say_which_revision_is_meant() -> None:
    """By either name, each its own; one model in two revisions is named twice."""
    name = "superb-hubert-base"
    assert is_hub_model(f"{name}@v1")
    assert is_hub_model(f"{HUB_MODELS[name].repository}@v1")
    one, other = named(f"{name}@v1+{HUB_MODELS['sensevoice'].repository}")
    assert (one.name, one.revision, one.title) == (name, "v1", f"{name}@v1")
    assert (other.revision, other.title) == (None, "sensevoice")
    with pytest.raises(ConfigError, match="name each model once"):
        named(f"{name}@v1+{name}@v2")


def test_a_model_named_twice_is_refused() -> None:
    """Twice the same opinion is not two."""
    with pytest.raises(ConfigError, match="each model once"):
        named("sensevoice+FunAudioLLM/SenseVoiceSmall")


def test_a_place_with_a_plus_in_its_name_is_still_a_place(tmp_path: Path) -> None:
    """A checkpoint wins over a composition."""
    (tmp_path / "a+b").mkdir()
    assert not is_hub_model(str(tmp_path / "a+b"))
    assert is_hub_model("a+b")
    assert is_hub_model("nul\0+b")
    assert not is_hub_model("compact")
    assert nearest_hub_model("qqqq") == ""


def test_licences_that_forbid_something_are_told_once_for_each_model() -> None:
    """Nothing for the others, nor for models that are not public ones."""
    (line,) = caveats("audeering-msp-dim+superb-hubert-large")
    assert line.startswith("audeering-msp-dim: ")
    assert "not for commercial use" in line
    assert HUB_MODELS["audeering-msp-dim"].non_commercial
    assert list(caveats("compact")) == []
    assert len(list(caveats("hartmann-distilroberta+sensevoice"))) == 2


def test_the_document_has_every_model_with_its_licence_and_a_command_to_try_it() -> None:
    """And says of each whether somebody has."""
    document = (Path(streamser.__file__).parents[1] / "docs" / "models.md").read_text("utf-8")
    for name, ready in HUB_MODELS.items():
        begin = f"| `{name}` | [{ready.repository}]"
        (row,) = [line for line in document.splitlines() if line.startswith(begin)]
        assert row.endswith("| no |")
        assert ready.licence in row
        assert f"`streamser models check {name} " in document


def test_the_preset_of_public_models_names_some_that_go_together() -> None:
    """Voice and words, categories and dimensions."""
    chosen = named(load_settings("public", environ={}).emotion.model)
    assert {ready.modality for ready in chosen} == {"audio", "text"}
    assert any(ready.dimensions for ready in chosen)
