"""Checkpoints that are only good for measuring."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamser.bench.random_checkpoint import CARD, write_random_checkpoint
from streamser.emotion.fused.model import load_fused
from streamser.emotion.model import Spoken


def test_a_random_checkpoint_loads_and_answers(tmp_path: Path) -> None:
    """Like any other, and its card says what it is."""
    parameters = write_random_checkpoint("ablation", tmp_path / "random")
    assert parameters > 10_000
    model = load_fused(str(tmp_path / "random"), device="cpu")
    (finding,) = model.observe([Spoken(samples=np.zeros(16_000, np.float32), text="a word")])
    assert model.listener().interpret(finding).modalities == ("audio", "text")
    assert CARD.strip() in (tmp_path / "random" / "README.md").read_text(encoding="utf-8")
