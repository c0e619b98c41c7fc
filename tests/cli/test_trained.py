"""A trained model on the command line: one flag, and one line where it cannot be used."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from streamser.events import EmotionCompleted, SessionCreated
from streamser.export.tables import TEMPO
from tests.cli.running import events_of, refuses, run
from tests.cli.sounds import spoken, write
from tests.emotion.fused.checkpoints import SPOILT, TINY, tiny_checkpoint
from tests.emotion.remote.deployment import deployed
from tools.protocol_doc.codes import FUSED_EVIDENCE
from tools.protocol_doc.document import protocol_document


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random checkpoint."""
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of an utterance or two."""
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", spoken(7.0))


def finals(output: str) -> list[EmotionCompleted]:
    """Return the final judgements among JSON lines."""
    return [event for event in events_of(output) if isinstance(event, EmotionCompleted)]


def test_analyze_reads_emotion_with_a_trained_model(model: Path, talk: Path) -> None:
    """Events carry what it used, both kinds of emotion, and its name."""
    arguments = ["--asr", "none", "--format", "jsonl", "--model", str(model)]
    result = run("analyze", talk, *arguments)
    assert result.exit_code == 0, result.stderr
    created = events_of(result.stdout)[0]
    assert isinstance(created, SessionCreated)
    assert created.session.models.emotion == "tiny"
    found = finals(result.stdout)
    assert len(found) == 2
    for event in found:
        emotion = event.emotion
        assert (emotion.model, emotion.modalities) == ("tiny", ("audio",))
        assert sum(emotion.scores.values()) == pytest.approx(1, abs=1e-3)
        assert isinstance(emotion.dimensions.valence, float)
        assert isinstance(emotion.dimensions.arousal, float)
        assert set(emotion.evidence) == {*FUSED_EVIDENCE, *TEMPO}
    assert finals(run("analyze", talk, *arguments).stdout)[0].emotion == found[0].emotion


def test_listen_reads_emotion_with_a_trained_model(model: Path, tmp_path: Path) -> None:
    """While the sound is played, deltas included."""
    short = write(tmp_path / "short.wav", spoken(2.5))
    result = run("listen", "--file", short, "--json", "--asr", "none", "--model", model)
    assert result.exit_code == 0, result.stderr
    events = events_of(result.stdout)
    judged = [event for event in events if hasattr(event, "emotion")]
    assert len(judged) > len(finals(result.stdout)) >= 1
    assert {event.emotion.model for event in judged} == {"tiny"}


def test_a_row_of_csv_names_the_model(model: Path, talk: Path) -> None:
    """And has a valence without any words, which the rules have not."""
    result = run("analyze", talk, "--asr", "none", "--format", "csv", "--model", model)
    for row in csv.DictReader(io.StringIO(result.stdout)):
        assert (row["model"], row["modalities"]) == ("tiny", "audio")
        assert -1 <= float(row["valence"]) <= 1
        assert row["dominance"] == ""


def test_the_model_is_a_setting_like_any_other(
    model: Path, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, dotted key and environment are the same, and the flag wins."""
    monkeypatch.setenv("STREAMSER_EMOTION_MODEL", str(model))
    result = run("analyze", talk, "--asr", "none", "--format", "jsonl")
    assert {event.emotion.model for event in finals(result.stdout)} == {"tiny"}
    result = run("analyze", talk, "--asr", "none", "--format", "jsonl", "--model", "rules")
    assert {event.emotion.model for event in finals(result.stdout)} == {"rules"}
    shown = run("config", "show", "--json", "--model", "rules").stdout
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(shown)}
    assert rows["emotion.model"] == ("rules", "flag")
    assert shown == run("config", "show", "--json", "--set", "emotion.model=rules").stdout


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_checkpoint_costs_one_line(talk: Path, tmp_path: Path, fault: str) -> None:
    """Told once for all files, with the file and what is wrong in it."""
    directory = tiny_checkpoint(tmp_path / "tiny")
    SPOILT[fault].spoil(directory)
    result = run("analyze", talk, talk, "--asr", "none", "--model", directory)
    refuses(result, 1, str(directory), *SPOILT[fault].parts)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--model", "rulez"], 2, ("'rulez'", "there are rules")),
        (["--model", "/absent/models/mine"], 2, ("/absent/models/mine", "there are rules")),
        (["--model", "nobody-here/none", "--offline"], 1, ("nobody-here/none", "switched off")),
        (["--model", ""], 2, ("emotion.model",)),
        (["--set", "emotion.device=tpu"], 2, ("emotion.device", "auto, cpu, cuda")),
        (["--set", "emotion.precision=int4"], 2, ("emotion.precision", "bfloat16")),
        (["--set", "emotion.threads=-1"], 2, ("emotion.threads", ">= 0")),
        (["--set", "emotion.threads=100000"], 2, ("emotion.threads", "<= 1024")),
    ],
)
def test_a_wish_that_cannot_be_met_costs_one_line(
    talk: Path, arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    """With what can be had instead."""
    refuses(run("analyze", talk, "--asr", "none", *arguments), code, *parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_that_is_not_there_costs_one_line(model: Path, talk: Path) -> None:
    """Where it was asked for by name."""
    asked = ["--model", str(model), "--set", "emotion.device=cuda"]
    refuses(run("analyze", talk, "--asr", "none", *asked), 1, "torch finds no CUDA device")


def test_a_model_of_words_alone_needs_words(talk: Path, tmp_path: Path) -> None:
    """Else it would be unsure of everything, and nobody knew why."""
    where = tiny_checkpoint(tmp_path / "reader", replace(TINY, acoustic=None))
    result = run("analyze", talk, "--asr", "none", "--model", where)
    refuses(result, 2, "reader reads words alone", "asr.engine")
    assert result.stdout == ""


WITHOUT_TORCH = """
import sys, importlib.abc
class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
from streamser.cli.main import main
main()
"""


def test_without_torch_people_are_told_what_to_install(model: Path, talk: Path) -> None:
    """The rules go on working."""
    arguments = ["analyze", str(talk), "--asr", "none", "--format", "jsonl", "--model"]
    for name, code in ((str(model), 1), ("superb-hubert-base", 1), ("rules", 0)):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *arguments, name],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert bool(finals(done.stdout)) == (code == 0)
        told = done.stderr.splitlines()
        lines = [line for line in told if not line.startswith("loading ")]
        assert len(lines) == code
        assert all("pip install 'streamser[torch]'" in line for line in lines)


def test_the_doctor_tries_the_model_that_is_set_up(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beside those that come with the program; a broken one is told as broken."""
    from streamser.cli.doctor import Check, run_checks

    def emotions() -> dict[str, Check]:
        return {check.name: check for check in run_checks() if check.group == "emotion"}

    for name in ("_torch", "_cuda", "_portaudio", "_vad", "_recognisers", "_speed"):
        monkeypatch.setattr(f"streamser.cli.doctor.{name}", lambda group, name: iter(()))
    assert set(emotions()) == {"rules", "compact"}
    monkeypatch.setenv("STREAMSER_EMOTION_MODEL", str(model))
    assert emotions()["tiny"].found == "reads audio, text"
    monkeypatch.setenv("STREAMSER_EMOTION_MODEL", str(tmp_path))
    broken = emotions()["emotion.model"]
    assert broken.status == "broken"
    assert "lacks config.json" in broken.found


def test_the_doctor_asks_a_model_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads, one that is away, and what is no address: a line each that says so."""
    from streamser.cli.doctor import Check, run_checks

    for name in ("_torch", "_cuda", "_portaudio", "_vad", "_recognisers", "_speed"):
        monkeypatch.setattr(f"streamser.cli.doctor.{name}", lambda group, name: iter(()))

    def told(url: str) -> Check:
        monkeypatch.setenv("STREAMSER_EMOTION_REMOTE", url)
        return next(check for check in run_checks() if check.name == "emotion.remote")

    with deployed() as there:
        well = told(there.url)
        there.does = lambda body: there.well(body) if body is None else (500, b"out of memory")
        broken = told(there.url)
    away = told("http://127.0.0.1:9/")
    assert (well.status, broken.status, away.status) == ("works", "absent", "absent")
    assert well.found.startswith("big reads audio, ")
    assert "is away (it answers 500: out of memory)" in broken.found
    assert away.found == "http://127.0.0.1:9/ is away (Connection refused)"
    assert away.advice == "until it answers compact reads here"
    assert told("gpu:8000").status == "broken"


def test_the_protocol_document_explains_the_evidence_of_trained_models() -> None:
    """Every key with its unit."""
    document = protocol_document()
    for key, (unit, meaning) in FUSED_EVIDENCE.items():
        assert f"| `{key}` | {unit} | {meaning} |" in document
