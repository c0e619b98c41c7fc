from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from streamser.emotion.hub_models import registry
from streamser.emotion.hub_models.registry import HUB_MODELS, held, locate, named, pull
from streamser.errors import ModelError
from tests.emotion.hub_models.layouts import snapshot_of

NAME = "hartmann-distilroberta"
WORDS = HUB_MODELS[NAME]
LISTED = [
    *(".gitattributes", "README.md", "config.json", "merges.txt", "vocab.json", "tokenizer.json"),
    *("pytorch_model.bin", "tf_model.h5", "training_args.bin", "pipeline_utils.py", "onnx/m.onnx"),
]


class Hub:
    """Stand for the hub: hands out the tiny models, remembers what was asked."""

    def __init__(self, laid: Path, cache: Path, listed: list[str]) -> None:
        self.laid, self.cache, self.listed = laid, cache, listed
        self.asked: list[dict[str, Any]] = []
        self.revisions: list[str | None] = []

    def list_repo_files(self, repository: str, revision: str | None) -> list[str]:
        """List what the repository holds."""
        self.revisions.append(revision)
        return self.listed

    def snapshot_download(self, repository: str, **options: Any) -> str:
        """Put the wanted files into the cache."""
        self.asked.append({"repository": repository, **options})
        name = next(n for n, ready in HUB_MODELS.items() if ready.repository == repository)
        target = snapshot_of(name, self.cache)
        for file in snapshot_of(name, self.laid).iterdir():
            if file.name in options["allow_patterns"]:
                shutil.copy(file, target / file.name)
        return str(target)


@pytest.fixture
def online(laid: Path, empty_hub: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Make the hub reachable."""
    hub = Hub(laid, empty_hub, list(LISTED))
    monkeypatch.setattr(registry, "answers", lambda url, seconds: True)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda endpoint: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_what_is_in_the_cache_is_found_without_asking_anybody(hub: Path) -> None:
    """Offline or not."""
    assert held(WORDS) == "yes"
    assert locate(WORDS, offline=True) == snapshot_of(NAME, hub)
    assert locate(WORDS, offline=False) == snapshot_of(NAME, hub)


def test_offline_what_is_missing_is_told_at_once_with_its_path(empty_hub: Path) -> None:
    """And what fetches it."""
    assert held(WORDS) == "no"
    with pytest.raises(ModelError, match="is not here") as caught:
        locate(WORDS, offline=True)
    assert str(empty_hub / "models--j-hartmann--emotion-english") in str(caught.value)
    assert f"streamser models pull {NAME}" in str(caught.value)


def test_the_environment_can_forbid_downloads_too(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for every program that uses the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="downloads are switched off"):
        locate(WORDS, offline=False)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        pull(WORDS)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_downloaded_in_part_is_told_with_the_file_it_lacks(
    laid: Path, empty_hub: Path, file: str
) -> None:
    """A link to nothing, as a broken download leaves it, is no file."""
    target = snapshot_of("samlowe-goemotions", empty_hub)
    shutil.copytree(snapshot_of("samlowe-goemotions", laid), target, dirs_exist_ok=True)
    assert held(HUB_MODELS["samlowe-goemotions"]) == "yes"
    (target / file).unlink()
    (target / file).symlink_to("../../blobs/nothing")
    assert held(HUB_MODELS["samlowe-goemotions"]) == "in part"
    with pytest.raises(ModelError, match="only in part") as caught:
        locate(HUB_MODELS["samlowe-goemotions"], offline=True)
    assert str(target / file) in str(caught.value)


def test_a_download_that_was_only_begun_counts_as_in_part(empty_hub: Path) -> None:
    """There are bytes, and no snapshot yet."""
    blobs = empty_hub / "models--j-hartmann--emotion-english-distilroberta-base" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(b"1")
    assert held(WORDS) == "in part"


def test_only_what_is_needed_is_fetched_and_no_code(
    online: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pickle because there are no safetensors; who waits is told what for."""
    directory = locate(WORDS, offline=False)
    (asked,) = online.asked
    assert set(asked["allow_patterns"]) == {
        *("config.json", "merges.txt", "vocab.json", "tokenizer.json", "pytorch_model.bin"),
    }
    assert (directory / "config.json").is_file()
    assert f"Downloading {NAME}" in capsys.readouterr().err
    assert locate(WORDS, offline=True) == directory


def test_a_revision_that_is_asked_for_is_the_one_that_is_taken(
    hub: Path,
) -> None:
    """Another in the cache is none, however whole it is."""
    (here,) = named(f"{NAME}@abc")
    (other,) = named(f"{WORDS.repository}@0123abc")
    assert locate(here, offline=True) == snapshot_of(NAME, hub)
    assert held(other) == "no"
    with pytest.raises(ModelError, match="is not here") as caught:
        locate(other, offline=True)
    assert "snapshots/0123abc" in str(caught.value)
    assert f"streamser models pull {NAME}@0123abc" in str(caught.value)


def test_a_download_is_of_the_revision_that_is_asked_for(online: Hub) -> None:
    """List and files alike."""
    (ready,) = named(f"{NAME}@v1.0")
    locate(ready, offline=False)
    assert online.revisions == ["v1.0"]
    assert online.asked[0]["revision"] == "v1.0"


def test_with_safetensors_no_pickle_is_fetched(online: Hub) -> None:
    """Neither with force."""
    online.listed += ["model.safetensors"]
    with pytest.raises(ModelError, match=r"no longer holds model\.safetensors"):
        pull(WORDS, force=True)
    assert "pytorch_model.bin" not in online.asked[0]["allow_patterns"]
    assert online.asked[0]["force_download"] is True


def test_of_funasrs_models_everything_but_code_is_fetched(online: Hub) -> None:
    """FunASR needs other files."""
    online.listed = [
        *("model.pt", "config.yaml", "configuration.json", "tokens.txt", "am.mvn", "bpe.model"),
        *("model.py", "requirements.txt", "README.md", "example/test.wav"),
    ]
    with pytest.raises(ModelError, match=r"no longer holds config\.yaml"):
        pull(HUB_MODELS["sensevoice"])
    assert online.asked[0]["allow_patterns"] == online.listed[:6]


def test_a_hub_that_does_not_answer_costs_one_line(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no minutes."""
    monkeypatch.setattr(registry, "answers", lambda url, seconds: False)
    with pytest.raises(ModelError, match=f"{NAME} cannot be downloaded.*does not answer"):
        locate(WORDS, offline=False)


def test_a_download_that_breaks_off_costs_one_line(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do."""

    def fail(repository: str, **options: Any) -> str:
        raise OSError("No space left on device\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=r"No space left.*again to go on") as caught:
        pull(WORDS)
    assert "more" not in str(caught.value)
