from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamser.emotion.fused.fusion import MultiHeadAttention, RefinementLayer
from streamser.errors import ConfigError
from tests.emotion.fused.reference import attention, randomise, refine, weights_of


def lengths_mask(lengths: list[int], size: int) -> Tensor:
    """Mark the first positions of each row."""
    return torch.arange(size) < torch.tensor(lengths)[:, None]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Draw float64 numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (8, 2), (12, 4), (6, 6)])
def test_multi_head_attention_is_its_equation(width: int, heads: int) -> None:
    """Every item of a padded batch gets what the unpadded equation gives it."""
    module = MultiHeadAttention(width, heads).double().eval()
    randomise(module, seed=heads)
    weights = weights_of(module)
    lengths = [5, 1, 7, 0, 3]
    query, key, value = drawn(5, 4, width), drawn(5, 7, width, seed=1), drawn(5, 7, width, seed=2)
    got = module(query, key, value, lengths_mask(lengths, 7)).detach().numpy()
    for item, length in enumerate(lengths):
        expected = attention(
            query[item].numpy(),
            key[item, :length].numpy(),
            value[item, :length].numpy(),
            weights,
            heads,
        )
        np.testing.assert_allclose(got[item], expected, atol=1e-10, rtol=0)


def test_allowed_keys_need_not_come_first() -> None:
    """A mask with holes leaves out just the keys in the holes."""
    module = MultiHeadAttention(8, 2).double().eval()
    randomise(module, seed=3)
    query, rows = drawn(1, 3, 8), drawn(1, 6, 8, seed=1)
    mask = torch.tensor([[False, True, False, True, True, False]])
    kept = rows[:, mask[0]]
    everything = torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(
        module(query, rows, rows, mask), module(query, kept, kept, everything), atol=1e-12, rtol=0
    )


def test_nothing_to_look_at_gives_the_bias_of_the_output() -> None:
    """An item without an allowed key is exactly zero before W^O, and its gradients are finite."""
    module = MultiHeadAttention(8, 2)
    randomise(module, seed=4)
    query = torch.randn(2, 3, 8, requires_grad=True)
    rows = torch.randn(2, 4, 8, requires_grad=True)
    told = module(query, rows, rows, lengths_mask([4, 0], 4))
    assert torch.equal(told[1], module.output.bias.expand(3, 8))
    assert not torch.equal(told[0], told[1])
    told.square().sum().backward()
    assert query.grad is not None
    assert rows.grad is not None
    assert query.grad.isfinite().all()
    assert torch.equal(query.grad[1], torch.zeros(3, 8))
    assert torch.equal(rows.grad[1], torch.zeros(4, 8))
    assert rows.grad[0].abs().sum() > 0


def test_attention_gradients_are_right() -> None:
    """Analytic gradients equal numeric ones, with masks, one of them empty."""
    module = MultiHeadAttention(4, 2).double().eval()
    randomise(module, seed=5)
    inputs = [drawn(3, rows, 4, seed=rows).requires_grad_() for rows in (2, 3, 3)]
    mask = lengths_mask([3, 1, 0], 3)
    names, values = zip(*module.named_parameters(), strict=True)

    def call(*tensors: Tensor) -> Tensor:
        parameters = dict(zip(names, tensors[3:], strict=True))
        told: Tensor = torch.func.functional_call(module, parameters, (*tensors[:3], mask))
        return told

    assert torch.autograd.gradcheck(call, (*inputs, *values))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    """The error names both numbers."""
    with pytest.raises(ConfigError, match="5 attention heads do not divide a width of 8"):
        MultiHeadAttention(8, 5)


@pytest.mark.parametrize("feedforward", [0, 3])
def test_refinement_layer_is_its_equation(feedforward: int) -> None:
    """Padded rows follow the equation too: they look at the real ones and are not zeroed."""
    module = RefinementLayer(8, 2, feedforward).double().eval()
    randomise(module, seed=feedforward)
    weights = weights_of(module)
    assert weights.has("feedforward.") == (feedforward > 0)
    lengths = [6, 2, 0]
    mask = lengths_mask(lengths, 6)
    rows = drawn(3, 6, 8) * mask[:, :, None]
    got = module(rows, mask).detach().numpy()
    for item, length in enumerate(lengths):
        expected = refine(rows[item].numpy(), length, weights, heads=2)
        np.testing.assert_allclose(got[item], expected, atol=1e-10, rtol=0)
    assert np.abs(got[1, 2:]).min() > 0


@pytest.mark.parametrize("feedforward", [0, 2])
def test_refinement_gradients_are_right(feedforward: int) -> None:
    """Analytic gradients equal numeric ones in the rows and in every weight."""
    module = RefinementLayer(4, 2, feedforward).double().eval()
    randomise(module, seed=6)
    mask = lengths_mask([3, 1, 0], 3)
    rows = drawn(3, 3, 4).requires_grad_()
    names, values = zip(*module.named_parameters(), strict=True)

    def call(*tensors: Tensor) -> Tensor:
        parameters = dict(zip(names, tensors[1:], strict=True))
        told: Tensor = torch.func.functional_call(module, parameters, (tensors[0], mask))
        return told

    assert torch.autograd.gradcheck(call, (rows, *values))


def test_dropout_acts_in_training_alone() -> None:
    """With dropout of one half, evaluation equals the layer without dropout."""
    noisy, plain = RefinementLayer(8, 2, 2, dropout=0.5), RefinementLayer(8, 2, 2)
    plain.load_state_dict(noisy.state_dict())
    rows, mask = torch.randn(2, 5, 8), lengths_mask([5, 3], 5)
    assert torch.equal(noisy.eval()(rows, mask), plain.eval()(rows, mask))
    assert not torch.equal(noisy.train()(rows, mask), noisy(rows, mask))
    attention_only = MultiHeadAttention(8, 2, dropout=0.5)
    once = attention_only(rows, rows, rows, mask)
    assert not torch.equal(once, attention_only(rows, rows, rows, mask))
