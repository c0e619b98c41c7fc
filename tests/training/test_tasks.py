"""A model never tells what nothing has taught it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from streamser.emotion.fused.checkpoint import load_checkpoint
from streamser.emotion.fused.model import load_fused
from streamser.emotion.model import Segment
from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, Dimensions
from streamser.training.evaluation.predictions import predict
from streamser.training.manifest import Item
from streamser.training.settings import LossSettings
from streamser.training.train import SILENT, taught, train
from tests.training import tiny
from tests.training.test_loop import Notes

NAN = math.nan


def rated(*ratings: tuple[float, float, float], voted: bool = True) -> list[Item]:
    """Return an utterance for each rating of valence, arousal and dominance."""
    votes = (1.0, 0.0, 0.0, 0.0) if voted else None
    return [
        Item(id=str(at), corpus="c", speaker="s", votes=votes, dimensions=each)
        for at, each in enumerate(ratings)
    ]


@pytest.mark.parametrize(
    ("items", "loss", "categories", "dimensions", "said"),
    [
        (
            rated((0.1, 0.2, NAN), (0.3, 0.4, NAN)),
            LossSettings(),
            True,
            ("valence", "arousal"),
            None,
        ),
        (rated((NAN, 0.2, NAN), (0.3, 0.4, NAN)), LossSettings(), True, ("arousal",), "valence"),
        (rated((0.3, 0.2, NAN), (0.3, 0.4, NAN)), LossSettings(), True, ("arousal",), "valence"),
        (rated((NAN, NAN, 0.1), (NAN, NAN, 0.5)), LossSettings(), True, (), "valence, arousal"),
        (
            rated((0.1, 0.2, NAN), (0.3, 0.4, NAN), voted=False),
            LossSettings(),
            False,
            ("valence", "arousal"),
            "categories",
        ),
        (
            rated((0.1, 0.2, NAN), (0.3, 0.4, NAN)),
            LossSettings(arousal=0.0),
            True,
            ("valence",),
            "arousal",
        ),
        (
            rated((0.1, 0.2, NAN), (0.3, 0.4, NAN)),
            LossSettings(category=0.0),
            False,
            ("valence", "arousal"),
            "categories",
        ),
    ],
)
def test_a_task_without_labels_or_weight_is_left_out_and_said(
    items: Sequence[Item],
    loss: LossSettings,
    categories: bool,
    dimensions: tuple[str, ...],
    said: str | None,
) -> None:
    """Two ratings that differ teach a dimension, any votes the categories."""
    notes = Notes()
    settings = replace(tiny.settings(), loss=loss)
    heads = taught(settings, items, notes).model.heads
    assert heads.categories == (CATEGORIES if categories else ())
    assert heads.dimensions == dimensions
    lines = [] if said is None else [f"nothing teaches {said} (no labels"]
    assert [line[: len(part)] for line, part in zip(notes.lines, lines, strict=True)] == lines


def test_items_that_teach_nothing_are_refused_in_one_line() -> None:
    """That says what would teach."""
    with pytest.raises(ConfigError, match="teach nothing that the model answers") as caught:
        taught(tiny.settings(), rated((NAN, NAN, 0.5), voted=False), SILENT)
    assert "\n" not in str(caught.value)


def test_a_model_trained_without_ratings_has_no_dimensions_for_good(tmp_path: Path) -> None:
    """In its checkpoint and live, on items that have ratings too; it goes on after a stop."""
    items = tiny.items(tmp_path, train=16, dev=8)
    unrated = [replace(item, dimensions=(NAN, NAN, NAN)) for item in items]
    settings, out = tiny.settings(epochs=1), tmp_path / "out"
    result = train(settings, unrated, out)
    assert train(settings, unrated, out).epochs == 1
    saved = load_checkpoint(result.directory)
    assert saved.model.config.heads.dimensions == ()
    assert "Dimensions, in [0, 1]: none" in saved.card
    assert predict(saved.model, items[:4]).dimensions.shape == (4, 0)
    live = load_fused(str(result.directory), device="cpu", precision="float32")
    (finding,) = live.extract([Segment(samples=tiny.voice("sad", 1), text="he is gone")])
    reading = live.new_speaker().predict(finding)
    assert reading.dimensions == Dimensions(None, None, None)
    assert sum(reading.scores.values()) == pytest.approx(1)
