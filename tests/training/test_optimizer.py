from __future__ import annotations

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from streamser.emotion.fused.build import build_model
from streamser.training.learner import build_optimizer, rate_at, set_rate
from streamser.training.settings import OptimizerSettings
from tests.training import tiny


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("constant", 1.0, 1.0), ("linear", 0.5, 0.0), ("cosine", 0.5, 0.0)],
)
def test_the_rate_rises_then_falls(schedule: str, middle: float, last: float) -> None:
    """In a line over the warm-up, then as the schedule says."""
    settings = OptimizerSettings(warmup=0.2, schedule=schedule)  # type: ignore[arg-type]
    shares = [rate_at(settings, step, 1000) for step in range(1001)]
    assert shares[0] == pytest.approx(1 / 201)
    assert shares[:200] == sorted(shares[:200])
    assert shares[200] == pytest.approx(1.0)
    assert shares[600] == pytest.approx(middle)
    assert shares[1000] == pytest.approx(last)


def test_without_warm_up_the_first_step_is_a_whole_one() -> None:
    """As in the paper."""
    assert rate_at(OptimizerSettings(), 0, 100) == 1.0


def test_each_weight_learns_once_and_only_matrices_decay(tmp_path: Path) -> None:
    """Compact encoders are new: they have the heads' rate."""
    model = build_model(tiny.model_config(), texts=["a few words"])
    next(iter(model.parameters())).requires_grad_(False)
    settings = OptimizerSettings(
        kind="adamw", learning_rate=1e-5, head_learning_rate=1e-3, weight_decay=0.1
    )
    optimizer = build_optimizer(settings, model)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    for group in optimizer.param_groups:
        assert group["lr"] == 1e-3
        assert all((p.ndim >= 2) == (group["weight_decay"] > 0) for p in group["params"])
    assert set_rate(optimizer, 0.5) == 5e-4
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4}


def test_pretrained_encoders_learn_at_their_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule moves both."""
    model = build_model(tiny.model_config(), texts=["a few words"])
    encoder = model.acoustic
    assert encoder is not None
    monkeypatch.setattr(model, "encoder_parameters", encoder.parameters)
    settings = OptimizerSettings(learning_rate=1e-5, head_learning_rate=1e-3)
    optimizer = build_optimizer(settings, model)
    assert set_rate(optimizer, 0.5) == 5e-4
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    inside = {id(parameter) for parameter in encoder.parameters()}
    for parameter in model.parameters():
        assert rates[id(parameter)] == (5e-6 if id(parameter) in inside else 5e-4)
    alone = build_optimizer(OptimizerSettings(learning_rate=1e-5), model)
    assert {group["lr"] for group in alone.param_groups} == {1e-5}


def test_adam_and_adamw_are_told_apart() -> None:
    """The paper's is Adam."""
    model = build_model(replace(tiny.model_config(), text=None))
    assert type(build_optimizer(OptimizerSettings(), model)) is torch.optim.Adam
    adamw = OptimizerSettings(kind="adamw")
    assert type(build_optimizer(adamw, model)) is torch.optim.AdamW
