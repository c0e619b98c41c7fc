"""``streamser evaluate`` says which public models it measured, and on what."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from streamser.training.evaluation.report import Evaluation
from streamser.training.manifest import write_manifest
from tests.cli.running import run
from tests.training.tiny import items


def test_public_models_are_told_by_their_repositories_and_files(hub: Path, tmp_path: Path) -> None:
    """All of their files make the hash, and what torch runs on is told as it is."""
    write_manifest(items(tmp_path, train=0, dev=2), tmp_path / "made.csv")
    asked = ("--split", "all", "--modality", "text", "--bootstrap", "0", "--device", "cpu")
    out = tmp_path / "out"
    done = run(
        "evaluate", "hartmann-distilroberta", tmp_path / "made.csv", *asked, "--out", str(out)
    )
    assert done.exit_code == 0, done.stderr
    record = (out / "evaluation.json").read_bytes()
    found = msgspec.json.decode(record, type=Evaluation).provenance
    assert found.origin.startswith("j-hartmann/")
    assert re.fullmatch("[0-9a-f]{16}", found.weights_sha256)
    assert found.device == "CPU"
    assert found.threads is not None
