"""A bundled model in small: random weights, the real format, made in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamser.emotion.calibration import Calibration, write_calibrations
from streamser.emotion.compact.bundle import ALONG, JUDGE, NORM, describe
from streamser.emotion.compact.layers import GRAPH, LAYERS, VALUES
from streamser.emotion.compact.layers import WIDTH as LAYER
from streamser.emotion.compact.layout import DIRECTIONS, GROUPS, WIDTH
from streamser.emotion.compact.words import TOKENIZER, WORDS
from streamser.emotion.fused.compact_encoders import train_word_pieces
from streamser.graphs import CONFIG

__all__ = ["TEXTS", "tiny_bundle"]

TEXTS = ("i am so happy today", "i am sad and alone", "this makes me furious", "the bus is late")

_HIDDEN = 384


def tiny_bundle(directory: Path, seed: int = 0) -> Path:
    """Write a bundle whose judge is one linear layer over what it is given; return its folder."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tokenizer = train_word_pieces(TEXTS, 200)
    tokenizer.save(str(directory / TOKENIZER))
    _save(_words(rng, tokenizer.get_vocab_size()), directory / WORDS)
    _save(_judge(rng), directory / JUDGE)
    _save(_layers(rng), directory / GRAPH)
    mean, centre = rng.normal(size=(2, WIDTH)) * 0.1
    variance, spread = rng.uniform(50.0, 100.0, size=(2, WIDTH))
    numbers = {"mean": mean, "variance": variance, "centre": centre, "spread": spread}
    directions = rng.normal(size=(DIRECTIONS, VALUES)) * 0.01
    numbers[ALONG] = directions
    np.savez(directory / NORM, **numbers)
    calibrations = {
        "audio": Calibration(temperature=1.5, fitted_on="nothing: a test's"),
        "text": Calibration(temperature=1.2),
        "audio+text": Calibration(),
    }
    write_calibrations(directory / "calibration.json", calibrations)
    (directory / CONFIG).write_bytes(msgspec.json.encode(describe(directory)))
    return directory


def _words(rng: np.random.Generator, pieces: int) -> onnx.GraphProto:
    table = rng.normal(size=(pieces, _HIDDEN)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["vectors"]),
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["hidden"]),
    ]
    return helper.make_graph(
        nodes,
        "words",
        [_input("ids", TensorProto.INT64, "B", "L"), _input("mask", TensorProto.INT64, "B", "L")],
        [_input("hidden", TensorProto.FLOAT, "B", "L", _HIDDEN)],
        [_constant("table", table), _constant("last", np.array([-1], np.int64))],
    )


def _layers(rng: np.random.Generator) -> onnx.GraphProto:
    """Every second frame through a matrix, as often as there are layers."""
    weights = rng.normal(size=(80, LAYERS * LAYER)).astype(np.float32) * np.float32(0.1)
    nodes = [
        helper.make_node("Slice", ["frames", "zero", "all", "zero", "two"], ["steps"]),
        helper.make_node("MatMul", ["steps", "weights"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["parts"]),
        helper.make_node("Transpose", ["parts"], ["hidden"], perm=[1, 0, 2]),
    ]
    constants = [
        _constant("weights", weights),
        _constant("zero", np.array([0], np.int64)),
        _constant("all", np.array([1 << 30], np.int64)),
        _constant("two", np.array([2], np.int64)),
        _constant("shape", np.array([-1, LAYERS, LAYER], np.int64)),
    ]
    return helper.make_graph(
        nodes,
        "layers",
        [_input("frames", TensorProto.FLOAT, "T", 80)],
        [_input("hidden", TensorProto.FLOAT, LAYERS, "S", LAYER)],
        constants,
    )


def _judge(rng: np.random.Generator) -> onnx.GraphProto:
    weights = {
        "of_voice": rng.normal(size=(WIDTH, 7)) * 0.02,
        "of_absolute": rng.normal(size=(WIDTH, 7)) * 0.005,
        "of_context": rng.normal(size=(WIDTH, 7)) * 0.005,
        "of_variety": rng.normal(size=(len(GROUPS), 7)) * 0.02,
        "of_words": rng.normal(size=(_HIDDEN, 7)) * 0.2,
    }
    nodes = [
        helper.make_node("MatMul", ["relative", "of_voice"], ["first"]),
        helper.make_node("MatMul", ["absolute", "of_absolute"], ["second"]),
        helper.make_node("MatMul", ["context", "of_context"], ["third"]),
        helper.make_node("MatMul", ["variety", "of_variety"], ["fourth"]),
        helper.make_node("Sum", ["first", "second", "third", "fourth", "known"], ["heard"]),
        helper.make_node("ReduceMean", ["words", "middle"], ["mean_words"], keepdims=0),
        helper.make_node("MatMul", ["mean_words", "of_words"], ["said"]),
        helper.make_node("Cast", ["has_audio"], ["audio"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["has_text"], ["text"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["heard", "audio"], ["voice_part"]),
        helper.make_node("Mul", ["said", "text"], ["words_part"]),
        helper.make_node("Add", ["voice_part", "words_part"], ["both"]),
        helper.make_node("Split", ["both", "sizes"], ["logits", "raw"], axis=1),
        helper.make_node("Sigmoid", ["raw"], ["dimensions"]),
    ]
    constants = [_constant(name, value.astype(np.float32)) for name, value in weights.items()]
    constants += [
        _constant("sizes", np.array([4, 3], np.int64)),
        _constant("middle", np.array([1], np.int64)),
    ]
    return helper.make_graph(
        nodes,
        "judge",
        [
            *(
                _input(name, TensorProto.FLOAT, 1, WIDTH)
                for name in ("relative", "absolute", "context")
            ),
            _input("variety", TensorProto.FLOAT, 1, len(GROUPS)),
            _input("known", TensorProto.FLOAT, 1, 1),
            _input("words", TensorProto.FLOAT, 1, "L", _HIDDEN),
            _input("has_audio", TensorProto.BOOL, 1),
            _input("has_text", TensorProto.BOOL, 1),
        ],
        [_input("logits", TensorProto.FLOAT, 1, 4), _input("dimensions", TensorProto.FLOAT, 1, 3)],
        constants,
    )


def _input(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


def _save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="streamser"
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
