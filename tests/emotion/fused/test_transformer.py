"""The blocks of the compact encoders against their equations, in float64."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from streamser.emotion.fused.compact_encoders import CompactAcoustic
from streamser.emotion.fused.config import CompactAcousticConfig
from streamser.emotion.fused.fusion import Transformer
from streamser.emotion.fused.interfaces import AudioBatch
from tests.emotion.fused.reference import (
    Array,
    Weights,
    gelu,
    layer_norm,
    linear,
    randomise,
    weights_of,
)

WIDTH, HEADS = 8, 2


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Draw normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def built(layers: int = 2) -> Transformer:
    """Build a transformer with every weight random."""
    transformer = Transformer(WIDTH, layers, HEADS, dropout=0.1).double().eval()
    randomise(transformer, 1)
    return transformer


def turned(row: Array, position: int) -> Array:
    """Multiply channel pairs (i, i + half) of one head by e^(j · position · 10000^(-2i/C))."""
    half = len(row) // 2
    pairs = [
        complex(row[i], row[i + half]) * cmath.exp(1j * position * 10_000 ** (-2 * i / len(row)))
        for i in range(half)
    ]
    return np.array([pair.real for pair in pairs] + [pair.imag for pair in pairs])


def by_equation(rows: Array, layers: int, weights: Weights, heads: int) -> Array:
    """Run pre-norm layers over one item without padding: Su et al. 2021, §3.2.2."""
    size = rows.shape[1] // heads
    for index in range(layers):
        layer = weights.below(f"layers.{index}")
        mixed = linear(
            layer_norm(rows, layer.below("attention_norm")), layer.below("query_key_value")
        )
        query, key, value = np.split(mixed, 3, axis=1)
        joined = np.zeros_like(rows)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            keys = [turned(key[n, part], n) for n in range(len(rows))]
            for m in range(len(rows)):
                asked = turned(query[m, part], m)
                shares = np.exp([asked @ one / math.sqrt(size) for one in keys])
                joined[m, part] = (shares / shares.sum()) @ value[:, part]
        rows = rows + linear(joined, layer.below("output"))
        inner = linear(
            layer_norm(rows, layer.below("feedforward_norm")), layer.below("feedforward.0")
        )
        rows = rows + linear(gelu(inner), layer.below("feedforward.2"))
    return layer_norm(rows, weights.below("norm"))


def convolved(rows: Array, weights: Weights, stride: int) -> Array:
    """Slide three taps over one item, zero outside of it: [T, in] becomes [ceil(T / s), out]."""
    padded = np.pad(rows, ((1, 1), (0, 0)))
    starts = range(0, len(rows), stride)
    taps = [np.einsum("ti,oit->o", padded[t : t + 3], weights["weight"]) for t in starts]
    return gelu(np.array(taps) + weights["bias"])


def test_the_transformer_is_its_equation() -> None:
    """For each item of a padded batch, as if it were alone."""
    transformer = built()
    lengths = [5, 1, 9]
    rows = drawn(3, 9, WIDTH)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    found = transformer(rows, mask).detach().numpy()
    for item, length in enumerate(lengths):
        expected = by_equation(rows[item, :length].numpy(), 2, weights_of(transformer), HEADS)
        np.testing.assert_allclose(found[item, :length], expected, rtol=0, atol=1e-10)
        assert not found[item, length:].any()


def test_only_distances_between_positions_count() -> None:
    """A sequence behind real positions that nobody looks at reads as it does at the start."""
    transformer = built(layers=1)
    rows = drawn(1, 6, WIDTH)
    moved = torch.cat([drawn(1, 4, WIDTH, seed=1), rows], dim=1)
    expected = transformer(rows, torch.ones(1, 6, dtype=torch.bool))
    found = transformer(moved, torch.arange(10)[None] >= 4)
    torch.testing.assert_close(found[:, 4:], expected, rtol=0, atol=1e-10)


def test_gradients_of_the_transformer_are_right() -> None:
    """With respect to the rows and to every weight, padding included."""
    transformer = built(layers=1)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    names, values = zip(*transformer.named_parameters(), strict=True)

    def call(rows: Tensor, *weights: Tensor) -> Tensor:
        given = dict(zip(names, weights, strict=True))
        found: Tensor = functional_call(transformer, given, (rows, mask))
        return found

    rows = drawn(2, 3, WIDTH).requires_grad_()
    assert torch.autograd.gradcheck(call, (rows, *values))


@pytest.mark.parametrize("subsampling", [2, 4, 8])
def test_the_acoustic_encoder_is_its_equation(subsampling: int) -> None:
    """Convolutions of three taps, each halving the rate or keeping it, then the transformer."""
    config = CompactAcousticConfig(
        width=WIDTH,
        layers=1,
        heads=HEADS,
        subsampling=subsampling,  # type: ignore[arg-type]
    )
    encoder = CompactAcoustic(config).double().eval()
    randomise(encoder, 2)
    weights = weights_of(encoder)
    lengths = [11, 3]
    values = drawn(2, 11, 64)
    hidden, mask = encoder(AudioBatch(values, torch.tensor(lengths)))
    strides = {2: [2, 1], 4: [2, 2], 8: [2, 2, 2]}[subsampling]
    for item, length in enumerate(lengths):
        rows = values[item, :length].numpy()
        for index, stride in enumerate(strides):
            rows = convolved(rows, weights.below(f"convolutions.{index}"), stride)
        expected = by_equation(rows, 1, weights.below("transformer"), HEADS)
        found = hidden[item][mask[item]].detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_gradients_of_the_acoustic_encoder_are_right() -> None:
    """With respect to the frames, of which those in the padding have none."""
    encoder = CompactAcoustic(CompactAcousticConfig(width=4, layers=1, heads=1)).double().eval()
    randomise(encoder, 3)
    lengths = torch.tensor([6, 3])
    values = drawn(2, 6, 64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda frames: encoder(AudioBatch(frames, lengths)).hidden, (values,), fast_mode=True
    )
