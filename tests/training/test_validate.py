from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.fused.config import HeadsConfig
from streamser.errors import ConfigError, StreamserError
from streamser.training.batches import Labels, targets_of
from streamser.training.evaluation.metrics import ccc, uar
from streamser.training.evaluation.predictions import Predictions
from streamser.training.learner import Loss
from streamser.training.manifest import Item
from streamser.training.validation import Validator, judge
from tests.training import tiny

SETTINGS = tiny.settings()
HEADS = HeadsConfig()


def _answers() -> Predictions:
    """Make answers of 40 items that are right more often than not; some labels are missing."""
    rng = np.random.default_rng(0)
    votes = np.eye(4)[rng.integers(0, 4, 40)]
    votes[:3] = np.nan
    truth = rng.random((40, 2))
    truth[::4, 1] = np.nan
    guess = np.clip(np.nan_to_num(truth) + 0.3 * rng.standard_normal((40, 2)), 0.01, 0.99)
    names = tuple(str(number) for number in range(40))
    return Predictions(
        categories=HEADS.categories,
        names=HEADS.dimensions,
        ids=names,
        speakers=names,
        corpora=names,
        logits=np.nan_to_num(votes) + rng.standard_normal((40, 4)),
        dimensions=guess,
        votes=votes,
        truth=truth,
    )


@pytest.mark.parametrize("select", ["loss", "uar", "ccc", "score"])
def test_figures_are_over_all_items_at_once(select: str) -> None:
    """CCC is no mean of batches; the score is what was asked for."""
    answers = _answers()
    settings = replace(SETTINGS, run=replace(SETTINGS.run, select=select))
    targets = targets_of(Labels(answers.votes, answers.truth))
    figures = judge(answers, targets, Loss(settings.loss, HEADS), settings)
    assert figures.uar == uar(answers.labels, answers.logits.argmax(axis=1), 4)
    for column in range(2):
        expected = ccc(answers.truth[:, column], answers.dimensions[:, column])
        assert figures.ccc[column] == pytest.approx(expected)
        assert figures.tasks[1 + column] == pytest.approx(1 - expected, abs=1e-6)
    assert figures.loss == pytest.approx(sum(task or 0 for task in figures.tasks) / 3)
    agreement = [value or 0 for value in figures.ccc]
    expected_score = {
        "loss": -(figures.loss or 0),
        "uar": figures.uar,
        "ccc": sum(agreement) / 2,
        "score": (sum(agreement) + (figures.uar or 0)) / 3,
    }
    assert figures.score == pytest.approx(expected_score[select])


def test_answers_that_are_not_finite_end_the_training() -> None:
    """With a word on what to change."""
    answers = _answers()
    answers.logits[5, 1] = np.nan
    targets = targets_of(Labels(answers.votes, answers.truth))
    with pytest.raises(StreamserError, match="diverged"):
        judge(answers, targets, Loss(SETTINGS.loss, HEADS), SETTINGS)


@pytest.mark.parametrize(
    ("select", "item", "what"),
    [
        ("uar", Item(id="1", corpus="c", speaker="s", dimensions=(0.1, 0.2, 0.3)), "a category"),
        ("ccc", Item(id="1", corpus="c", speaker="s", votes=(1.0, 0, 0, 0)), "a rating"),
        ("loss", Item(id="1", corpus="c", speaker="s"), "any label"),
    ],
)
def test_labels_that_the_choice_of_the_epoch_needs_must_be_there(
    select: str, item: Item, what: str
) -> None:
    """Before hours of training, not after."""
    settings = replace(SETTINGS, run=replace(SETTINGS.run, select=select))
    with pytest.raises(ConfigError, match=f"run.select = {select}.*{what}"):
        Validator(settings, [item, item], Loss(settings.loss, HEADS))
