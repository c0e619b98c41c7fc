from __future__ import annotations

import csv
import math
import shutil
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from streamser.events import EmotionCompleted, MoodUpdated
from streamser.taxonomy import Dimensions
from streamser.training.manifest import Item
from tests.cli.running import events_of, refuses, run, start
from tests.cli.sounds import spoken, write
from tests.scripted_whisper import build_babbling_whisper
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


def test_a_model_trained_without_ratings_tells_no_dimensions_anywhere(tmp_path: Path) -> None:
    """Said once while it trains; null live, nothing in tables, reports and evaluations."""
    from streamser.training.manifest import write_manifest

    rated = tiny.items(tmp_path, train=16, dev=8)
    unrated = [replace(item, dimensions=(math.nan,) * 3) for item in rated]
    for items, name in ((rated, "rated.csv"), (unrated, "unrated.csv")):
        write_manifest(items, tmp_path / name)
    out, model = tmp_path / "out", str(tmp_path / "out" / "model")
    trained = run("train", "compact", "--manifest", tmp_path / "unrated.csv", "--out", out, *SET)
    assert trained.exit_code == 0, trained.stderr
    assert trained.stderr.startswith("nothing teaches valence, arousal (no labels")

    talk = write(tmp_path / "talk.wav", spoken(7.0))
    session = tmp_path / "talk.jsonl"
    heard = run("analyze", talk, "--asr", "none", "--model", model, "--format", "jsonl")
    assert heard.exit_code == 0, heard.stderr
    session.write_text(heard.stdout)
    events = events_of(heard.stdout)
    told = [event.emotion for event in events if isinstance(event, EmotionCompleted)]
    moods = [event for event in events if isinstance(event, MoodUpdated)]
    assert len(told) == len(moods) == 2
    dimensions = [each.dimensions for each in told] + [each.dimensions for each in moods]
    assert set(dimensions) == {Dimensions(None, None, None)}

    table, markup = tmp_path / "told.csv", tmp_path / "told.emotionml"
    exported = run("export", session, "--to", f"{table},{markup}")
    assert exported.exit_code == 0, exported.stderr
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            assert (row["valence"], row["arousal"], row["dominance"]) == ("", "", "")
    assert "<dimension" not in markup.read_text()
    report = run("report", session, "-o", tmp_path / "talk.html")
    assert report.exit_code == 0, report.stderr
    assert "valence: not measured" in (tmp_path / "talk.html").read_text()

    judged = run(
        *("evaluate", model, tmp_path / "rated.csv", "--split", "dev", "--device", "cpu"),
        *("--modality", "audio", "--out", tmp_path / "judged"),
    )
    assert judged.exit_code == 0, judged.stderr
    assert "UAR" in judged.stdout
    assert "CCC" not in judged.stdout


WHISPER = [
    *("model.acoustic.kind=whisper", "model.acoustic.used_layers=1,2", "model.text=none"),
    *(pair for pair in TINY if not pair.startswith(("model.acoustic", "model.text"))),
]


def test_whispers_lower_layers_train_and_are_used_like_any_encoder(
    manifest: Path, tmp_path: Path
) -> None:
    """From weights in CTranslate2's form to a checkpoint that is evaluated and that listens."""
    whisper = build_babbling_whisper(tmp_path / "whisper")
    pairs = [*WHISPER, f"model.acoustic.name={whisper}"]
    ours = [word for pair in pairs for word in ("--set", pair)]
    out = tmp_path / "out"
    trained = run("train", "compact", "--manifest", manifest, "--out", out, *ours)
    assert trained.exit_code == 0, trained.stderr
    shutil.rmtree(whisper)
    model = str(out / "model")
    judged = run(
        *("evaluate", model, manifest, "--split", "dev", "--device", "cpu"),
        *("--out", tmp_path / "judged"),
    )
    assert judged.exit_code == 0, judged.stderr
    assert "UAR" in judged.stdout
    talk = write(tmp_path / "talk.wav", spoken(2.5))
    for command in (("analyze", talk, "--format", "jsonl"), ("listen", "--file", talk, "--json")):
        heard = run(*command, "--asr", "none", "--model", model)
        assert heard.exit_code == 0, heard.stderr
        told = [each for each in events_of(heard.stdout) if isinstance(each, EmotionCompleted)]
        assert told
        assert told[0].emotion.modalities == ("audio",)


@pytest.mark.parametrize(
    ("setting", "code", "part"),
    [
        ("name=/absent/whisper", 1, "no such directory"),
        ("name=tiny.eng", 1, "tiny.eng: it is no directory here"),
        ("used_layers=1,9", 1, "has 2 layers: model.acoustic.used_layers cannot name 9"),
        ("used_layers=0", 2, "name one layer at least"),
        ("used_layers=", 2, "used_layers: Expected `array` of length >= 1"),
        ("used_layers=first", 2, "used_layers: Expected `int`"),
        ("join=mean", 2, "choose from concat, sum"),
        ("max_seconds=60", 2, "max_seconds: Expected `float` <= 30"),
        ("lora.rank=0", 2, "lora.rank: Expected `int` >= 1"),
    ],
)
def test_ears_that_cannot_be_had_cost_one_line(
    manifest: Path, tmp_path: Path, setting: str, code: int, part: str
) -> None:
    """Missing weights, layers beyond the encoder, values that make no sense."""
    whisper = build_babbling_whisper(tmp_path / "whisper")
    pairs = ["kind=whisper", "used_layers=1", f"name={whisper}", setting]
    words = [word for pair in pairs for word in ("--set", f"model.acoustic.{pair}")]
    out = tmp_path / "out"
    result = run("train", "compact", "--manifest", manifest, "--out", out, "--offline", *words)
    refuses(result, code, part)
