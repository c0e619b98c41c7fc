from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from streamser.errors import ModelError
from streamser.training.checkpointing import (
    Progress,
    load_state,
    load_weights,
    save_state,
    save_weights,
)


class _Model(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 2)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.last(self.norm(self.first(values)))
        return found


def _trained() -> tuple[_Model, torch.optim.Optimizer]:
    model = _Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    # One layer has no gradient yet, as in an epoch that hides a modality.
    model.first(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    model.norm(torch.randn(5, 4))
    return model, optimizer


def test_a_state_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    """Weights, buffers, moments, progress: the next step is the same."""
    model, optimizer = _trained()
    progress = Progress(epoch=2, batch=3, step=11, lost=(0.1, 1 / 3), counted=(3.0, 2.0), best=1)
    save_state(tmp_path / "state", model, optimizer, progress)
    other = _Model()
    same = torch.optim.AdamW(other.parameters(), lr=0.1)
    assert load_state(tmp_path / "state", other, same) == progress
    sound = torch.randn(5, 3)
    for network, steps in ((model, optimizer), (other, same)):
        steps.zero_grad()
        network(sound).square().sum().backward()
        steps.step()
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_weights_that_do_not_learn_are_not_kept(tmp_path: Path) -> None:
    """A frozen encoder is where it came from."""
    model = _Model()
    model.first.requires_grad_(False)
    save_weights(tmp_path / "best", model)
    other = _Model()
    other.first.requires_grad_(False)
    before = other.first.weight.clone()
    load_weights(tmp_path / "best", other)
    assert torch.equal(other.first.weight, before)
    assert torch.equal(other.last.weight, model.last.weight)


@pytest.mark.parametrize("fault", ["cut", "empty", "gone", "pickle"])
def test_a_damaged_state_is_told_in_one_line(tmp_path: Path, fault: str) -> None:
    """With what to do about it; a pickle is never loaded."""
    model, optimizer = _trained()
    path = tmp_path / "state"
    save_state(path, model, optimizer, Progress())
    match fault:
        case "cut":
            path.write_bytes(path.read_bytes()[:200])
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
        case "pickle":
            torch.save(model.state_dict(), path)
    with pytest.raises(ModelError, match=r"state cannot be read.*--fresh") as caught:
        load_state(path, model, optimizer)
    assert "\n" not in str(caught.value)


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    """By names and by shapes; weights alone are no state."""
    model, optimizer = _trained()
    path = tmp_path / "state"
    save_state(path, nn.Linear(3, 4), optimizer, Progress())
    with pytest.raises(ModelError, match="another model"):
        load_state(path, model, optimizer)
    save_weights(path, _Model(width=5))
    with pytest.raises(ModelError, match="another model"):
        load_weights(path, model)
