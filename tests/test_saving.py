"""Files are saved whole, and through nobody's link unless a user has named it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from streamser.saving import remove_parts, replacing, writing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


def test_a_link_under_a_name_of_ours_is_replaced_not_followed(tmp_path: Path) -> None:
    """Who can write in a shared folder cannot have another's file overwritten."""
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / "log.csv").symlink_to(other)
    with replacing(tmp_path / "log.csv") as file:
        file.write(b"new")
    assert other.read_text() == "precious"
    assert not (tmp_path / "log.csv").is_symlink()
    assert (tmp_path / "log.csv").read_text() == "new"


def test_a_link_that_a_user_names_is_meant(tmp_path: Path) -> None:
    """It stays a link, and what it leads to is new."""
    (tmp_path / "link").symlink_to("there")
    with writing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"


def test_a_pipe_that_a_user_names_is_written_as_it_is(tmp_path: Path) -> None:
    """It is not replaced by a file that its reader would never see."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with writing(pipe) as file:
        file.write(b"new")
    reader.join(timeout=60)
    assert got == [b"new"]
    assert pipe.is_fifo()


def test_what_could_not_be_finished_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """And nothing beside it."""
    file = tmp_path / "a"
    file.write_text("old")
    with pytest.raises(TypeError), replacing(file) as new:
        new.writelines((b"half", "no bytes"))  # type: ignore[arg-type]
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o640)])
def test_a_private_file_is_for_its_owner_only(tmp_path: Path, private: bool, mode: int) -> None:
    """Another has the rights that the user gives to new files."""
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a", private=private):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_what_killed_writers_left_can_be_removed(tmp_path: Path) -> None:
    """Their parts alone, not what others have called so."""
    names = [".0123456789abcdef.part", ".a.part", "x.part", "kept"]
    for name in names:
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])
