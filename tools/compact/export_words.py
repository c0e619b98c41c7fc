"""Write the encoder of words as ONNX with weights of eight bits, and measure what that costs.

Only the weights are rounded in the file. Dynamic quantisation, which rounds activations with
one scale for a whole batch, would let what a text gets depend on its neighbours. Onnxruntime
may round activations here too, but 32 numbers of one place at a time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tools.compact.word_batches import sound_alikes
from tools.compact.word_encoder import WordEncoder, Words, load_words, prepare_words
from tools.compact.word_figures import FORMS, Form, WordFigures, judge_words, rendered
from tools.compact.word_texts import read_words

__all__ = [
    "ExportReport",
    "Quantised",
    "encoded",
    "export_words",
    "neighbour_gap",
    "open_words",
    "quantised",
    "rounding_gap",
    "shrink",
    "time_words",
]

ONNX: Final = "words.onnx"
REPORT: Final = "export.json"
_OPSET: Final = 17
_SMALLEST: Final = 16_384


class Quantised(NamedTuple):
    """A matrix as int8 [rows, columns] and a float32 scale for each row or column."""

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]


class ExportReport(msgspec.Struct, frozen=True):
    """What the export costs: bytes, figures on test by form, time (ms) and the largest gaps.

    ``text_ms`` is the median for one text of 20 word pieces on one thread. ``neighbour_gap``
    is the largest difference between a text alone and in a padded batch, relative to the
    largest value; ``rounding_gap`` that to the unrounded weights.
    """

    bytes: int
    load_ms: float
    text_ms: float
    neighbour_gap: float
    rounding_gap: float
    test: dict[Form, WordFigures]


def export_words(encoder: WordEncoder, path: Path) -> None:
    """Write an encoder as ONNX: ``ids``, ``mask`` int64 [batch, length] to ``hidden``.

    ``hidden`` is float32 [batch, length, width], zero where ``mask`` is 0. ``length`` is
    ``positions`` at most. Matrices are int8 with a scale for each column, the table of word
    pieces int8 with a scale for each row.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / ONNX
        _export(encoder, whole)
        model = onnx.load(whole)
    shrink(model.graph)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def quantised(weights: npt.NDArray[np.float32], axis: int) -> Quantised:
    """Round a matrix to int8 with one scale for each place of ``axis``: -127 to 127, no offset."""
    largest = np.abs(weights).max(axis=1 - axis, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return Quantised(np.rint(weights / scale).astype(np.int8), scale)


def open_words(path: Path) -> onnxruntime.InferenceSession:
    """Open an exported encoder on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def encoded(
    session: onnxruntime.InferenceSession, ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Encode ids int64 [B, L] with mask bool [B, L] into float [B, L, width]."""
    given = {"ids": ids.numpy(), "mask": mask.numpy().astype(np.int64)}
    return torch.from_numpy(session.run(["hidden"], given)[0])


def time_words(session: onnxruntime.InferenceSession, pieces: int = 20, runs: int = 50) -> float:
    """Return the median time of one text of so many word pieces, in ms."""
    ids, mask = torch.ones(1, pieces, dtype=torch.int64), torch.ones(1, pieces).bool()
    spent = []
    for _ in range(runs + 5):
        start = time.perf_counter()
        encoded(session, ids, mask)
        spent.append(time.perf_counter() - start)
    return 1000 * float(np.median(spent[5:]))


def neighbour_gap(
    session: onnxruntime.InferenceSession, words: Words, texts: Sequence[str]
) -> float:
    """Return the largest difference between texts alone and in one batch, by the largest value."""
    ids, mask = prepare_words(words.tokenizer, texts)
    together = encoded(session, ids, mask)
    gap = 0.0
    for row, text in enumerate(texts):
        alone = encoded(session, *prepare_words(words.tokenizer, [text]))[0]
        gap = max(gap, _apart(alone, together[row, : len(alone)]))
    return gap


def rounding_gap(
    session: onnxruntime.InferenceSession, words: Words, texts: Sequence[str]
) -> float:
    """Return the largest difference that the rounded weights make, by the largest value."""
    ids, mask = prepare_words(words.tokenizer, texts)
    with torch.inference_mode():
        return _apart(words.model.encoder(ids, mask), encoded(session, ids, mask))


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a trained model and measure it: the entry point of ``python -m``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "directory", type=Path, help="what train_words wrote; words.onnx goes there"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the three corpora")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    words, path = load_words(options.directory), options.directory / ONNX
    export_words(words.model.encoder, path)
    start = time.perf_counter()
    session = open_words(path)
    load = 1000 * (time.perf_counter() - start)
    corpora = read_words(options.data)
    alikes = sound_alikes(text.text for text in corpora.train)
    texts = rendered(corpora.test.goemotions[:64], "plain", alikes)

    def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return encoded(session, ids, mask)

    report = ExportReport(
        path.stat().st_size,
        load,
        time_words(session),
        neighbour_gap(session, words, texts),
        rounding_gap(session, words, texts),
        {form: judge_words(words, corpora.test, form, alikes, encode) for form in FORMS},
    )
    found = msgspec.json.format(msgspec.json.encode(report)).decode()
    (options.directory / REPORT).write_text(found + "\n", encoding="utf-8")
    print(found)
    return 0


class _Graph(nn.Module):
    """The encoder with a mask of integers, as runtimes give it."""

    def __init__(self, encoder: WordEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.encoder(ids, mask > 0)
        return hidden


def _export(encoder: WordEncoder, path: Path) -> None:
    training = encoder.training
    with warnings.catch_warnings():
        # The exporter by tracing is called old; the new one changes names and shapes of weights.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(encoder.eval()),
            (torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64)),
            str(path),
            input_names=["ids", "mask"],
            output_names=["hidden"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in ("ids", "mask", "hidden")},
            opset_version=_OPSET,
            dynamo=False,
        )
    encoder.train(training)


