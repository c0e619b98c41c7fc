from __future__ import annotations

import math

import numpy as np
import pytest

from streamser.emotion.fused.config import HeadsConfig
from streamser.training.batches import class_weights, labels_of, targets_of
from streamser.training.manifest import Item

NAN = math.nan


def _item(votes: tuple[float, ...] | None, dimensions: tuple[float, ...] = (0.1, 0.2, 0.3)) -> Item:
    return Item(id="1", corpus="c", speaker="s", votes=votes, dimensions=dimensions)


def test_columns_are_picked_by_name() -> None:
    """Whatever order a model's heads have; items are in the taxonomy's."""
    heads = HeadsConfig(categories=("angry", "neutral"), dimensions=("dominance", "valence"))
    labels = labels_of([_item((0.2, 0.0, 0.0, 0.8))], heads)
    assert labels.votes.tolist() == [[0.8, 0.2]]
    assert labels.truth.tolist() == [[0.3, 0.1]]


def test_shares_are_brought_to_the_categories_that_a_model_has() -> None:
    """None are left where nobody heard one of them."""
    heads = HeadsConfig(categories=("happy", "sad"), dimensions=())
    labels = labels_of([_item((0.5, 0.375, 0.125, 0.0)), _item((1.0, 0, 0, 0))], heads)
    assert labels.votes[0].tolist() == [0.75, 0.25]
    assert np.isnan(labels.votes[1]).all()
    assert labels.truth.shape == (2, 0)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ((0.6, 0.4, 0.0, 0.0), [1.0, 0.0, 0.0, 0.0]),
        ((0.5, 0.5, 0.0, 0.0), [NAN] * 4),
        (None, [NAN] * 4),
    ],
)
def test_a_hard_label_is_the_category_with_most_votes(
    votes: tuple[float, ...] | None, expected: list[float]
) -> None:
    """None without votes or at a draw."""
    found = labels_of([_item(votes)], HeadsConfig(), "hard").votes[0]
    assert found.tolist() == pytest.approx(expected, nan_ok=True)


def test_a_hard_label_that_a_model_lacks_is_none() -> None:
    """The second choice of the raters does not stand in."""
    heads = HeadsConfig(categories=("happy", "sad"))
    assert np.isnan(labels_of([_item((0.6, 0.4, 0, 0))], heads, "hard").votes).all()


def test_missing_labels_are_marked() -> None:
    """Each dimension by itself."""
    items = [_item(None, (NAN, 0.5, NAN)), _item((1, 0, 0, 0))]
    targets = targets_of(labels_of(items, HeadsConfig()))
    assert targets.has_votes.tolist() == [False, True]
    assert targets.has_truth.tolist() == [[False, True], [True, True]]
    assert targets.votes.isfinite().all()
    assert targets.truth.isfinite().all()


def test_a_model_without_categories_has_no_labels_for_them() -> None:
    """Nor columns."""
    targets = targets_of(labels_of([_item((1, 0, 0, 0))], HeadsConfig(categories=())))
    assert targets.votes.shape == (1, 0)
    assert targets.has_votes.tolist() == [False]


def test_rare_categories_weigh_more() -> None:
    """All count alike in sum; one that never occurs weighs 1."""
    items = [_item((1, 0, 0, 0))] * 6 + [_item((0, 1, 0, 0))] * 2 + [_item((0, 0, 0.5, 0.5))] * 4
    assert class_weights(targets_of(labels_of(items, HeadsConfig()))) == [0.5, 1.5, 1.5, 1.5]
    assert class_weights(targets_of(labels_of(items[:6], HeadsConfig()))) == [0.25, 1.0, 1.0, 1.0]
