"""The equations of attention and fusion in float64 numpy: one item, no padding, plain loops.

Written from arXiv 2401.00536 §3 and Vaswani et al. 2017, not from the code under test.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from streamser.emotion.fused.config import FusionConfig

__all__ = ["Answer", "Array", "Weights", "attention", "fuse", "randomise", "refine", "weights_of"]

Array: TypeAlias = npt.NDArray[np.float64]


class Weights:
    """Read the weights of a module by their names below a prefix."""

    def __init__(self, arrays: dict[str, Array], prefix: str = "") -> None:
        self._arrays = arrays
        self._prefix = prefix

    def __getitem__(self, name: str) -> Array:
        return self._arrays[self._prefix + name]

    def below(self, name: str) -> Weights:
        return Weights(self._arrays, f"{self._prefix}{name}.")

    def has(self, name: str) -> bool:
        return any(key.startswith(self._prefix + name) for key in self._arrays)


class Answer(NamedTuple):
    fused: Array
    audio: Array
    text: Array


def weights_of(module: nn.Module) -> Weights:
    """Copy what a module has learnt."""
    return Weights({name: value.numpy().copy() for name, value in module.state_dict().items()})


def randomise(module: nn.Module, seed: int) -> None:
    """Make every weight random: biases of zero and gains of one would hide a missing term."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * drawn)


def linear(rows: Array, weights: Weights) -> Array:
    return rows @ weights["weight"].T + weights["bias"]


def attention(query: Array, key: Array, value: Array, weights: Weights, heads: int) -> Array:
    """Return MHA(Q [M, d], K [N, d], V [N, d]) as [M, d]; N may be 0."""
    width = query.shape[1]
    size = width // heads
    q = linear(query, weights.below("query"))
    k = linear(key, weights.below("key"))
    v = linear(value, weights.below("value"))
    joined = np.zeros((len(q), width))
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(q)):
            if len(k) == 0:
                continue
            scores = np.array([q[row, part] @ k[n, part] / math.sqrt(size) for n in range(len(k))])
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            joined[row, part] = sum(shares[n] * v[n, part] for n in range(len(k)))
    return linear(joined, weights.below("output"))


def layer_norm(rows: Array, weights: Weights) -> Array:
    normed = np.zeros_like(rows)
    for index, row in enumerate(rows):
        normed[index] = (row - row.mean()) / math.sqrt(row.var() + 1e-5)
    return normed * weights["weight"] + weights["bias"]


def gelu(rows: Array) -> Array:
    return np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))(rows)  # type: ignore[no-any-return]


def refine(rows: Array, real: int, weights: Weights, heads: int) -> Array:
    """Run one pre-LN encoder layer in which all rows look at the first ``real`` ones."""
    normed = layer_norm(rows, weights.below("attention_norm"))
    rows = rows + attention(normed, normed[:real], normed[:real], weights.below("attention"), heads)
    if weights.has("feedforward."):
        normed = layer_norm(rows, weights.below("feedforward_norm"))
        inner = gelu(linear(normed, weights.below("feedforward.0")))
        rows = rows + linear(inner, weights.below("feedforward.3"))
    return rows


def fuse(config: FusionConfig, weights: Weights, sequences: dict[str, Array | None]) -> Answer:
    """Fuse one item: the unpadded sequence of each modality the model has, None where absent."""
    names = list(sequences)
    width = config.width
    length = {name: 0 if rows is None else len(rows) for name, rows in sequences.items()}
    bridged = config.mode != "concat" and config.cross_attention and config.bridge_tokens > 0
    mixed = bridged and config.mode == "mixed_kv"
    common = max(length.values())

    refined: dict[str, Array] = {}
    means: dict[str, Array] = {}
    for name, rows in sequences.items():
        branch = weights.below(f"branches.{name}")
        refined[name] = np.zeros((common if mixed else length[name], width))
        means[name] = np.zeros(width)
        if rows is not None and length[name]:
            projected = (
                linear(rows, branch.below("projection")) if branch.has("projection") else rows
            )
            refined[name][: length[name]] = projected
            for layer in range(config.refinement):
                refined[name] = refine(
                    refined[name], length[name], branch.below(f"refinement.{layer}"), config.heads
                )
            means[name] = refined[name][: length[name]].mean(axis=0)

    def attend(name: str, query: Array, key: Array, value: Array) -> Array:
        return attention(
            query, key, value, weights.below(f"meeting.attention.{name}"), config.heads
        )

    meeting = weights.below("meeting")
    groups: list[Array] = []
    if config.mode == "concat":
        side_by_side = np.concatenate([means[name] for name in names])
        fused = gelu(linear(side_by_side, meeting.below("linear")))
    elif bridged:
        for name, other in zip(names, reversed(names), strict=True):
            tokens = meeting[f"tokens.{name}"]
            if config.mode == "mixed_kv":
                told = attend(name, tokens, refined[name], refined[other])
            else:
                both = np.concatenate([refined[each] for each in names])
                told = attend(name, tokens, both, both)
            groups.append(told.mean(axis=0))
        fused = np.stack(groups).mean(axis=0)
    else:
        for name, other in zip(names, reversed(names), strict=True):
            if length[name]:
                rows = refined[name]
                if config.cross_attention and len(names) > 1:
                    rows = rows + attend(name, rows, refined[other], refined[other])
                groups.append(rows.mean(axis=0))
        fused = np.stack(groups).mean(axis=0) if groups else np.zeros(width)
    nothing = np.zeros(width)
    return Answer(fused, means.get("audio", nothing), means.get("text", nothing))
