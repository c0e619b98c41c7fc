"""Words as ONNX: the same answers within the rounding, alone and among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.tools.compact.tiny_words import PIECES, TEXTS, tiny_words
from tools.compact.export_words import (
    encoded,
    export_words,
    neighbour_gap,
    open_words,
    quantised,
    rounding_gap,
    time_words,
)
from tools.compact.word_encoder import Words, prepare_words

_MANY = [*PIECES, *(f"word{number}" for number in range(600))]
"""So many that the table of pieces is large enough to be rounded."""


@pytest.fixture(scope="module")
def words() -> Words:
    """Build a tiny model."""
    return tiny_words(_MANY)


@pytest.fixture(scope="module")
def path(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export it."""
    found = tmp_path_factory.mktemp("words") / "words.onnx"
    export_words(words.model.encoder, found)
    return found


@pytest.fixture(scope="module")
def session(path: Path) -> onnxruntime.InferenceSession:
    """Open it."""
    return open_words(path)


def test_answers_stay_within_the_rounding(
    session: onnxruntime.InferenceSession, words: Words
) -> None:
    """Vectors differ by little from those of the unrounded weights, zeros at padding."""
    ids, mask = prepare_words(words.tokenizer, TEXTS)
    found = encoded(session, ids, mask)
    assert found.shape == (*ids.shape, 32)
    assert found.dtype == torch.float32
    assert not found[~mask].any()
    assert 0 < rounding_gap(session, words, TEXTS) < 0.05


def test_neighbours_change_nothing(session: onnxruntime.InferenceSession, words: Words) -> None:
    """A text gets the same vectors alone and in a padded batch, to 1e-5."""
    assert neighbour_gap(session, words, [*TEXTS, "a", "happy " * 15]) < 1e-5


def test_any_length_is_encoded(session: onnxruntime.InferenceSession, words: Words) -> None:
    """From one word piece up to all positions, one text or several."""
    for batch, length in ((1, 1), (3, 2), (2, words.model.encoder.config.positions)):
        ids = torch.ones(batch, length, dtype=torch.int64)
        assert encoded(session, ids, ids > 0).shape == (batch, length, 32)


def test_the_large_matrices_are_int8(path: Path) -> None:
    """The table of pieces is stored in bytes; what is rounded is not stored a second time."""
    stored = {each.name: each for each in onnx.load(path).graph.initializer}
    table = len(_MANY) * 32
    sizes = {name: int(np.prod(each.dims)) for name, each in stored.items()}
    kinds = [each.data_type for name, each in stored.items() if sizes[name] == table]
    assert kinds == [onnx.TensorProto.INT8]
    assert path.stat().st_size < 1.3 * (table + 4 * 2 * 12 * 32 * 32)


def test_rounding_keeps_each_row_or_column_on_its_own() -> None:
    """No value is off by more than half a step of its own row or column; zeros stay zero."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(8, 6)) * np.logspace(-4, 2, 6)).astype(np.float32)
    weights[:, 2] = 0
    for axis, matrix in ((1, weights), (0, weights.T)):
        found = quantised(matrix, axis)
        assert found.values.dtype == np.int8
        assert found.scale.size == 6
        off = np.abs(found.values * found.scale - matrix)
        assert (off <= 0.5001 * found.scale).all()
    assert not quantised(weights, 1).values[:, 2].any()


def test_a_time_is_measured(session: onnxruntime.InferenceSession) -> None:
    """It is positive and finite."""
    assert 0 < time_words(session, pieces=4, runs=3) < 1000


def test_export_leaves_the_model_as_it_was(words: Words, tmp_path: Path) -> None:
    """Training mode and weights are untouched."""
    model = tiny_words().model.train()
    before = model.encoder.piece.weight.clone()
    export_words(model.encoder, tmp_path / "deep" / "words.onnx")
    assert model.encoder.training
    assert torch.equal(before, model.encoder.piece.weight)
