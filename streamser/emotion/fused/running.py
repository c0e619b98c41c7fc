"""How a checkpoint runs here: its device, its number format, which clips go together."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal

import msgspec
import torch
from torch import nn
from torch.nn import functional

from streamser.emotion.fused.interfaces import FusedInput
from streamser.emotion.fused.network import FusedModel
from streamser.errors import ModelError
from streamser.machine import core_count


def settled_device(asked: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """Return the device for ``emotion.device``; raises ``ModelError`` where there is no CUDA."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ModelError(
            "emotion.device is cuda, but torch finds no CUDA device here: choose cpu or auto",
            code="cuda_unavailable",
        )
    if asked == "auto":
        return "cuda" if there else "cpu"
    return asked


def use_threads(count: int) -> None:
    """Have torch compute on so many threads; 0: as many as it likes, and can keep busy.

    What it likes is as many as the machine has cores, whatever a container may use of them.
    """
    torch.set_num_threads(count or min(torch.get_num_threads(), core_count()))


Format = Literal["float32", "bfloat16", "float16", "int8"]

CANDIDATES: Final[dict[str, tuple[Format, ...]]] = {
    "cpu": ("float32", "bfloat16", "int8"),
    "cuda": ("bfloat16", "float16", "float32"),
}
"""What is worth trying on a device, the favourite first."""

_HALVES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Formats:
    """Switch the linear layers of a model between formats; the heads stay as they are.

    In a half format everything runs under autocast, and the weights of linear layers, which
    autocast would else convert at every pass, are kept in that format: the answers are the
    same. In int8 the weights have a scale for each row, and what goes into a layer one for the
    whole pass, found then (``torch.ao.quantization.quantize_dynamic``). The layers of every
    format that was used are kept until ``settle``.
    """

    def __init__(self, model: FusedModel) -> None:
        self.device = next(model.parameters()).device.type
        roots = [part for part in (model.acoustic, model.text, model.fusion) if part is not None]
        self._places = [
            (parent, name)
            for root in roots
            for parent in root.modules()
            for name, child in parent.named_children()
            if type(child) is nn.Linear
        ]
        self._layers: dict[Format, list[nn.Module]] = {
            "float32": [parent.get_submodule(name) for parent, name in self._places]
        }
        self.format: Format = "float32"

    def use(self, format: Format) -> None:
        """Put the model into a format.

        Raises ``ModelError`` for int8 where the device or this torch does not have it.
        """
        if format not in self._layers:
            self._layers[format] = [self._converted(one, format) for one in self._layers["float32"]]
        for (parent, name), layer in zip(self._places, self._layers[format], strict=True):
            setattr(parent, name, layer)
        self.format = format

    def settle(self) -> None:
        """Drop the layers of every other format; the model stays in the one that it is in."""
        self._places, self._layers = [], {self.format: []}

    def computing(self) -> AbstractContextManager[object]:
        """Return the context in which the model answers."""
        half = _HALVES.get(self.format)
        if half is None:
            return torch.autocast(self.device, enabled=False)
        return torch.autocast(self.device, half)

    def _converted(self, layer: nn.Module, format: Format) -> nn.Module:
        half = _HALVES.get(format)
        if half is not None:
            return copy.deepcopy(layer).to(half)
        if self.device != "cpu":
            raise ModelError("emotion.precision int8 is for the processor: choose bfloat16 on cuda")
        try:
            from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
        except ImportError as error:
            raise ModelError(
                "this version of torch has no torch.ao.quantization, which emotion.precision int8"
                " needs: choose bfloat16 or float32"
            ) from error
        with warnings.catch_warnings():
            # It is to move to a package of its own some day, and says so at every layer.
            warnings.simplefilter("ignore")
            kinds = {nn.Linear: per_channel_dynamic_qconfig}
            quantized: nn.Module = quantize_dynamic(  # type: ignore[no-untyped-call]
                nn.Sequential(layer), kinds
            )[0]
        return quantized


class Shapes(msgspec.Struct, frozen=True):
    """Say what a device is to be given.

    ``forward_s``: what a pass costs whatever is in it, in seconds of sound that could be
    encoded meanwhile. ``few``: lengths are ``rounded`` and numbers of clips powers of two, so
    that libraries that prepare themselves for every new shape meet few. ``together``: most
    clips in a pass.
    """

    forward_s: float
    few: bool = False
    together: int | None = None


PROCESSOR: Final = Shapes(forward_s=1.0)
"""Between 0.2 s (HuBERT-base alone) and 3 s (the large encoders with words)."""

CUDA: Final = Shapes(forward_s=100.0, few=True)
"""An H100 with the large encoders: 16 ms for any pass, and 0.16 ms for a second of sound."""

ONE_BY_ONE: Final = Shapes(forward_s=0.0, together=1)
"""For arithmetic in which what is in a pass decides how coarse all of it is."""


def groups(lengths: Sequence[float], shapes: Shapes) -> list[list[int]]:
    """Part clips of so many seconds into passes; return their places, the shortest clips first.

    A pass of n clips costs ``forward_s`` and n times the longest of them, for the others are
    padded to it. The parting is the cheapest that there is.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    most = shapes.together or len(order)
    # The cheapest way to do the first k clips, and where its last pass begins.
    costs, begins = [0.0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        costs_of = {
            begin: costs[begin] + shapes.forward_s + (end - begin) * longest
            for begin in range(max(0, end - most), end)
        }
        begin = min(costs_of, key=costs_of.__getitem__)
        costs.append(costs_of[begin])
        begins.append(begin)
    parts = []
    end = len(order)
    while end:
        parts.append(order[begins[end] : end])
        end = begins[end]
    return parts[::-1]


def power_of_two(number: int) -> int:
    """Return the least power of two that is no less than a number over 0."""
    return 1 << (number - 1).bit_length()


def rounded(number: int) -> int:
    """Return the next of 1, 2, 3, 4, 6, 8, 12, 16, 24 … that is no less than a number over 0."""
    power = power_of_two(number)
    between = power // 4 * 3
    return between if number <= between else power


def widened(prepared: FusedInput) -> FusedInput:
    """Return a batch whose sounds are padded to a ``rounded`` length; it says the same."""
    if prepared.audio is None:
        return prepared
    values = prepared.audio.values
    missing = rounded(values.shape[1]) - values.shape[1]
    # The padding is counted from the last axis, and it is the second that grows.
    padding = (0, 0) * (values.dim() - 2) + (0, missing)
    audio = prepared.audio._replace(values=functional.pad(values, padding))
    return prepared._replace(audio=audio)
