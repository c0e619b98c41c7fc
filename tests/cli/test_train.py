from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from streamser.training.items import Item
from tests.cli.running import refuses, run, start
from tests.training import tiny

TINY = [
    "model.acoustic.width=8",
    "model.acoustic.layers=1",
    "model.acoustic.heads=2",
    "model.text.width=8",
    "model.text.layers=1",
    "model.text.heads=2",
    "model.text.vocabulary=64",
    "model.fusion.width=8",
    "model.fusion.heads=2",
    "optimizer.epochs=2",
    "optimizer.batch=8",
    "optimizer.patience=0",
    "run.device=cpu",
    "run.threads=1",
]
SET = [word for pair in TINY for word in ("--set", pair)]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Write 24 tones with words, and their manifest."""
    from streamser.training.manifest import write_manifest

    items: list[Item] = tiny.items(tmp_path, train=16, dev=8)
    write_manifest(items, tmp_path / "tones.csv")
    return tmp_path / "tones.csv"


def test_a_training_prints_where_its_checkpoint_is(manifest: Path, tmp_path: Path) -> None:
    """And a line for each epoch, to people."""
    out = tmp_path / "out"
    result = run("train", "compact", "--manifest", manifest, "--out", out, *SET)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(out / "model")]
    assert (out / "model" / "model.safetensors").is_file()
    lines = result.stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "dev UAR" in lines[0]
    again = run("train", "compact", "--manifest", manifest, "--out", out, *SET)
    refuses(again, 2, "finished training", "--fresh", "--out")
    resumed = run("train", "compact", "--manifest", manifest, "--out", out, *SET, "--resume")
    assert resumed.exit_code == 0
    assert resumed.stdout == result.stdout


def test_ctrl_c_saves_and_says_how_to_go_on(manifest: Path, tmp_path: Path) -> None:
    """Exit code 130; with --resume it ends like a training that nobody stopped."""
    arguments = ["train", "compact", "--manifest", str(manifest), *SET]
    arguments += ["--set", "optimizer.epochs=20"]
    training = start(*arguments, "--out", tmp_path / "parts")
    assert training.stderr is not None
    first = training.stderr.readline()
    assert first.startswith("epoch 1/20"), first
    training.send_signal(signal.SIGINT)
    _, said = training.communicate(timeout=60)
    assert training.returncode == 130
    assert said.splitlines()[-1].startswith("stopped; go on with: streamser train compact")
    assert said.splitlines()[-1].endswith("--resume")
    done = run(*arguments, "--out", tmp_path / "parts", "--resume")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith("going on in epoch")
    whole = run(*arguments, "--out", tmp_path / "whole")
    assert whole.exit_code == 0, whole.stderr
    assert _log(tmp_path / "parts") == _log(tmp_path / "whole")
    weights = [tmp_path / name / "model" / "model.safetensors" for name in ("parts", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def _log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["compact"], ["no manifest", "streamser corpus"]),
        (["compact", "--manifest", "gone.csv"], ["gone.csv"]),
        (["tiny", "--manifest", "x.csv"], ["no preset", "compact"]),
        (["compact", "--set", "optimizer.epoch=1"], ["did you mean 'optimizer.epochs'"]),
        (["compact", "--set", "optimizer.epochs=0"], ["optimizer.epochs", ">= 1"]),
        (["compact", "--resume", "--fresh"], ["--resume and --fresh"]),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], parts: list[str]) -> None:
    """Exit code 2, before anything is trained."""
    refuses(run("train", *arguments), 2, *parts)


def test_a_manifest_without_validation_is_refused(manifest: Path, tmp_path: Path) -> None:
    """The best epoch is never chosen on what was learnt."""
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if ",dev," not in line) + "\n")
    result = run("train", "compact", "--manifest", manifest, "--out", tmp_path / "out", *SET)
    refuses(result, 2, "'dev'", "streamser corpus")
