"""What was chosen once is chosen again, whatever becomes of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.machine import KeptChoices, choices_file


def test_what_was_kept_is_found_by_whoever_looks_later(tmp_path: Path) -> None:
    """By its key alone, in a folder that need not be there."""
    kept = KeptChoices(tmp_path / "new" / "choices.json")
    assert kept.find("a") is None
    assert kept.keep("a", "float32") == "float32"
    assert kept.keep("b", "int8") == "int8"
    again = KeptChoices(kept.path)
    assert (again.find("a"), again.find("b"), again.find("c")) == ("float32", "int8", None)
    assert [path.name for path in kept.path.parent.iterdir()] == ["choices.json"]


def test_the_first_choice_stands(tmp_path: Path) -> None:
    """Of two processes that choose at the same time, the later takes what the other chose."""
    path = tmp_path / "choices.json"
    assert KeptChoices(path).keep("a", "float32") == "float32"
    assert KeptChoices(path).keep("a", "bfloat16") == "float32"


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff"])
def test_a_damaged_file_holds_nothing_and_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    """No start fails for it."""
    kept = KeptChoices(tmp_path / "choices.json")
    kept.path.write_bytes(damage)
    assert kept.find("a") is None
    kept.keep("a", "float32")
    assert kept.find("a") == "float32"


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    """The choice holds for this start."""
    (tmp_path / "file").write_text("in the way")
    kept = KeptChoices(tmp_path / "file" / "choices.json")
    assert kept.keep("a", "float32") == "float32"
    assert kept.find("a") is None


def test_the_file_is_in_the_cache_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment says so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choices_file() == tmp_path / "streamser" / "choices.json"
