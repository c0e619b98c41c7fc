from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from streamser.emotion.calibration import (
    MODALITY_SETS,
    UNCALIBRATED,
    Calibration,
    MonotoneMap,
    calibration_of,
    is_unsure,
    map_dimensions,
    modality_set,
    probabilities,
    read_calibrations,
    write_calibrations,
)
from streamser.errors import ModelError

BENT = MonotoneMap((0.2, 0.4, 0.8), (0.1, 0.5, 0.6))


def test_probabilities_are_the_softmax_of_logits_over_the_temperature() -> None:
    """Written out for one row, and the same for any leading axes."""
    logits = np.array([[[1.0, 2.0, 4.0]]])
    expected = [math.exp(x / 2) / sum(math.exp(y / 2) for y in (1, 2, 4)) for x in (1, 2, 4)]
    found = probabilities(logits, Calibration(temperature=2.0))
    assert found.shape == (1, 1, 3)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-12)


def test_temperature_changes_confidence_and_never_the_order() -> None:
    """Hot is flat, cold is sharp."""
    logits = np.array([0.3, -1.0, 2.0, 0.2])
    cold, plain, hot = (probabilities(logits, Calibration(temperature=t)) for t in (0.1, 1.0, 10.0))
    assert cold.max() > plain.max() > hot.max() > 0.25
    assert all((row.argsort() == logits.argsort()).all() for row in (cold, plain, hot))


def test_huge_logits_give_probabilities_all_the_same() -> None:
    """Neither overflow nor nan."""
    found = probabilities(np.array([1e6, -1e6, 0.0]), Calibration(temperature=1e-3))
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_without_categories_there_are_no_probabilities() -> None:
    """And nothing to be sure of."""
    nothing = probabilities(np.zeros((3, 0)))
    assert nothing.shape == (3, 0)
    assert is_unsure(nothing).tolist() == [True] * 3


def test_a_dimension_goes_through_its_own_map_and_the_others_stay() -> None:
    """Linear between the points, the nearest end outside of them."""
    given = np.array([[0.0, 0.3, 0.3], [0.6, 0.6, 0.6], [1.0, 1.0, 1.0]])
    found = map_dimensions(
        given, ("valence", "arousal", "dominance"), Calibration(maps={"valence": BENT})
    )
    np.testing.assert_allclose(found[:, 0], [0.1, 0.55, 0.6])
    np.testing.assert_array_equal(found[:, 1:], given[:, 1:])
    assert given[0, 0] == 0.0


def test_a_reading_is_unsure_below_the_threshold_and_sure_at_it() -> None:
    """Uncalibrated ones always name their likeliest category."""
    scores = np.array([[0.5, 0.5], [0.4, 0.6]])
    assert is_unsure(scores, Calibration(unsure_below=0.6)).tolist() == [True, False]
    assert is_unsure(scores, UNCALIBRATED).tolist() == [False, False]


def test_each_set_of_modalities_has_its_name_and_its_calibration() -> None:
    """One that was not fitted changes nothing."""
    names = [modality_set(audio=a, text=t) for a, t in ((True, False), (False, True), (True, True))]
    assert tuple(names) == MODALITY_SETS
    assert modality_set(audio=False, text=False) == ""
    fitted = {"text": Calibration(temperature=3.0)}
    assert calibration_of(fitted, "text").temperature == 3.0
    assert calibration_of(fitted, "audio+text") is UNCALIBRATED


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ((0.0,), (0.0,), "two at least"),
        ((0.0, 1.0), (0.0, 0.5, 1.0), "as many"),
        ((0.5, 0.5), (0.0, 1.0), "must rise"),
        ((0.0, 1.0), (0.6, 0.5), "must not fall"),
        ((0.0, 1.5), (0.0, 1.0), "within"),
        ((0.0, 1.0), (0.0, math.nan), "within"),
    ],
)
def test_a_map_that_is_none_cannot_be_made(
    x: tuple[float, ...], y: tuple[float, ...], reason: str
) -> None:
    """A calibration must never turn more into less."""
    with pytest.raises(ValueError, match=reason):
        MonotoneMap(x, y)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_a_positive_number(temperature: float) -> None:
    """Nothing else divides logits."""
    with pytest.raises(ValueError, match="temperature"):
        Calibration(temperature=temperature)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """To the last bit."""
    path = tmp_path / "calibration.json"
    given = {
        "text": Calibration(temperature=1 / 3, unsure_below=0.1, fitted_on="five speakers"),
        "audio+text": Calibration(maps={"arousal": BENT}),
    }
    write_calibrations(path, given)
    assert read_calibrations(path) == given


def test_without_a_file_nothing_is_calibrated(tmp_path: Path) -> None:
    """A checkpoint may come straight from training."""
    assert read_calibrations(tmp_path / "calibration.json") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no calibration"),
        ("[]", "holds no calibration"),
        ('{"audio": {"temperature": "hot"}}', "temperature"),
        ('{"audio": {"temperature": NaN}}', "holds no calibration"),
        ('{"audio": {"temperature": 1e999}}', "holds no calibration"),
        ('{"audio": {"unsure_below": -0.5}}', "unsure_below"),
        ('{"audio": {"colour": 1}}', "colour"),
        ('{"text+audio": {}}', "there are audio, text, audio"),
        ('{"text": {"maps": {"tension": {"x": [0, 1], "y": [0, 1]}}}}', "tension"),
    ],
)
def test_a_file_of_anything_else_is_refused_in_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    """That names it."""
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=reason) as caught:
        read_calibrations(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_set_of_modalities_is_not_written(tmp_path: Path) -> None:
    """It could not be read again."""
    with pytest.raises(ValueError, match="smell"):
        write_calibrations(tmp_path / "calibration.json", {"smell": UNCALIBRATED})
    assert not list(tmp_path.iterdir())
