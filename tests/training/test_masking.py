from __future__ import annotations

import numpy as np
import pytest
import torch

from streamser.emotion.fused.compact_encoders import CompactAcoustic, CompactText, train_word_pieces
from streamser.emotion.fused.config import CompactAcousticConfig, CompactTextConfig
from streamser.emotion.fused.network import FusedModel
from streamser.training.batches import frozen, hide, masked_modality, probability
from streamser.training.settings import MaskingSettings
from tests.training.tiny import model_config

PAPER = MaskingSettings(mode="epoch")


def _model() -> FusedModel:
    config = model_config()
    assert isinstance(config.acoustic, CompactAcousticConfig)
    assert isinstance(config.text, CompactTextConfig)
    words = train_word_pieces(["some words"], 64)
    return FusedModel(config, CompactAcoustic(config.acoustic), CompactText(config.text, words))


def test_the_probability_falls_along_a_cosine() -> None:
    """From .8, and to zero below .1: in a training of 20 epochs from the 17th on."""
    found = [probability(PAPER, epoch, 20) for epoch in range(20)]
    assert found[0] == 0.8
    assert found[10] == pytest.approx(0.4)
    assert found[15] == pytest.approx(0.11716, abs=1e-5)
    assert found[16:] == [0.0] * 4
    assert found == sorted(found, reverse=True)


def test_without_the_cosine_it_stays() -> None:
    """And without masking there is none."""
    assert probability(MaskingSettings(mode="item", cosine=False), 19, 20) == 0.8
    assert probability(MaskingSettings(), 0, 20) == 0.0


def test_epochs_are_masked_as_often_as_the_paper_says() -> None:
    """Over many seeds: .8 of the first epochs, six in ten of those without the text."""
    drawn = [masked_modality(PAPER, seed=seed, epoch=0, epochs=20) for seed in range(2000)]
    assert sum(one is not None for one in drawn) / 2000 == pytest.approx(0.8, abs=0.03)
    assert drawn.count("text") / (2000 - drawn.count(None)) == pytest.approx(0.6, abs=0.04)


def test_a_draw_follows_from_seed_and_epoch_alone() -> None:
    """So a training that goes on after a stop masks the same epochs."""
    masks = [
        [masked_modality(PAPER, seed=s, epoch=e, epochs=20) for e in range(20)] for s in (3, 3, 4)
    ]
    assert masks[0] == masks[1] != masks[2]


def test_a_masked_modality_is_hidden_from_all_that_have_both() -> None:
    """Items of one modality keep it."""
    audio, text = np.array([True, True, False, False]), np.array([True, False, True, False])
    kept = hide(audio, text, masked="audio", rng=np.random.default_rng(0))
    assert kept.audio.tolist() == [False, True, False, False]
    assert kept.text.tolist() == text.tolist()


def test_items_lose_one_modality_each_for_itself() -> None:
    """Never both, and never the only one."""
    rng = np.random.default_rng(0)
    both = np.ones(4000, dtype=bool)
    kept = hide(both, both, likely=0.5, text_share=0.6, rng=rng)
    assert (kept.audio | kept.text).all()
    assert (~kept.audio).mean() == pytest.approx(0.2, abs=0.02)
    assert (~kept.text).mean() == pytest.approx(0.3, abs=0.02)
    alone = hide(both, ~both, likely=1.0, rng=rng)
    assert alone.audio.all()


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_the_branch_of_a_masked_modality_learns_nothing_meanwhile(modality: str) -> None:
    """What was frozen before it stays so, the rest learns again afterwards."""
    assert modality in ("audio", "text")
    model = _model()
    branch = list(model.branch_parameters(modality))  # type: ignore[arg-type]
    branch[0].requires_grad_(False)
    inside = {id(parameter) for parameter in branch}
    with frozen(model, modality):  # type: ignore[arg-type]
        for parameter in model.parameters():
            assert parameter.requires_grad == (id(parameter) not in inside)
    assert [parameter.requires_grad for parameter in branch] == [False] + [True] * (len(branch) - 1)


def test_a_frozen_branch_keeps_its_weights_in_a_step() -> None:
    """With momentum from before, and weight decay."""
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = [parameter.clone() for parameter in model.branch_parameters("text")]
    with frozen(model, "text"):
        optimizer.step()
    after = list(model.branch_parameters("text"))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_no_masking_freezes_nothing() -> None:
    """Most epochs are like this."""
    model = _model()
    with frozen(model, None):
        assert all(parameter.requires_grad for parameter in model.parameters())
