"""``streamser crossval`` runs the grid on a corpus, or says in one line why it cannot."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from streamser.training.manifest import write_manifest
from tests.cli.running import refuses, run
from tests.training.tiny import items

TINY = [
    f"--set={assignment}"
    for assignment in (
        *(f"model.{part}.width=8" for part in ("acoustic", "text", "fusion")),
        *(f"model.{part}.heads=2" for part in ("acoustic", "text", "fusion")),
        "model.text.vocabulary=64",
        "optimizer.epochs=1",
        "run.threads=1",
    )
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return a manifest of six speakers in three splits."""
    made = items(tmp_path, train=8, dev=16)
    parted = [
        replace(item, split="test", speaker=f"test{place % 2}") if place >= 16 else item
        for place, item in enumerate(made)
    ]
    write_manifest(parted, tmp_path / "made.csv")
    return tmp_path / "made.csv"


def words(manifest: Path, *more: str) -> list[str]:
    """Return the command that trains words alone on the manifest's own splits."""
    out = f"--out={manifest.parent / 'grid'}"
    grid = ["--protocol", "own", "--rows", "words", "--tasks", "both", "--seeds", "2"]
    return ["crossval", "ablation", "--manifest", str(manifest), out, *grid, *TINY, *more]


def test_an_experiment_is_run_once_and_reported_again(manifest: Path) -> None:
    """The report needs all trainings; the second time none is left; seeds begin at run.seed."""
    refuses(run(*words(manifest, "--report")), 2, "2 of 2 trainings missing")
    more = ("--bootstrap", "100", "--set", "run.seed=4")
    first = run(*words(manifest, *more))
    assert first.exit_code == 0, first.stderr
    assert "1 system x 1 fold x 2 seeds = 2 trainings, 0 done." in first.stderr
    assert "[2/2] words.both/own/seed5" in first.stderr
    again = run(*words(manifest, *more, "--report"))
    assert again.exit_code == 0, again.stderr
    assert "2 trainings, 2 done." in again.stderr
    assert "| words only | multi-task | 0." in again.stdout


def test_the_report_names_no_place_of_this_machine(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the command nor in the settings, wherever the manifest was named."""
    typed = words(manifest, "--bootstrap", "100", "--set", f"data.manifest={manifest}")
    monkeypatch.setattr("sys.argv", ["streamser", *typed])
    assert run(*typed).exit_code == 0
    grid = manifest.parent / "grid"
    text = (grid / "report.md").read_text(encoding="utf-8")
    assert "streamser crossval ablation --manifest made.csv --out=grid" in text
    assert "--set data.manifest=made.csv`" in text
    for file in ("report.md", "report.json"):
        assert str(manifest.parent) not in (grid / file).read_text(encoding="utf-8")
    assert msgspec.json.decode((grid / "report.json").read_bytes())["origin"]["seeds"] == 2


def test_wrong_use_ends_with_one_line(manifest: Path) -> None:
    """Before anything is trained."""
    refuses(run(*words(manifest, "--rows", "nope")), 2, "no row is called 'nope'")
    refuses(run(*words(manifest, "--rows", ",")), 2, "no row or no task")
    refuses(run(*words(manifest, "--tasks", "all")), 2, "no task is called 'all'")
    refuses(run(*words(manifest, "--protocol", "session")), 2, "have no session")
    refuses(run(*words(manifest, "--out", str(manifest))), 2, "made.csv is a file; name a folder")
    refuses(run("crossval", "ablation"), 2, "no manifest")
    refuses(
        run(*words(manifest, "--tasks", "dimension", "--set", "model.heads.dimensions=")),
        2,
        "needs model.heads.dimensions",
    )
