"""The exported layers give what Whisper's encoder gives, by the numpy one for words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamser.emotion.compact.blocks import BLOCK
from streamser.graphs import open_graph
from streamser.speech import whisper_encoder
from tools.compact.export_layers import LowerLayers, export_layers

WIDTH, HEADS = 128, 2
RNG = np.random.default_rng(0)


def _weights() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Return an encoder of two layers by CTranslate2's names, with random weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/weight": (WIDTH, 80, 3),
        "conv1/bias": (WIDTH,),
        "conv2/weight": (WIDTH, WIDTH, 3),
        "conv2/bias": (WIDTH,),
        "position_encodings/encodings": (BLOCK, WIDTH),
        "layer_norm/gamma": (WIDTH,),
        "layer_norm/beta": (WIDTH,),
    }
    for layer in range(2):
        for part, wide, narrow in (
            ("self_attention/linear_0", 3 * WIDTH, WIDTH),
            ("self_attention/linear_1", WIDTH, WIDTH),
            ("ffn/linear_0", 4 * WIDTH, WIDTH),
            ("ffn/linear_1", WIDTH, 4 * WIDTH),
        ):
            shapes[f"layer_{layer}/{part}/weight"] = (wide, narrow)
            shapes[f"layer_{layer}/{part}/bias"] = (wide,)
        for part in ("self_attention", "ffn"):
            shapes[f"layer_{layer}/{part}/layer_norm/gamma"] = (WIDTH,)
            shapes[f"layer_{layer}/{part}/layer_norm/beta"] = (WIDTH,)
    made = {name: RNG.normal(scale=0.08, size=shape).astype("f4") for name, shape in shapes.items()}
    return {**made, "num_heads": np.array(HEADS, np.float32)}


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Make them once."""
    return _weights()


def test_a_layer_is_that_of_the_encoder_for_words(
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]],
) -> None:
    """Both are written from the same equations, apart from each other."""
    frames = RNG.normal(size=(40, 80)).astype(np.float32)
    with torch.inference_mode():
        found = LowerLayers(weights, 2)(torch.from_numpy(frames)).numpy()
    convolve = [whisper_encoder._Convolution(weights, f"conv{number}") for number in (1, 2)]
    hidden = convolve[1](convolve[0](frames, 1), 2)
    hidden = hidden + weights["position_encodings/encodings"][: len(hidden)]
    for number, layer in enumerate(whisper_encoder._layers(weights, HEADS)):
        hidden, _ = layer(hidden, None)
        np.testing.assert_allclose(found[number], hidden, atol=5e-3)


@pytest.mark.parametrize("frames", [1, 2, 41, BLOCK])
def test_the_graph_answers_as_the_layers_do_within_what_eight_bits_cost(
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]],
    tmp_path: Path,
    frames: int,
) -> None:
    """For blocks of any length."""
    export_layers(weights, 2, tmp_path / "layers.onnx")
    given = RNG.normal(size=(frames, 80)).astype(np.float32)
    graph = open_graph(tmp_path / "layers.onnx", inputs=("frames",))
    (found,) = graph.run(["hidden"], {"frames": given})
    with torch.inference_mode():
        wanted = LowerLayers(weights, 2)(torch.from_numpy(given)).numpy()
    assert found.shape == (2, -(-frames // 2), WIDTH)
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
