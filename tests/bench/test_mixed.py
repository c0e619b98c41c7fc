"""The bench of mixed lengths, on tiny models."""

from __future__ import annotations

import time
from pathlib import Path

from streamser.bench import mixed
from tests.emotion.fused.checkpoints import tiny_checkpoint


def test_lengths_are_drawn_alike_every_time() -> None:
    """From half a second to ten, by the seed."""
    drawn = mixed.lengths(50, 1)
    assert drawn == mixed.lengths(50, 1) != mixed.lengths(50, 2)
    assert min(drawn) >= 0.5
    assert max(drawn) <= 10


def test_passes_and_formats_are_timed(tmp_path: Path) -> None:
    """One row for each way; the first is what the others are measured against."""
    where = str(tiny_checkpoint(tmp_path / "tiny"))
    rows = list(mixed.pass_rows(where, "cpu", 4, 1, time.perf_counter))
    assert next((row[0], row[-1]) for row in rows) == ("one batch, padded", "1.00")
    assert [row[1] for row in rows][::2] == ["1", "4"]
    formats = list(mixed.format_rows(where, "cpu", time.perf_counter))
    assert [row[0] for row in formats] == ["float32", "bfloat16", "int8"]
    assert formats[0][2] == formats[0][4] == "1.00"
