"""Files are saved whole, for their owner alone, and through nobody's link."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.export.formats import EventLog, save


def test_a_link_under_the_name_of_the_part_is_not_followed(tmp_path: Path) -> None:
    """Who can write in a shared folder cannot have another's file overwritten."""
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / ".talk.srt.part").symlink_to(other)
    save("words", tmp_path / "talk.srt")
    assert other.read_text() == "precious"
    assert not (tmp_path / "talk.srt").is_symlink()
    assert (tmp_path / "talk.srt").read_text() == "words"


def test_a_link_that_a_user_names_stays_one(tmp_path: Path) -> None:
    """What it leads to is replaced, as by the other commands."""
    (tmp_path / "there.srt").write_text("old")
    (tmp_path / "talk.srt").symlink_to("there.srt")
    save("words", tmp_path / "talk.srt", named=True)
    assert (tmp_path / "talk.srt").is_symlink()
    assert (tmp_path / "there.srt").read_text() == "words"


def test_a_folder_of_files_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Another's folder keeps what is in it, unless a user has named the link."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "db.yaml").write_text("precious")
    out = tmp_path / "talk.audformat"
    out.symlink_to(other)
    with pytest.raises(FileExistsError, match="a link is in the way"):
        save({"db.yaml": "new"}, out)
    assert (other / "db.yaml").read_text() == "precious"
    save({"db.yaml": "new"}, out, named=True)
    assert (other / "db.yaml").read_text() == "new"


@pytest.mark.parametrize("fresh", [True, False])
def test_a_log_under_a_name_of_ours_follows_no_link(tmp_path: Path, fresh: bool) -> None:
    """A fresh one is new or is not; another takes the place of the link itself."""
    other = tmp_path / "other"
    other.write_text("precious")
    out = tmp_path / "talk.jsonl"
    out.symlink_to(other)
    if fresh:
        with pytest.raises(FileExistsError):
            EventLog(out)
    else:
        EventLog(out, fresh=False).close()
        assert not out.is_symlink()
    assert other.read_text() == "precious"


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_cannot_be_whole_is_not_begun(tmp_path: Path, there: bool) -> None:
    """An empty one would look like a result; one that was there before keeps what it had."""
    folder = tmp_path / "talk.audformat"
    if there:
        folder.mkdir()
        (folder / "db.yaml").write_text("old")
    with pytest.raises(OSError, match="none"):
        save({"db.yaml": "new", "none/table.csv": "new"}, folder)
    assert folder.is_dir() == there
