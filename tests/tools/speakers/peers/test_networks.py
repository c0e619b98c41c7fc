"""The segmentation as others read it: the same answers, with channels and notes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from streamser.graphs import open_graph
from tests.tools.speakers.test_export import random_segmentation
from tools.speakers.export import read_segmentation
from tools.speakers.peers.networks import segmentation_for_peers


def test_a_graph_takes_channels_and_says_what_it_is(tmp_path: Path) -> None:
    """What is inside is the same network."""
    weights, path = tmp_path / "weights.pt", tmp_path / "segmentation.onnx"
    random_segmentation(weights)
    segmentation_for_peers(weights, path)
    samples = np.random.default_rng(0).normal(scale=0.1, size=(1, 1, 16_000)).astype(np.float32)
    (found,) = open_graph(path, inputs=("x",)).run(None, {"x": samples})
    with torch.inference_mode():
        wanted = read_segmentation(weights)(torch.from_numpy(samples[0])).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    notes = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert (notes["num_classes"], notes["window_size"]) == ("7", "160000")
