from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.training.checkpointing import Result, open_run
from streamser.training.manifest import Item
from tests.training import tiny

ITEMS = [Item(id="1", corpus="c", speaker="s", split="train", text="words")]
SETTINGS = tiny.settings()


def test_a_directory_in_which_nothing_has_begun_may_be_taken(tmp_path: Path) -> None:
    """A training that failed before its first state stands in nobody's way."""
    run = open_run(tmp_path / "a" / "b", SETTINGS, ITEMS, "new")
    run.start.mkdir()
    other = replace(SETTINGS, run=replace(SETTINGS.run, seed=5))
    assert open_run(run.path, other, ITEMS, "new").path == run.path
    assert not run.start.exists()


@pytest.mark.parametrize("name", ["model", "start", "log.csv", "best-1.safetensors"])
@pytest.mark.parametrize("how", ["new", "resume", "fresh"])
def test_what_no_training_has_made_is_never_deleted(tmp_path: Path, name: str, how: str) -> None:
    """Not even afresh: somebody's folder may be called model too."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").touch()
    with pytest.raises(ConfigError, match=f"{name} is in the way"):
        open_run(tmp_path, SETTINGS, ITEMS, how)  # type: ignore[arg-type]
    assert (tmp_path / name / "precious").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"settings": {"colour": 1}, "items": ""}'])
def test_settings_of_something_else_are_left_alone(tmp_path: Path, text: str) -> None:
    """One line says which file it is."""
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ConfigError, match=r"settings\.json is damaged"):
        open_run(tmp_path, SETTINGS, ITEMS, "fresh")
    assert (tmp_path / "settings.json").read_text() == text


def test_fresh_deletes_what_the_training_before_left(tmp_path: Path) -> None:
    """And nothing that lies beside it."""
    run = open_run(tmp_path, SETTINGS, ITEMS, "new")
    for path in (run.state, run.best(3), run.log, tmp_path / "notes.txt"):
        path.touch()
    run.model.mkdir()
    open_run(tmp_path, SETTINGS, ITEMS, "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json", "notes.txt"}


def test_the_end_of_a_training_is_remembered(tmp_path: Path) -> None:
    """And only what it made stays."""
    run = open_run(tmp_path, SETTINGS, ITEMS, "new")
    assert run.read_result() is None
    for path in (run.state, run.best(1)):
        path.touch()
    run.start.mkdir()
    result = Result(epochs=2, best_epoch=1, history=())
    run.finish(result)
    assert run.read_result() == result
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json", "result.json"}


@pytest.mark.parametrize(("key", "value"), [("threads", 4), ("device", "auto"), ("compile", True)])
def test_a_training_may_go_on_elsewhere(tmp_path: Path, key: str, value: object) -> None:
    """With other threads or on another device, its sound files moved."""
    open_run(tmp_path, SETTINGS, ITEMS, "new").state.touch()
    moved = replace(SETTINGS, run=replace(SETTINGS.run, **{key: value}))
    open_run(tmp_path, moved, ITEMS, "resume")
    heard = [replace(ITEMS[0], audio=Path("a.wav"))]
    with pytest.raises(ConfigError, match="other items"):
        open_run(tmp_path, SETTINGS, heard, "resume")
    open_run(tmp_path, SETTINGS, heard, "fresh").state.touch()
    open_run(tmp_path, SETTINGS, [replace(ITEMS[0], audio=Path("b.wav"))], "resume")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used for a training"):
        open_run(tmp_path / "file" / "out", SETTINGS, ITEMS, "new")
