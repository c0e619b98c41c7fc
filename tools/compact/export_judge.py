"""Write the network as ONNX: what the live listener runs, without torch."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from streamser.emotion.compact.model import JUDGE_INPUTS
from streamser.emotion.compact.speaker_stats import GROUPS, WIDTH
from streamser.emotion.fused.interfaces import Encoded
from tools.compact.network import Judge, Voice

__all__ = ["export_judge"]

_MOST: Final = 512
_LARGE: Final = 16_384  # numbers


class _Alone(nn.Module):
    """Judge one utterance, as a live listener asks: no padding, no neighbours."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def forward(
        self,
        relative: Tensor,
        absolute: Tensor,
        context: Tensor,
        variety: Tensor,
        known: Tensor,
        words: Tensor,
        has_audio: Tensor,
        has_text: Tensor,
    ) -> tuple[Tensor, Tensor]:
        real = torch.ones_like(words[:, :, 0], dtype=torch.bool)
        voice = Voice(relative, absolute, context, variety, known)
        answer = self.judge(voice, Encoded(words, real), has_audio, has_text)
        return answer.logits, answer.dimensions


def export_judge(judge: Judge, path: Path) -> None:
    """Write a network that takes ``bundle.JUDGE_INPUTS``, of one utterance.

    Outputs ``logits`` [1, 4] and ``dimensions`` [1, 3].
    """
    # Each its own tensor: one that comes twice would pass for one input of the graph.
    views = [torch.zeros(1, WIDTH) for _ in range(3)]
    words = torch.zeros(1, 7, judge.settings.words_width)
    given = [torch.ones(1, dtype=torch.bool) for _ in range(2)]
    length = torch.export.Dim("length", min=1, max=_MOST)
    # The exporter tells of packages that it does not need, and of its own future.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode(False):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Alone(judge).eval(),
            (*views, torch.zeros(1, len(GROUPS)), torch.zeros(1, 1), words, *given),
            input_names=[*JUDGE_INPUTS],
            output_names=["logits", "dimensions"],
            dynamic_shapes=(None, None, None, None, None, {1: length}, None, None),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = _bare(program.model_proto)
    _halve(model.graph)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _halve(graph: onnx.GraphProto) -> None:
    """Keep large matrices in 16 bits; onnxruntime widens them once, as it loads."""
    nodes: list[onnx.NodeProto] = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and values.size >= _LARGE:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take away where the code lay that made each node: other bytes on each machine."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    parts = [*model.graph.node, *model.graph.value_info, *model.graph.initializer]
    for part in [*parts, *model.graph.input, *model.graph.output]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    return model
