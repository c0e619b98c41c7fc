"""CAM++ in torch, by the names of its published weights, in a form that can be exported.

H. Wang et al., *CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking* (2023, arXiv 2303.00332); the layout is that of 3D-Speaker (Apache-2.0). Only where means
are taken over time is written otherwise: by matrices that are given, for sound of any length, and
for several stretches of it in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BANDS", "SIZE", "CampPlusNetwork", "WholeSound"]

BANDS: Final = 80
SIZE: Final = 192
"""Numbers that describe a voice."""
_SEGMENT: Final = 100
_GROWTH: Final = 32
_NARROW: Final = 4 * _GROWTH
_FIRST: Final = 128
_BLOCKS: Final = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""


class CampPlusNetwork(nn.Module):
    """Turn frames [1, time, 80] into voices [stretches, 192], not yet of length 1.

    Past its head a sound has ``places = (time + 1) // 2``. What is given beside the frames:
    ``contexts`` [places, masks], the weight of each place in what a mask is made from (in the
    published network its share of the whole and of its segment, added); ``held`` [masks, places],
    1 where a mask holds; ``pooled`` [places, stretches], the weight of each place in a voice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", _Convolved(32 * BANDS // 8, _FIRST))
        width = _FIRST
        for number, (layers, dilation) in enumerate(_BLOCKS, start=1):
            self.xvector.add_module(f"block{number}", _Dense(width, layers, dilation))
            width += layers * _GROWTH
            self.xvector.add_module(f"transit{number}", _Transit(width))
            width //= 2
        self.xvector.add_module("out_nonlinear", _rectified(width))
        self.xvector.add_module("stats", _Statistics())
        self.xvector.add_module("dense", _Last(2 * width))

    def forward(self, frames: Tensor, contexts: Tensor, held: Tensor, pooled: Tensor) -> Tensor:
        """Describe the voice of each stretch; of two places at least, where others hear any."""
        first, *parts = self.xvector.children()
        x: Tensor = first(self.head(frames.transpose(1, 2)))
        for part in parts:
            if isinstance(part, _Dense):
                x = part(x, contexts, held)
            elif isinstance(part, _Statistics):
                x = part(x, pooled)
            else:
                x = part(x)
        return x


class WholeSound(nn.Module):
    """Be the network as it was published: frames [1, time, 80] to one voice [1, 192]."""

    def __init__(self, network: CampPlusNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Describe the voice; there must be three frames at least."""
        places = torch.ones_like(frames[0, ::2, 0])
        segment = torch.floor((torch.cumsum(places, dim=0) - 1) / _SEGMENT)
        numbers = torch.cumsum(torch.ones_like(places[::_SEGMENT]), dim=0) - 1
        held = (segment[None] == numbers[:, None]).to(frames.dtype)
        pooled = (places / places.sum())[:, None]
        contexts = held.transpose(0, 1) / held.sum(dim=1) + pooled
        found: Tensor = self.network(frames, contexts, held, pooled)
        return found


class _Residual(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _square(channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _square(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + self.shortcut(x))


class _Head(nn.Module):
    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = _square(1, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.layer2 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.conv2 = _square(channels, channels, 2)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x[:, None])))
        x = functional.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class _Convolved(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _rectified(out)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.nonlinear(self.linear(x))
        return found


class _Masked(nn.Module):
    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            _NARROW, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(_NARROW, _NARROW // 2, 1)
        self.linear2 = nn.Conv1d(_NARROW // 2, _GROWTH, 1)

    def forward(self, x: Tensor, contexts: Tensor, held: Tensor) -> Tensor:
        mask = torch.sigmoid(self.linear2(functional.relu(self.linear1(x @ contexts))))
        found: Tensor = self.linear_local(x) * (mask @ held)
        return found


class _Layer(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _rectified(width)
        self.linear1 = nn.Conv1d(width, _NARROW, 1, bias=False)
        self.nonlinear2 = _rectified(_NARROW)
        self.cam_layer = _Masked(dilation)

    def forward(self, x: Tensor, contexts: Tensor, held: Tensor) -> Tensor:
        narrow = self.nonlinear2(self.linear1(self.nonlinear1(x)))
        found: Tensor = self.cam_layer(narrow, contexts, held)
        return found


class _Dense(nn.Module):
    def __init__(self, width: int, layers: int, dilation: int) -> None:
        super().__init__()
        self._names: Sequence[str] = [f"tdnnd{number}" for number in range(1, layers + 1)]
        for number, name in enumerate(self._names):
            self.add_module(name, _Layer(width + number * _GROWTH, dilation))

    def forward(self, x: Tensor, contexts: Tensor, held: Tensor) -> Tensor:
        for name in self._names:
            x = torch.cat([x, self.get_submodule(name)(x, contexts, held)], dim=1)
        return x


class _Transit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.nonlinear = _rectified(width)
        self.linear = nn.Conv1d(width, width // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(self.nonlinear(x))
        return found


class _Statistics(nn.Module):
    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        # Around the middle of all: squares of what is far from 0 would lose digits.
        x, middle = x - x.mean(dim=2, keepdim=True), x.mean(dim=2, keepdim=True)
        mean = x @ pooled
        variance = functional.relu(x.square() @ pooled - mean.square())
        # Of n places of one weight, n / (n - 1).
        unbiased = variance / (1 - pooled.square().sum(dim=0))
        return torch.cat([mean + middle, unbiased.sqrt()], dim=1)


class _Last(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(width, SIZE, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(SIZE, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.nonlinear(self.linear(x))
        return found[0].transpose(0, 1)


def _rectified(width: int) -> nn.Sequential:
    found = nn.Sequential()
    found.add_module("batchnorm", nn.BatchNorm1d(width))
    found.add_module("relu", nn.ReLU())
    return found


def _square(channels: int, out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride=(stride, 1), padding=1, bias=False)
