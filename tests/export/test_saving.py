"""Files are saved whole, for their owner alone, and through nobody's link."""

from __future__ import annotations

from pathlib import Path

from streamser.export.formats import save


def test_a_link_under_the_name_of_the_part_is_not_followed(tmp_path: Path) -> None:
    """Who can write in a shared folder cannot have another's file overwritten."""
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / ".talk.srt.part").symlink_to(other)
    save("words", tmp_path / "talk.srt")
    assert other.read_text() == "precious"
    assert not (tmp_path / "talk.srt").is_symlink()
    assert (tmp_path / "talk.srt").read_text() == "words"
