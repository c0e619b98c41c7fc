from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from streamser.emotion.fused.checkpoint import load_checkpoint
from streamser.errors import ModelError
from streamser.hub import CHECKPOINT_FILES, HubRequest, fetch
from tests.emotion.fused.checkpoints import TINY, tiny_checkpoint

NAME = "someone/tiny"


def cached(cache: Path) -> Path:
    """Put a checkpoint into a hub's cache, as a download would; returns its directory."""
    repository = cache / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    return tiny_checkpoint(repository / "snapshots" / "abc")


def test_a_checkpoint_in_the_cache_is_loaded_offline(tmp_path: Path) -> None:
    """By its name on the hub."""
    directory = cached(tmp_path)
    loaded = load_checkpoint(NAME, request=HubRequest(offline=True, cache_dir=tmp_path))
    assert loaded.directory == directory
    assert loaded.model.config == TINY


def test_a_name_that_is_not_in_the_cache_is_told_offline(tmp_path: Path) -> None:
    """With what can be done about it."""
    with pytest.raises(ModelError, match="downloads are switched off; give the directory") as fault:
        fetch(NAME, HubRequest(offline=True, cache_dir=tmp_path))
    assert "\n" not in str(fault.value)


def test_only_the_files_of_a_checkpoint_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pickle and no code is ever fetched, whatever else lies there."""
    source = tiny_checkpoint(tmp_path / "source")
    asked: dict[str, Any] = {}

    def download(name: str, **arguments: Any) -> str:
        asked.update(arguments, name=name)
        target = tmp_path / "snapshot"
        shutil.copytree(source, target)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    load_checkpoint(NAME, request=HubRequest(revision="v1", token="secret"))
    assert asked["name"] == NAME
    assert asked["revision"] == "v1"
    assert asked["token"] == "secret"
    assert asked["local_files_only"] is False
    assert asked["allow_patterns"] == list(CHECKPOINT_FILES)
    assert not any(pattern.endswith((".py", ".bin", ".pt")) for pattern in CHECKPOINT_FILES)
    shutil.rmtree(tmp_path / "snapshot")
    load_checkpoint(f"{NAME}@v2", offline=True)
    assert (asked["name"], asked["revision"]) == (NAME, "v2")


def answered(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    """Make an error of the hub's client, several lines long as they are."""
    response: Any = SimpleNamespace(headers={}, request=None, status_code=status)
    return kind(f"{status} Client Error.\n\nMore lines.", response=response)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (answered(errors.RepositoryNotFoundError, 401), "no such model on the hub"),
        (answered(errors.RevisionNotFoundError, 404), "no revision 'v1'"),
        (answered(errors.HfHubHTTPError, 500), "could not be fetched from the hub (500"),
        (errors.LocalEntryNotFoundError("ConnectError\nmore"), "the hub does not answer: Connect"),
        (TimeoutError("timed out"), "could not be fetched from the hub (timed out)"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_hub_that_has_or_gives_nothing_costs_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """That begins with the name."""

    def fail(name: str, **arguments: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError) as caught:
        fetch(NAME, HubRequest(revision="v1"))
    line = str(caught.value)
    assert line.startswith(NAME)
    assert reason in line
    assert "More lines" not in line


@pytest.mark.parametrize("name", ["three/part/name", "no--name", "/absent/directory"])
def test_a_name_that_the_hub_cannot_have_is_no_directory_either(name: str) -> None:
    """Nobody is asked for it."""
    with pytest.raises(ModelError, match="no such directory, and it is no name on the hub"):
        load_checkpoint(name)
