"""Write the weights of CAM++ as ONNX, matrices and filters as float32, float16 or int8.

Nothing is learnt here. Only weights are rounded, and turned back when the graph is loaded or run:
what a sound gets is computed in float32.
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

from streamser.errors import ModelError
from streamser.graphs import CONFIG, Parts, fingerprint
from streamser.speech.campplus import GRAPH
from tools.speakers.network import BANDS, CampPlusNetwork

__all__ = ["FORMATS", "SHIPPED", "Format", "describe", "export_voice", "read_weights", "rounded"]

Format: TypeAlias = Literal["float", "half", "int8"]
FORMATS: Final[tuple[Format, ...]] = ("float", "half", "int8")
SHIPPED: Final[Format] = "int8"

_OPSET: Final = 17
_SMALLEST: Final = 2_048
"""Numbers below which a weight is not worth rounding."""


def read_weights(path: Path) -> CampPlusNetwork:
    """Read ``campplus_cn_en_common.pt``; raises ``ModelError`` where that is something else."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network = CampPlusNetwork()
        network.load_state_dict(weights, strict=True)
    # Of what is no such file, torch raises nearly anything.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path} does not hold the weights of CAM++: {reason}") from None
    return network.eval()


def export_voice(network: CampPlusNetwork, path: Path, form: Format) -> None:
    """Write a network: ``frames`` float32 [batch, time, 80] to ``voice`` [batch, 192]."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter by tracing is called old; the new one changes names and shapes of weights.
        warnings.simplefilter("ignore")
        whole = Path(folder) / GRAPH
        torch.onnx.export(
            network,
            (torch.zeros(1, 230, BANDS),),
            str(whole),
            input_names=["frames"],
            output_names=["voice"],
            dynamic_axes={"frames": {0: "batch", 1: "time"}, "voice": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
        model = onnx.load(whole)
    if form != "float":
        rounded(model.graph, form)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def rounded(graph: Any, form: Format) -> None:
    """Round the large weights of a graph: to float16, or to int8 with a scale for each output.

    Outputs are the first axis of filters, as convolutions have them.
    """
    large = {
        each.name: numpy_helper.to_array(each)
        for each in graph.initializer
        if each.data_type == TensorProto.FLOAT and int(np.prod(each.dims)) >= _SMALLEST
    }
    kept = [each for each in graph.initializer if each.name not in large]
    nodes: list[Any] = []
    for name, values in large.items():
        if form == "half":
            kept.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
            continue
        others = tuple(range(1, values.ndim))
        largest = np.abs(values).max(axis=others, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        whole = np.rint(values / scale)
        kept.append(numpy_helper.from_array(whole.astype(np.int8), f"{name}.int8"))
        kept.append(numpy_helper.from_array(scale, f"{name}.scale"))
        # Both are computed once, when the graph is opened; DequantizeLinear would be at each run.
        nodes += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]),
        ]
    for field, new in ((graph.node, [*nodes, *graph.node]), (graph.initializer, kept)):
        copies = [type(each).FromString(each.SerializeToString()) for each in new]
        del field[:]
        field.extend(copies)


def describe(directory: Path) -> None:
    """Write down what the graphs of a folder hash to: what loaders compare them with."""
    parts = {path.name: fingerprint(path) for path in sorted(directory.glob("*.onnx"))}
    found = msgspec.json.encode(Parts("streamser.speakers", 1, parts))
    (directory / CONFIG).write_bytes(msgspec.json.format(found, indent=2) + b"\n")
