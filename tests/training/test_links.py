"""Files of a training are written through no link that somebody has put into its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from streamser.emotion.fused.config import HeadsConfig
from streamser.training.checkpointing import open_run, save_weights, write_log
from streamser.training.evaluation.predictions import save_predictions
from streamser.training.manifest import write_manifest
from tests.training import planted, tiny
from tools.compact.voices import keep

WRITERS: dict[str, Callable[[Path], object]] = {
    "log.csv": lambda path: write_log(path, [], HeadsConfig()),
    "items.csv": lambda path: write_manifest([], path),
    "test.npz": lambda path: save_predictions(planted.table([[1, 0]], [0]), path),
    "best.safetensors": lambda path: save_weights(path, nn.Linear(2, 2)),
    "settings.json": lambda path: open_run(path.parent, tiny.settings(), [], "new"),
    "voices.npz": lambda path: keep(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_part_is_written_through_no_link(tmp_path: Path, name: str) -> None:
    """Its name cannot be known before; and a file is still whole or not there."""
    other = tmp_path / "other"
    other.write_text("precious")
    file = tmp_path / name
    for part in (f"{name}.part", f"{file.stem}.part", f"{file.stem}.part.npz"):
        (tmp_path / part).symlink_to(other)
    WRITERS[name](file)
    assert other.read_text() == "precious"
    assert file.is_file()


def test_parts_of_a_killed_training_go_with_the_next(tmp_path: Path) -> None:
    """States are large: they may not pile up."""
    open_run(tmp_path, tiny.settings(), [], "new")
    (tmp_path / ".0123456789abcdef.part").touch()
    open_run(tmp_path, tiny.settings(), [], "resume")
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json"}
