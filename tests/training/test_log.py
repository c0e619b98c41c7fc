from __future__ import annotations

import csv
from pathlib import Path

from streamser.emotion.fused.config import HeadsConfig
from streamser.training.checkpointing import EpochRow, write_log

ROW = EpochRow(
    epoch=1,
    step=10,
    learning_rate=1e-3,
    masked="text",
    train_loss=0.5,
    train=(1.25, 0.5, None),
    dev_loss=0.75,
    dev=(1.5, 0.5, 0.25),
    dev_uar=0.5,
    dev_ccc=(0.5, None),
    score=0.5,
    seconds=12.5,
)


def test_the_log_has_a_named_column_for_every_figure(tmp_path: Path) -> None:
    """What is not known stays empty."""
    write_log(tmp_path / "log.csv", [ROW, ROW], HeadsConfig())
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert rows[0] == {
        "epoch": "1",
        "step": "10",
        "learning_rate": "0.001",
        "masked": "text",
        "train_loss": "0.5",
        "train_category": "1.25",
        "train_valence": "0.5",
        "train_arousal": "",
        "dev_loss": "0.75",
        "dev_category": "1.5",
        "dev_valence": "0.5",
        "dev_arousal": "0.25",
        "dev_uar": "0.5",
        "dev_ccc_valence": "0.5",
        "dev_ccc_arousal": "",
        "score": "0.5",
        "seconds": "12.5",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
