"""Teaching an encoder of random weights to do without the silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.speech.whisper import WhisperOptions
from streamser.speech.whisper_encoder import pad, read_encoder
from tests.scripted_whisper import build_babbling_whisper
from tests.tools.whisper_windows.test_lessons import write_recordings
from tools.whisper_windows import distil
from tools.whisper_windows.__main__ import main
from tools.whisper_windows.distil import (
    Encoder,
    Lesson,
    Settings,
    TaughtWhisper,
    learn,
    lessons,
)
from tools.whisper_windows.lessons import read_clips, utterance
from tools.whisper_windows.trial import Way


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a Whisper of random weights."""
    return build_babbling_whisper(tmp_path_factory.mktemp("distil") / "tiny.en")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the recordings to learn from, and one to hear."""
    folder = write_recordings(tmp_path_factory.mktemp("data"))
    (folder / "speech").mkdir()
    (folder / "speech" / "labels.csv").write_text("path,text\n../emodb/15.wav,ba da\n")
    return folder


def new_encoder(model: Path) -> Encoder:
    """Load the encoder with adapters that do nothing yet."""
    import torch

    torch.manual_seed(0)
    return Encoder(read_encoder(model / "model.bin"), rank=4)


def errors(encoder: Encoder, told: list[Lesson]) -> Any:
    """Return the mean squared error of every lesson in a short window."""
    return [
        np.square(encoder.encode(pad(lesson.features, 128)) - lesson.encoded[:64]).mean()
        for lesson in told
    ]


def test_the_teacher_is_the_published_encoder(model: Path) -> None:
    """And so is the student before the first lesson."""
    import ctranslate2

    features = np.random.default_rng(0).standard_normal((80, 200)).astype(np.float32)
    encoder = new_encoder(model)
    whisper = ctranslate2.models.Whisper(str(model), compute_type="float32", intra_threads=1)
    theirs = whisper.encode(ctranslate2.StorageView.from_array(features[None]))
    for taught in (False, True):
        ours = encoder.encode(features, taught)
        np.testing.assert_allclose(ours, np.array(theirs)[0], atol=0.01)


def test_lessons_are_made_once(model: Path, data: Path, tmp_path: Path) -> None:
    """They are what the full window gives, a second beyond the utterance."""
    encoder = new_encoder(model)
    (told,) = lessons(encoder, data, "train", 1, 0, tmp_path)
    features = utterance(read_clips(data, "train"), np.random.default_rng([0, 0]))
    np.testing.assert_array_equal(told.features, features)
    full = encoder.encode(pad(features, 3000), taught=False)
    assert 0 <= 2 * len(told.encoded) - features.shape[1] - 100 < 8
    np.testing.assert_allclose(told.encoded, full[: len(told.encoded)], atol=0.01)
    (again,) = lessons(encoder, tmp_path / "nowhere", "train", 1, 0, tmp_path)
    np.testing.assert_array_equal(again.encoded, told.encoded)


def test_what_is_learnt_is_the_same_when_it_was_stopped(model: Path, tmp_path: Path) -> None:
    """After one epoch of two; and it brings the student nearer to the teacher."""
    rng = np.random.default_rng(0)
    teacher = new_encoder(model)
    told = []
    for _ in range(6):
        features = rng.uniform(-0.5, 1.5, (80, 64)).astype(np.float32)
        told.append(Lesson(features, teacher.encode(pad(features, 3000), taught=False)[:84]))
    asked = Settings(utterances=6, epochs=8, rank=4, rate=0.01)
    through = new_encoder(model)
    before = errors(through, told)
    learn(through, told, told, asked, tmp_path / "through.pt")
    assert np.mean(errors(through, told)) < 0.8 * np.mean(before)

    class StopError(Exception):
        """Stand for a machine that was switched off."""

    def noted(text: str) -> None:
        if text.startswith("epoch 3"):
            raise StopError

    stopped = tmp_path / "stopped.pt"
    with pytest.raises(StopError):
        learn(new_encoder(model), told, told, asked, stopped, noted)
    resumed = new_encoder(model)
    learn(resumed, told, told, asked, stopped)
    np.testing.assert_allclose(errors(resumed, told), errors(through, told), rtol=1e-4)


def test_the_student_hears_in_its_own_ways(model: Path) -> None:
    """With nothing behind, or with silence to the end of the window; a perfect one is cut off."""
    whisper = TaughtWhisper(WhisperOptions(model=str(model), device="cpu"), new_encoder(model))
    features = np.random.default_rng(0).uniform(-0.5, 1.5, (80, 100)).astype(np.float32)
    found = {}
    for kept in (
        "taught: nothing",
        "taught: behind",
        "taught perfectly: nothing",
        "taught perfectly: behind",
        "nothing",
    ):
        whisper.way = Way(1.0, kept)
        found[kept] = whisper._window(features)
    assert [len(each) for each in found.values()] == [100, 1500, 100, 1500, 100]
    np.testing.assert_array_equal(found["taught: behind"][:100], found["taught: nothing"])
    whisper.way = Way(None)
    np.testing.assert_array_equal(
        found["taught perfectly: nothing"], whisper._window(features)[:100]
    )
    assert np.abs(found["taught perfectly: nothing"] - found["nothing"]).max() > 0.1


def test_the_table_tells_the_taught_from_the_untaught(
    model: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder in which another try was begun is left alone."""
    monkeypatch.setattr(distil, "_CHECKS", 2)
    asked = ["distil", "--data", str(data), "--model", str(model), "--sets", "en"]
    asked += ["--partials", "0", "--utterances", "2", "--work", str(tmp_path / "work")]
    main([*asked, "--epochs", "1"])
    written = capsys.readouterr().out
    for row in (
        "| up to 30 s | nothing |",
        "| 1 s | taught: nothing |",
        "| 1 s | taught perfectly: nothing |",
        "| 0.5 s | behind |",
    ):
        assert row in written
    assert "Taught with 2 utterances" in written
    with pytest.raises(SystemExit, match="holds another try"):
        main([*asked, "--epochs", "2"])
    with pytest.raises(SystemExit):
        main(asked[:-2])
    assert "give one with --work" in capsys.readouterr().err
