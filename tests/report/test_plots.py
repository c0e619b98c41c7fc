"""Pictures of a session are written through no link in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.export.read import read_recording
from streamser.report.figures import figures_of
from streamser.report.plots import save_plots
from tests.export.script import Script, saved


def test_a_link_under_the_name_of_a_picture_is_replaced(tmp_path: Path) -> None:
    """Who can write in a shared folder cannot have another's file overwritten."""
    pytest.importorskip("matplotlib")
    script = Script(speaker="Anna")
    script.say(1000, 2000, "hello")
    figures = figures_of(read_recording(saved(tmp_path / "talk.jsonl", script.close())))
    other, folder = tmp_path / "other", tmp_path / "plots"
    other.write_text("precious")
    folder.mkdir()
    (folder / "timeline.png").symlink_to(other)
    written = save_plots(figures, folder)
    assert other.read_text() == "precious"
    assert folder / "timeline.png" in written
    assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG")
