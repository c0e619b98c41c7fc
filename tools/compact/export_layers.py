"""Write the convolutions and first layers of a Whisper encoder as ONNX, weights of eight bits.

    python -m tools.compact.export_layers MODEL.BIN LAYERS.ONNX --layers 2

``MODEL.BIN`` is CTranslate2's, of Whisper tiny.en (MIT, OpenAI). Nothing is learnt here: the
layers stay as they are, frozen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.emotion.compact.encoders import BANDS, BLOCK
from streamser.errors import StreamserError
from streamser.speech.whisper_encoder import read_encoder
from tools.compact.export_words import shrink

__all__ = ["LowerLayers", "export_layers", "main"]

Weights = Mapping[str, npt.NDArray[np.float32]]

_OPSET: Final = 17


class LowerLayers(nn.Module):
    """Encode blocks: ``frames`` [n, 80] to what each layer gives, [layers, ceil(n / 2), width]."""

    def __init__(self, weights: Weights, layers: int) -> None:
        super().__init__()
        self._heads = int(weights["num_heads"])
        self.convolutions = nn.ModuleList(
            _convolution(weights, f"conv{number}", stride) for number, stride in ((1, 1), (2, 2))
        )
        positions = weights["position_encodings/encodings"][: BLOCK // 2]
        self.positions = nn.Parameter(torch.tensor(positions))
        self.layers = nn.ModuleList(
            _Layer(weights, f"layer_{number}", self._heads) for number in range(layers)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Encode one block, ``BLOCK`` frames at most."""
        hidden = frames.T[None]
        for convolution in self.convolutions:
            hidden = functional.gelu(convolution(hidden))
        # One in a batch: matrix products of two dimensions would not be exported as such.
        steps = hidden.transpose(1, 2)
        steps = steps + self.positions[: steps.shape[1]]
        found = []
        for layer in self.layers:
            steps = layer(steps)
            found.append(steps)
        return torch.cat(found)


class _Layer(nn.Module):
    def __init__(self, weights: Weights, name: str, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.before = _norm(weights, f"{name}/self_attention/layer_norm")
        self.project = _linear(weights, f"{name}/self_attention/linear_0")
        self.out = _linear(weights, f"{name}/self_attention/linear_1")
        self.between = _norm(weights, f"{name}/ffn/layer_norm")
        self.wide = _linear(weights, f"{name}/ffn/linear_0")
        self.narrow = _linear(weights, f"{name}/ffn/linear_1")

    def forward(self, steps: Tensor) -> Tensor:
        width = steps.shape[2]
        projected = self.project(self.before(steps))
        queries, keys, values = (
            projected[:, :, part * width : (part + 1) * width]
            .reshape(1, -1, self._heads, width // self._heads)
            .transpose(1, 2)
            for part in range(3)
        )
        scores = queries @ keys.transpose(2, 3) * (width // self._heads) ** -0.5
        attended = (scores.softmax(dim=3) @ values).transpose(1, 2).reshape(1, -1, width)
        steps = steps + self.out(attended)
        added: Tensor = self.narrow(functional.gelu(self.wide(self.between(steps))))
        return steps + added


def export_layers(weights: Weights, layers: int, path: Path) -> None:
    """Write so many layers: input ``frames`` [n, 80], output ``hidden`` [layers, steps, width].

    Raises ``KeyError`` where a weight is missing.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter by tracing is called old; the new one changes names and shapes of weights.
        warnings.simplefilter("ignore")
        whole = Path(folder) / "layers.onnx"
        torch.onnx.export(
            LowerLayers(weights, layers).eval(),
            (torch.zeros(40, BANDS),),
            str(whole),
            input_names=["frames"],
            output_names=["hidden"],
            dynamic_axes={"frames": {0: "frames"}, "hidden": {1: "steps"}},
            opset_version=_OPSET,
            dynamo=False,
        )
        model = onnx.load(whole)
    shrink(model.graph)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export: the entry point of ``python -m``."""
    parser = argparse.ArgumentParser(prog="python -m tools.compact.export_layers")
    parser.add_argument("model", type=Path, help="CTranslate2's model.bin of Whisper tiny.en")
    parser.add_argument("out", type=Path, help="ONNX to write")
    parser.add_argument("--layers", type=int, default=2)
    options = parser.parse_args(arguments)
    try:
        export_layers(read_encoder(options.model), options.layers, options.out)
    except StreamserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _tensor(weights: Weights, name: str) -> nn.Parameter:
    return nn.Parameter(torch.tensor(weights[name]))


def _linear(weights: Weights, name: str) -> nn.Linear:
    rows, columns = weights[f"{name}/weight"].shape
    found = nn.Linear(columns, rows)
    found.weight, found.bias = _tensor(weights, f"{name}/weight"), _tensor(weights, f"{name}/bias")
    return found


def _norm(weights: Weights, name: str) -> nn.LayerNorm:
    found = nn.LayerNorm(len(weights[f"{name}/gamma"]))
    found.weight, found.bias = _tensor(weights, f"{name}/gamma"), _tensor(weights, f"{name}/beta")
    return found


def _convolution(weights: Weights, name: str, stride: int) -> nn.Conv1d:
    out, into, width = weights[f"{name}/weight"].shape
    found = nn.Conv1d(into, out, width, stride, padding=1)
    found.weight, found.bias = _tensor(weights, f"{name}/weight"), _tensor(weights, f"{name}/bias")
    return found


if __name__ == "__main__":
    sys.exit(main())
