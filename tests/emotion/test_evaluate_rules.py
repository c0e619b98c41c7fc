"""The evaluation script: its figures on cases that can be counted by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from streamser.emotion.model import Prediction
from streamser.taxonomy import CATEGORIES, Dimensions

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate_rules.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Load the script as a module; scripts/ is no package."""
    spec = importlib.util.spec_from_file_location("evaluate_rules", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_counted_over_the_four_categories(script: ModuleType) -> None:
    """Two of three neutral clips and the only angry one right: UAR 5/6, WAR 3/4."""

    def judged(emotion: str, guess: str, arousal: float) -> object:
        scores = {name: 0.7 if name == guess else 0.1 for name in CATEGORIES}
        found = Prediction(guess, 0.7, scores, Dimensions(arousal=arousal), 0.6, ("audio",))
        return script.Judged(0, emotion, found)

    table = script.summarise(
        [
            judged("neutral", "neutral", -0.1),
            judged("calm", "neutral", -0.2),
            judged("neutral", "sad", 0.1),
            judged("anger", "angry", 0.9),
            judged("disgust", "happy", 0.0),
        ]
    )
    assert table["utterances"] == 4
    assert table["UAR"] == pytest.approx(5 / 6)
    assert table["WAR"] == pytest.approx(3 / 4)
    assert table["ECE"] == pytest.approx(0.05)
    assert table["arousal high/low"] == pytest.approx(5 / 6)


def test_calibration_error_is_the_gap_between_confidence_and_success(script: ModuleType) -> None:
    """Confidence .8 with half of it right is .3 off."""
    found = script.calibration_error(np.full(4, 0.8), np.array([True, True, False, False]))
    assert found == pytest.approx(0.3)


def test_a_folder_without_corpora_is_refused_in_one_line(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what is missing and returns 2."""
    assert script.main(["--data", str(tmp_path)]) == 2
    assert "lacks emodb, ravdess_eval, text" in capsys.readouterr().err
