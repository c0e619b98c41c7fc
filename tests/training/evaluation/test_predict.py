from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamser.emotion.frontend import Sound
from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.config import HeadsConfig
from streamser.emotion.fused.network import FusedModel
from streamser.errors import AudioError
from streamser.training.evaluation.predictions import predict
from streamser.training.manifest import Item
from tests.training import tiny


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Write 9 tones with words."""
    return tiny.items(tmp_path, train=0, dev=9)


@pytest.fixture
def model(items: list[Item]) -> FusedModel:
    """Make a model that has learnt nothing, and answers each item otherwise."""
    torch.manual_seed(0)
    texts = [item.text or "" for item in items]
    return build_model(tiny.model_config(dropout=0.3), texts=texts)


def test_answers_come_in_the_order_of_the_items(model: FusedModel, items: list[Item]) -> None:
    """Whatever order they were computed in, alone or with others."""
    whole = predict(model, items, batch=4)
    assert whole.ids == tuple(item.id for item in items)
    for row, item in enumerate(items):
        alone = predict(model, [item])
        assert alone.logits[0] == pytest.approx(whole.logits[row], abs=1e-5)
        assert alone.dimensions[0] == pytest.approx(whole.dimensions[row], abs=1e-5)
    assert len(np.unique(whole.logits[:, 0].round(6))) == len(items)


def test_the_table_holds_the_labels_in_the_columns_of_the_heads(
    model: FusedModel, items: list[Item]
) -> None:
    """Shares of raters and ratings; nan where there are none."""
    items = [replace(items[0], votes=None, dimensions=(0.1, float("nan"), 0.3)), *items[1:]]
    found = predict(model, items)
    assert (found.categories, found.names) == (
        model.config.heads.categories,
        model.config.heads.dimensions,
    )
    assert found.labels.tolist() == [-1, 1, 2, 3, 0, 1, 2, 3, 0]
    assert found.truth[0].tolist() == pytest.approx([0.1, float("nan")], nan_ok=True)
    assert found.speakers[:2] == ("dev0", "dev1")


def test_a_modality_that_is_not_asked_for_changes_nothing(
    model: FusedModel, items: list[Item]
) -> None:
    """It is as if the items did not have it."""
    voice = predict(model, items, modalities=frozenset({"audio"}))
    assert (voice.logits == predict(model, tiny.without_text(items)).logits).all()
    assert (voice.logits != predict(model, items).logits).any(axis=1).all()
    other = [replace(item, text="other words") for item in items]
    assert (voice.logits == predict(model, other, modalities=frozenset({"audio"})).logits).all()


def test_recognised_words_are_read_where_asked_for(model: FusedModel, items: list[Item]) -> None:
    """And items without them are judged by their voice."""
    heard = [replace(items[0], text="x", text_asr=items[0].text), *items[1:]]
    found = predict(model, heard, text="asr")
    assert found.logits[0] == pytest.approx(predict(model, items).logits[0], abs=1e-5)
    voice = predict(model, items, modalities=frozenset({"audio"}))
    assert found.logits[1:] == pytest.approx(voice.logits[1:], abs=1e-5)


def test_an_item_with_nothing_gets_the_constant_answer(
    model: FusedModel, items: list[Item]
) -> None:
    """Not an error: evaluation counts it."""
    empty = [replace(item, audio=None, text=None) for item in items[:2]]
    found = predict(model, [*empty, items[0]])
    assert np.isfinite(found.logits).all()
    assert found.logits[0] == pytest.approx(found.logits[1], abs=1e-6)
    assert len(predict(model, [])) == 0


def test_spoiled_clips_do_not_depend_on_their_neighbours(
    model: FusedModel, items: list[Item]
) -> None:
    """Each item's draws follow from its id."""

    def add_noise(sound: Sound, rng: np.random.Generator) -> Sound:
        assert isinstance(sound, np.ndarray)
        noisy = sound + 0.5 * rng.standard_normal(len(sound))
        return noisy.astype(np.float32)

    whole = predict(model, items, degrade=add_noise)
    part = predict(model, items[4:6], degrade=add_noise)
    assert part.logits == pytest.approx(whole.logits[4:6], abs=1e-5)
    assert (np.abs(whole.logits - predict(model, items).logits) > 1e-4).any(axis=1).all()


def test_the_model_is_left_as_it_was(model: FusedModel, items: list[Item]) -> None:
    """Training goes on with dropout; what was read may be learnt from."""
    model.train()
    first, second = (predict(model, items).logits for _ in range(2))
    assert model.training
    assert (first == second).all()
    model.eval()
    predict(model, items)
    assert not model.training


def test_a_clip_that_cannot_be_read_is_named(model: FusedModel, items: list[Item]) -> None:
    """Who wants to leave it out asks beforehand."""
    gone = replace(items[0], audio=Path("gone.wav"))
    with pytest.raises(AudioError, match=r"gone\.wav does not exist"):
        predict(model, [*items, gone])


def test_answers_stand_in_the_columns_of_other_heads_too(items: list[Item]) -> None:
    """What a model does not tell has no label, and so no figure."""
    config = replace(tiny.model_config(), heads=HeadsConfig(dimensions=("arousal",)))
    model = build_model(config, texts=["a word"])
    told = predict(model, items)
    wide = told.over(HeadsConfig(dimensions=("valence", "arousal")))
    assert wide.names == ("valence", "arousal")
    assert np.isnan(wide.truth[:, 0]).all()
    assert np.isfinite(wide.dimensions).all()
    assert np.array_equal(wide.dimensions[:, 1], told.dimensions[:, 0])
    assert np.array_equal(wide.truth[:, 1], told.truth[:, 0])
    assert np.array_equal(wide.logits, told.logits)
    assert np.array_equal(wide.votes, told.votes)
    config = replace(config, heads=HeadsConfig(categories=(), dimensions=("arousal",)))
    silent = predict(build_model(config, texts=["a word"]), items).over(HeadsConfig())
    assert silent.logits.shape == (len(items), 4)
    assert (silent.labels == -1).all()
