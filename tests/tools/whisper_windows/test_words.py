"""The table of windows, with a model that says one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.speech.whisper import WhisperOptions
from tests.scripted_whisper import build_scripted_whisper
from tools.whisper_windows import words
from tools.whisper_windows.__main__ import main
from tools.whisper_windows.material import Said
from tools.whisper_windows.trial import TrialWhisper, Way, hear, is_loop

SENTENCE = "so it is said"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model that says one sentence."""
    return build_scripted_whisper(tmp_path_factory.mktemp("windows") / "tiny.en", SENTENCE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder of recordings with one clip."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "speech").mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal(24_000)
    soundfile.write(folder / "speech" / "a.wav", noise, 16_000)
    (folder / "speech" / "labels.csv").write_text(f"path,text\na.wav,{SENTENCE} again\n")
    return folder


def test_more_words_than_can_be_said_are_a_loop() -> None:
    """Or half again what was."""
    said = Said(np.zeros(16_000, np.float32), ("a",), "en")
    assert not is_loop(said, ["a"] * 4)
    assert is_loop(said, ["a"] * 5)
    unknown = Said(np.zeros(16_000, np.float32), (), "en")
    assert not is_loop(unknown, ["a"] * 9)
    assert is_loop(unknown, ["a"] * 10)


def test_every_way_gives_the_decoder_the_window_that_it_says(model: Path) -> None:
    """And counts what is wrong of what was heard."""
    whisper = TrialWhisper(WhisperOptions(model=str(model), device="cpu", threads=1))
    features = np.zeros((80, 200), np.float32)
    steps = {
        Way(None): 1500,
        Way(1.0): 152,
        Way(1.0, "behind"): 1500,
        Way(1.0, "behind, the last 4 s"): 352,
        Way(1.0, "behind, every 4th"): 152 + 337,
        Way(1.0, "in every layer"): 1500,
    }
    for way, length in steps.items():
        whisper.way = way
        assert len(whisper._window(features)) == length
    said = Said(np.full(16_000, 0.1, np.float32), tuple(SENTENCE.split()), "en")
    outcome = hear(whisper, Way(1.0, "behind"), [said, said], [said.words, ("so", "be", "it")])
    assert (outcome.words, outcome.errors, outcome.loops) == (7, 3, 0)


def test_the_table_has_a_row_a_way_and_goes_where_its_marks_are(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands around it stays."""
    monkeypatch.setattr(words, "WAYS", (Way(None), Way(1.0, "behind")))
    document = tmp_path / "windows.md"
    document.write_text("before\n<!-- words tiny.en -->\nold\n<!-- end of words tiny.en -->\nafter")
    asked = ["words", "--data", str(data), "--model", str(model), "--sets", "en,de"]
    main([*asked, "--write", str(document)])
    written = document.read_text()
    assert written.startswith("before")
    assert written.endswith("after")
    assert "old" not in written
    assert "| encoded behind it | remembered | en | partials | encoder |" in written
    assert "| 1 s | behind | .200 | .000 |" in written
    main([*asked, "--keep", str(tmp_path / "kept.json"), "--write", str(document)])
    monkeypatch.setattr(words, "hear", None)
    main([*asked, "--keep", str(tmp_path / "kept.json")])
    assert "| 1 s | behind | .200 | .000 |" in document.read_text()


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [(["--sets", "fr"], "unknown set 'fr'"), (["--data", "nowhere"], "not all in nowhere")],
)
def test_what_cannot_be_measured_is_one_line(
    model: Path,
    data: Path,
    asked: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And no traceback."""
    with pytest.raises(SystemExit) as caught:
        main(["words", "--data", str(data), "--model", str(model), *asked])
    assert complaint in f"{caught.value}{capsys.readouterr().err}"
