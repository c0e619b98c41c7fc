"""The number formats that a fused model can compute in, and putting it into one."""

from __future__ import annotations

import copy
import warnings
from contextlib import AbstractContextManager
from typing import Final, Literal

import torch
from torch import nn

from streamser.emotion.neural.network import FusedModel
from streamser.errors import ModelError

__all__ = ["CANDIDATES", "Format", "Formats"]

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
