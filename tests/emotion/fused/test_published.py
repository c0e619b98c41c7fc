from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin

from streamser.emotion.fused.checkpoint import PublishedModel, load_checkpoint
from streamser.emotion.fused.interfaces import FusedOutput
from streamser.emotion.fused.network import FusedModel
from streamser.errors import ModelError
from tests.emotion.fused.checkpoints import CALIBRATIONS, SPOILT, tiny_checkpoint, tiny_model

NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, 8000).astype(np.float32)


@pytest.fixture
def published(tmp_path: Path) -> PublishedModel:
    """Return a model as the hub's interface loads it."""
    return PublishedModel.from_pretrained(tiny_checkpoint(tmp_path / "tiny"))


def logits(model: FusedModel) -> torch.Tensor:
    """Return what a model says of a little sound with words."""
    with torch.inference_mode():
        output: FusedOutput = model(model.prepare([NOISE], ["what a surprise"]))
    return output.category_logits


def test_it_has_the_interface_of_the_hub(published: PublishedModel) -> None:
    """And is a fused model like any other, ready to be used."""
    assert isinstance(published, PyTorchModelHubMixin)
    assert isinstance(published, FusedModel)
    assert not published.training
    assert torch.equal(logits(published), logits(tiny_model()))


def test_what_it_saves_is_the_checkpoint_itself(published: PublishedModel, tmp_path: Path) -> None:
    """The same files, to the byte: weights, calibrations, card."""
    assert published.save_pretrained(tmp_path / "copy") is None
    for name in ("README.md", "calibration.json", "config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "tiny" / name).read_bytes()
    loaded = load_checkpoint(tmp_path / "copy")
    assert loaded.calibrations == CALIBRATIONS
    assert torch.equal(logits(loaded.model), logits(published))


def test_it_saves_over_itself(published: PublishedModel, tmp_path: Path) -> None:
    """After some more training, say; the hub's own way would drop the old config first."""
    with torch.no_grad():
        published.fusion.get_parameter(next(iter(dict(published.fusion.named_parameters())))).add_(
            1
        )
    published.save_pretrained(tmp_path / "tiny")
    assert torch.equal(logits(load_checkpoint(tmp_path / "tiny").model), logits(published))


class Pushed(NamedTuple):
    """Hold what reached the border to the network."""

    created: list[str]
    folders: list[Path]


@pytest.fixture
def border(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pushed:
    """Keep what would be sent to the hub."""
    pushed = Pushed([], [])

    class Repository(NamedTuple):
        repo_id: str

    def create(self: HfApi, repo_id: str, **options: Any) -> Repository:
        pushed.created.append(repo_id)
        return Repository(repo_id)

    def upload(self: HfApi, *, repo_id: str, folder_path: Path, **options: Any) -> str:
        kept = tmp_path / f"sent{len(pushed.folders)}"
        shutil.copytree(folder_path, kept)
        pushed.folders.append(kept)
        return f"https://hub.invalid/{repo_id}/commit/1"

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    return pushed


def test_what_is_pushed_can_be_loaded_from_the_hub(
    published: PublishedModel, border: Pushed
) -> None:
    """A checkpoint and nothing else, with a card that the hub can read."""
    url = published.push_to_hub("someone/tiny")
    assert url == "https://hub.invalid/someone/tiny/commit/1"
    assert border.created == ["someone/tiny"]
    (folder,) = border.folders
    assert torch.equal(logits(load_checkpoint(folder).model), logits(published))
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "streamser"
    assert card.data.pipeline_tag == "audio-classification"
    assert "speech-emotion-recognition" in card.data.tags
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "calibration.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_it_may_be_pushed_as_it_is_saved(
    published: PublishedModel, border: Pushed, tmp_path: Path
) -> None:
    """Under the directory's name, or another."""
    published.save_pretrained(tmp_path / "mine", push_to_hub=True)
    published.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="someone/else")
    assert border.created == ["mine", "someone/else"]
    assert load_checkpoint(tmp_path / "mine").calibrations == CALIBRATIONS


def test_loading_is_as_strict_as_anywhere(tmp_path: Path) -> None:
    """The hub's own mixin would pass over a missing tensor, and open a pickle."""
    for fault in ("missing tensor", "pickle", "broken config"):
        directory = tiny_checkpoint(tmp_path / fault)
        SPOILT[fault].spoil(directory)
        with pytest.raises(ModelError) as caught:
            PublishedModel.from_pretrained(directory)
        assert all(part in str(caught.value) for part in SPOILT[fault].parts)


def test_a_name_is_looked_up_in_the_cache_that_is_named(tmp_path: Path) -> None:
    """The arguments of the hub's interface go to the hub."""
    with pytest.raises(ModelError, match="downloads are switched off"):
        PublishedModel.from_pretrained("someone/tiny", local_files_only=True, cache_dir=tmp_path)


def test_another_configuration_cannot_be_smuggled_in(
    published: PublishedModel, tmp_path: Path
) -> None:
    """It would not describe the weights."""
    with pytest.raises(ValueError, match=r"its own config\.json"):
        published.save_pretrained(tmp_path / "copy", config={"width": 3})  # type: ignore[arg-type]
