from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from streamser.emotion.loading import read_weights, write_weights
from streamser.errors import ModelError


class Tied(nn.Module):
    """Use one matrix twice, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.tensor(5))


def test_tensors_that_are_one_are_written_once_and_stay_one(tmp_path: Path) -> None:
    """The file holds the first name only; both places are filled."""
    path = tmp_path / "w.safetensors"
    given, empty = Tied(), Tied()
    write_weights(path, given)
    assert set(load_file(path)) == {"first.weight", "first.bias", "second.bias", "count"}
    read_weights(path, empty)
    assert torch.equal(empty.second.weight, given.first.weight)
    assert empty.second.weight is empty.first.weight


def test_two_tensors_that_happen_to_be_equal_are_both_written(tmp_path: Path) -> None:
    """Equal is not the same."""
    model = nn.ModuleList([nn.LayerNorm(4), nn.LayerNorm(4)])
    write_weights(tmp_path / "w.safetensors", model)
    assert len(load_file(tmp_path / "w.safetensors")) == 4


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16])
def test_half_precision_fits_into_full(tmp_path: Path, narrow: torch.dtype) -> None:
    """To halve a checkpoint on the hub is no fault."""
    path = tmp_path / "w.safetensors"
    values = torch.linspace(-1, 1, 6).reshape(2, 3).to(narrow)
    save_file({"weight": values, "bias": torch.zeros(2)}, path)
    model = nn.Linear(3, 2)
    read_weights(path, model)
    assert model.weight.dtype is torch.float32
    assert torch.equal(model.weight, values.float())


def test_double_precision_does_not(tmp_path: Path) -> None:
    """Nothing is rounded behind anyone's back."""
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(2, 3).double(), "bias": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="'weight' is of type F64 where F32"):
        read_weights(path, nn.Linear(3, 2))


def test_a_refused_file_changes_nothing_by_its_shapes(tmp_path: Path) -> None:
    """All names, shapes and types are looked at before any tensor is taken over."""
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(3)}, path)
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    with pytest.raises(ModelError, match=r"'bias' has the shape \[3\]"):
        read_weights(path, model)
    assert torch.equal(model.weight, before)


def test_of_many_missing_tensors_the_first_is_named_and_the_others_counted(
    tmp_path: Path,
) -> None:
    """A line for people, not a list of four hundred names."""
    path = tmp_path / "w.safetensors"
    save_file({}, path)
    with pytest.raises(ModelError, match=r"'count' is missing \(as are 3 more\)"):
        read_weights(path, Tied())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As missing."""
    with pytest.raises(ModelError, match=r"w\.safetensors is missing"):
        read_weights(tmp_path / "w.safetensors", Tied())
