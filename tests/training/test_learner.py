from __future__ import annotations

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.config import HeadsConfig
from streamser.training.batches import Inputs, TrainBatch, labels_of, targets_of
from streamser.training.learner import Learner, Loss, build_optimizer
from streamser.training.manifest import Item
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from tests.training import tiny


def _gradients(items: list[Item], settings: TrainSettings) -> dict[str, Tensor]:
    """Make one step from the same start and return the gradients that it left."""
    torch.manual_seed(0)
    texts = [item.text or "" for item in items]
    model = build_model(settings.model, texts=texts).double()
    heads = settings.model.heads
    learner = Learner(
        settings,
        model,
        build_optimizer(settings.optimizer, model),
        Loss(settings.loss, heads),
        steps=1,
        device=torch.device("cpu"),
    )
    prepared = Inputs(model, Sounds()).prepare(items, texts, hears=[True] * len(items))
    assert prepared.audio is not None
    audio = prepared.audio._replace(values=prepared.audio.values.double())
    batch = TrainBatch(prepared._replace(audio=audio), targets_of(labels_of(items, heads)))
    learner.step(batch, epoch=0, number=0, step=0)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize(
    "heads", [HeadsConfig(), HeadsConfig(dimensions=()), HeadsConfig(categories=())]
)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(
    tmp_path: Path, parts: int, heads: HeadsConfig
) -> None:
    """Of the CCC too, which is no sum over items; in float64, without dropout."""
    items = tiny.items(tmp_path, train=8, dev=0)
    # Labels that are missing here and there make the parts unlike.
    items[1] = replace(items[1], votes=None)
    items[6] = replace(items[6], dimensions=(float("nan"), 0.3, 0.1))
    settings = tiny.settings(dropout=0.0)
    settings = replace(settings, model=replace(settings.model, heads=heads))
    whole = _gradients(items, settings)
    cut = replace(settings, optimizer=replace(settings.optimizer, accumulate=parts))
    found = _gradients(items, cut)
    assert whole.keys() == found.keys()
    assert max(gradient.abs().max().item() for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        assert torch.allclose(found[name], gradient, rtol=0, atol=1e-10), name


def test_dropout_is_the_same_in_both_passes_of_a_part(tmp_path: Path) -> None:
    """Else the gradient would belong to other answers than the loss: two runs agree."""
    items = tiny.items(tmp_path, train=8, dev=0)
    settings = tiny.settings(dropout=0.3)
    cut = replace(settings, optimizer=replace(settings.optimizer, accumulate=2))
    first, second = (_gradients(items, cut) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_gradient_is_clipped_to_its_largest_norm(tmp_path: Path) -> None:
    """Over all weights together."""
    items = tiny.items(tmp_path, train=8, dev=0)
    settings = tiny.settings(dropout=0.0)
    tight = replace(settings, optimizer=replace(settings.optimizer, clip=1e-3))
    gradients = _gradients(items, tight).values()
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_half_precision_learns_nearly_the_same(tmp_path: Path) -> None:
    """Autocast to bfloat16 changes the arithmetic, not the direction."""
    items = tiny.items(tmp_path, train=8, dev=0)
    settings = tiny.settings(dropout=0.0)
    exact = torch.cat([g.flatten() for g in _gradients(items, settings).values()])
    half = replace(settings, run=replace(settings.run, precision="bfloat16"))
    coarse = torch.cat([g.flatten() for g in _gradients(items, half).values()])
    assert torch.nn.functional.cosine_similarity(exact, coarse, dim=0).item() > 0.99
