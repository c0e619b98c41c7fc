from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamser.emotion.fused import checkpoint as module
from streamser.emotion.fused.checkpoint import load_checkpoint, save_checkpoint
from streamser.emotion.fused.network import FusedModel
from streamser.errors import ConfigError, ModelError
from tests.emotion.compact.bundles import tiny_bundle
from tests.emotion.fused.checkpoints import (
    CALIBRATIONS,
    SPOILT,
    TINY,
    VOICE_ONLY,
    tiny_checkpoint,
    tiny_model,
)

NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, 8000).astype(np.float32)


def answer(model: FusedModel) -> list[torch.Tensor]:
    """Return all that a model says of a little sound with words."""
    with torch.inference_mode():
        return list(model(model.prepare([NOISE, NOISE], ["what a surprise", None])))


def same(one: FusedModel, other: FusedModel) -> bool:
    """Say whether two models answer alike, to the bit."""
    return all(map(torch.equal, answer(one), answer(other)))


def test_a_loaded_model_answers_as_the_saved_one_did(tmp_path: Path) -> None:
    """With its configuration, calibrations and card, and ready to be used."""
    loaded = load_checkpoint(tiny_checkpoint(tmp_path / "tiny"))
    assert same(loaded.model, tiny_model())
    assert loaded.model.config == TINY
    assert not loaded.model.training
    assert loaded.calibrations == CALIBRATIONS
    assert loaded.directory == tmp_path / "tiny"
    assert loaded.card.endswith("# Tiny\n")


def test_a_checkpoint_is_five_files_on_the_disk(tmp_path: Path) -> None:
    """And none of them is a pickle."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    assert sorted(path.name for path in directory.iterdir()) == [
        "README.md",
        "calibration.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    description = json.loads((directory / "config.json").read_text())
    assert (description["format"], description["version"]) == ("streamser-fused", 1)
    assert description["dimension_scale"] == [0.0, 1.0]
    assert description["model"]["heads"]["categories"] == ["neutral", "happy", "sad", "angry"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_all_files_of_a_checkpoint_may_be_read_by_the_same_people(tmp_path: Path) -> None:
    """The weights too, which safetensors writes for their owner alone."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    assert len({path.stat().st_mode for path in directory.iterdir()}) == 1


def test_a_model_of_the_voice_alone_has_no_tokenizer(tmp_path: Path) -> None:
    """Nor needs one."""
    directory = tiny_checkpoint(tmp_path / "voice", VOICE_ONLY)
    assert not (directory / "tokenizer.json").exists()
    assert load_checkpoint(directory).model.text is None


def test_without_calibration_and_card_a_checkpoint_is_still_one(tmp_path: Path) -> None:
    """Both can be added later."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    (directory / "calibration.json").unlink()
    (directory / "README.md").unlink()
    loaded = load_checkpoint(str(directory))
    assert loaded.calibrations == {}
    assert loaded.card == ""


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    """A training that resumes goes on as if nothing had been loaded."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_checkpoint(directory)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_checkpoint_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    """The line names the file, and the tensor or key where there is one."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    spoilt = SPOILT[fault]
    spoilt.spoil(directory)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(directory)
    line = str(caught.value)
    assert all(part in line for part in (str(directory), *spoilt.parts)), line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "reason"),
    [("model.pt", "never pickles"), ("model.PKL", "never pickles"), ("notes.txt", "is a file")],
)
def test_a_file_is_no_checkpoint(tmp_path: Path, name: str, reason: str) -> None:
    """A pickle least of all."""
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=reason):
        load_checkpoint(tmp_path / name)


def test_the_directory_above_a_checkpoint_is_told_where_it_is(tmp_path: Path) -> None:
    """As that of a training, which keeps its checkpoint within."""
    tiny_checkpoint(tmp_path / "run" / "model")
    with pytest.raises(ModelError, match=r"lacks config\.json; there is one in .*run/model$"):
        load_checkpoint(tmp_path / "run")


def test_no_pickle_is_ever_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies beside the weights."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a pickle was opened")

    directory = tiny_checkpoint(tmp_path / "tiny")
    (directory / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.Unpickler", refuse)
    assert same(load_checkpoint(directory).model, tiny_model())


def test_a_model_with_nan_is_not_saved(tmp_path: Path) -> None:
    """What was there before stays."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    broken = tiny_model()
    torch.nn.init.constant_(broken.classifier.bias, float("inf"))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"classifier\.bias"):
        save_checkpoint(directory, broken, calibrations={}, card="")
    assert same(load_checkpoint(directory).model, tiny_model())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_saving_again_replaces_the_whole(tmp_path: Path) -> None:
    """Nothing of the old one is left over."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    tiny_checkpoint(directory, VOICE_ONLY)
    assert load_checkpoint(directory).model.config == VOICE_ONLY
    assert not (directory / "tokenizer.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.parametrize("moment", ["writing the weights", "between the names"])
def test_a_kill_leaves_the_older_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """And the next save goes through as if nothing had happened."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    rename = Path.rename

    def die_half_way(path: Path, model: FusedModel) -> None:
        path.write_bytes(b"half")
        os._exit(9)

    def die_after(self: Path, target: Path) -> Path:
        rename(self, target)
        os._exit(9)

    child = os.fork()
    if not child:
        if moment == "writing the weights":
            monkeypatch.setattr(module, "write_weights", die_half_way)
        else:
            monkeypatch.setattr(Path, "rename", die_after)
        try:
            tiny_checkpoint(directory, VOICE_ONLY)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list(tmp_path.iterdir())) == 2
    assert same(load_checkpoint(directory).model, tiny_model())
    tiny_checkpoint(directory, VOICE_ONLY)
    assert load_checkpoint(directory).model.config == VOICE_ONLY
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_directory_of_other_things_is_not_replaced(tmp_path: Path) -> None:
    """A slip in the path costs nobody their thesis."""
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        tiny_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        tiny_checkpoint(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_disk_that_refuses_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing half done."""

    def refuse(path: Path, model: FusedModel) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_weights", refuse)
    with pytest.raises(ModelError, match="cannot be written: No space left"):
        tiny_checkpoint(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte", ""])
def test_a_name_that_nothing_can_have_is_refused(name: str) -> None:
    """In one line."""
    with pytest.raises(ModelError) as caught:
        load_checkpoint(name, offline=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("question", "asked", "told"),
    [("is_file", "config.json", ""), ("open", "model.safetensors", "model.safetensors")],
    ids=["folder", "file"],
)
def test_what_may_not_be_read_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str, asked: str, told: str
) -> None:
    """The system refuses whoever asks, and the line says which path it is."""
    directory = tiny_checkpoint(tmp_path / "tiny")

    kept = getattr(Path, question)

    def refuse(path: Path, *arguments: object, **named: object) -> object:
        if path.name == asked:
            raise PermissionError(13, "Permission denied", str(path))
        return kept(path, *arguments, **named)

    monkeypatch.setattr(Path, question, refuse)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(directory)
    monkeypatch.undo()
    assert str(caught.value) == f"{directory / told} cannot be read: Permission denied"


def test_a_bundled_model_is_no_checkpoint(tmp_path: Path) -> None:
    """It says what it is, and what measures it."""
    with pytest.raises(ModelError, match=r"is a bundled model.*compact_report"):
        load_checkpoint(str(tiny_bundle(tmp_path / "tiny")))