def shrink(graph: Any) -> None:
    """Put int8 and scales in the place of the large matrices of an ONNX graph.

    Matrices are turned back by DequantizeLinear, which onnxruntime (1.32) makes one with the
    product: loading takes 42 MB of memory, where Cast and Mul, computed once at loading, take
    115 MB. A runtime that cannot do so turns them back at each run.
    """
    large = {
        each.name: each
        for each in graph.initializer
        if each.data_type == TensorProto.FLOAT
        and len(each.dims) == 2
        and each.dims[0] * each.dims[1] >= _SMALLEST
    }
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in large:
            name = node.input[1]
            _store(graph, name, quantised(numpy_helper.to_array(large[name]), axis=1))
            stored = [f"{name}.int8", f"{name}.scale"]
            nodes.append(helper.make_node("DequantizeLinear", stored, [f"{name}.float"], axis=1))
            node.input[1] = f"{name}.float"
        elif node.op_type == "Gather" and node.input[0] in large:
            name, ids = node.input
            _store(graph, name, quantised(numpy_helper.to_array(large[name]), axis=0))
            rows = [f"{name}.{kind}.rows" for kind in ("int8", "scale")]
            nodes += [
                helper.make_node("Gather", [f"{name}.int8", ids], rows[:1], axis=0),
                helper.make_node("Gather", [f"{name}.column", ids], rows[1:], axis=0),
                helper.make_node("Cast", rows[:1], [f"{name}.rows"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}.rows", rows[1]], [node.output[0]]),
            ]
            continue
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    for field, new in ((graph.node, nodes), (graph.initializer, kept)):
        copies = [type(each).FromString(each.SerializeToString()) for each in new]
        del field[:]
        field.extend(copies)


def _store(graph: Any, name: str, matrix: Quantised) -> None:
    """Add int8 values, and their scales as [N] and, to be gathered, as a column [N, 1]."""
    for kind, values in (
        ("int8", matrix.values),
        ("scale", matrix.scale.reshape(-1)),
        ("column", matrix.scale.reshape(-1, 1)),
    ):
        graph.initializer.append(numpy_helper.from_array(values, f"{name}.{kind}"))


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())


if __name__ == "__main__":
    sys.exit(main())
